"""When a run of compose.yaml is over, and what it comes to."""

from dataclasses import replace

import pytest

from compose.result.judge import (
    AFTER_END,
    FIRST_SIGN,
    NO_SN,
    Pair,
    Program,
    Sight,
    Terms,
    Verdict,
    verdict,
    why_lost,
    why_out,
)
from compose.result.read import uid_of
from services.common.ids import DEFAULT_CONTRACT
from services.common.sn_api import ContractView, Merged, PeerState, PeerView, Phase

MODEL, OTHER = "a" * 64, "b" * 64
TERMS = Terms(min_peers=3, timeout=600)


def peer(index: int, *, live: bool = True, left: str = "", rounds: int = 5) -> PeerView:
    return PeerView(
        uid=uid_of(index), endpoint=f"sl-{index}:30305", fingerprint="", container=f"sl-{index}",
        live=live, may_lead=True, state=PeerState.TRAINING, checkin=None, participant=False,
        dropped="", perf=None, perf_round=0, rounds=rounds, left=left,
    )  # fmt: skip


def view(phase: Phase, digest: str = MODEL) -> ContractView:
    merged = Merged(round=5, digest=digest, size=1, leader=uid_of(1), next_interval=0)
    return ContractView(
        name=DEFAULT_CONTRACT, generation=1, phase=phase, round=5, term=1, leader=uid_of(1),
        terms=None, peers=[], merged=merged, quorum_age_s=None, waiting_for="2 more peers",
    )  # fmt: skip


def finished(index: int) -> Pair:
    return Pair(index, Program("done", digest=MODEL), peer(index))


def running(index: int) -> Pair:
    return Pair(index, Program("runs"), peer(index))


def lost(index: int) -> Pair:
    failed = Program("failed", 2, 3, "ended with exit code 1: pipe closed", alive=False)
    return Pair(index, failed, peer(index, live=False, left="lost"))


def sight(*pairs: Pair, phase: Phase = Phase.CHECKIN, elapsed: float = 60.0) -> Sight:
    return Sight(pairs, view(phase), elapsed)


def test_all_finished_with_the_same_model():
    seen = sight(*map(finished, (1, 2, 3, 4)), phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) == Verdict(0)


def test_one_lost_of_four_is_a_success_with_min_peers_three():
    seen = sight(finished(1), lost(2), finished(3), finished(4), phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) == Verdict(0)
    assert verdict(seen, Terms(4, 600)) == Verdict(1, "3 of 4 pairs finished, and minPeers is 4")


def test_different_models_are_a_failure_that_names_the_pair():
    odd = Pair(2, Program("done", digest=OTHER), peer(2))
    seen = sight(finished(1), odd, finished(3), finished(4), phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) == Verdict(1, "DIFFERENT models: pair 2")


def test_a_program_that_said_no_digest_counts_as_different():
    silent = Pair(2, Program("done"), peer(2))
    seen = sight(finished(1), silent, finished(3), finished(4), phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) == Verdict(1, "DIFFERENT models: pair 2")


def test_who_was_there_to_the_end_is_waited_for_but_not_for_ever():
    seen = sight(finished(1), finished(2), finished(3), running(4), phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) is None
    assert verdict(replace(seen, completed_for=AFTER_END + 1), TERMS) == Verdict(0)


def test_who_was_lost_is_not_waited_for():
    away = Pair(4, Program("waits", 2, 3), peer(4, live=False, left="lost"))
    seen = sight(finished(1), finished(2), finished(3), away, phase=Phase.COMPLETED)
    assert verdict(seen, TERMS) == Verdict(0)


def test_a_run_goes_on_while_enough_pairs_can_finish():
    assert verdict(sight(running(1), running(2), running(3), lost(4)), TERMS) is None
    found = verdict(sight(running(1), running(2), lost(3), lost(4)), TERMS)
    assert found == Verdict(1, "only 2 of 4 pairs can still finish, and minPeers is 3")


def test_pairs_that_have_not_begun_may_still_come():
    seen = sight(*map(Pair, (1, 2, 3, 4)), elapsed=FIRST_SIGN - 1)
    assert verdict(seen, TERMS) is None
    assert verdict(replace(seen, elapsed=FIRST_SIGN + 1), TERMS) is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"elapsed": 601.0}, "not over after 600 s (SWARM_TIMEOUT); the training waits: 2 more"),
        ({"silent_for": NO_SN + 1}, "no SN answers"),
    ],
)
def test_nothing_is_waited_for_for_ever(change: dict[str, float], words: str):
    seen = replace(sight(*map(running, (1, 2, 3, 4))), **change)
    found = verdict(seen, TERMS)
    assert found is not None
    assert found.exit_code == 1
    assert words in found.reason


def test_no_limit():
    seen = sight(*map(running, (1, 2, 3, 4)), elapsed=1e6)
    assert verdict(seen, Terms(3, 0)) is None


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (Program("failed", 3, 3, "was killed, out of memory: its limit is 64 MiB (ML_MEMORY)"),
         "its ML program was killed, out of memory: its limit is 64 MiB (ML_MEMORY) (3 attempts)"),
        (Program("runs", alive=False), "its ML container was killed"),
        (Program("stopped", alive=False), "its ML program was stopped"),
        (Program("done", alive=False), ""),
        (Program("runs"), ""),
    ],
)  # fmt: skip
def test_why_a_pair_is_out(program: Program, words: str):
    assert why_out(Pair(1, program), 1.0) == words


def test_why_a_pair_is_lost():
    assert why_lost(Pair(1)) == ""
    assert why_lost(Pair(1, peer=peer(1))) == ""
    assert why_lost(Pair(1, peer=peer(1, live=False, left="lost"))) == (
        "its SL does not answer (lost)"
    )
    assert why_lost(Pair(1, peer=peer(1, live=False, left="stopped"))) == "stopped"
