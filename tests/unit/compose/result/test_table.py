"""The lines of a run of compose.yaml."""

import json

from compose.result.judge import Pair, Program, Sight, Verdict
from compose.result.table import Change, as_json, changes, outcome, programs
from services.common.sn_api import Phase
from tests.unit.compose.result.test_judge import MODEL, OTHER, finished, lost, peer, view

NUMBERS = {"alone": 0.3, "swarm": 0.95678}


def sight(*pairs: Pair) -> Sight:
    return Sight(pairs, view(Phase.COMPLETED), 12.34)


def text(*pairs: Pair, code: int = 0, notices: tuple[str, ...] = ()) -> str:
    return "\n".join(outcome(sight(*pairs), Verdict(code, "too few" if code else ""), notices))


def test_the_table_of_a_success():
    pair = Pair(1, Program("done", digest=MODEL), peer(1), "", NUMBERS, "digits 0 1")
    lines = text(pair, finished(2)).splitlines()
    row = next(line for line in lines if line.startswith("pair 1"))
    assert row.split() == [
        "pair", "1", "digits", "0", "1", "0.300", "0.957", "5", MODEL[:16], "same", "finished",
    ]  # fmt: skip
    assert lines[-2:] == [
        "2 pairs ended with the same model, byte for byte: " + MODEL[:16],
        "done: 5 rounds in 12.3 s",
    ]


def test_the_table_names_who_was_lost_and_why():
    told = text(finished(1), lost(2), notices=("3 s  sn-1 does not answer any more",))
    assert "LOST: its SL does not answer (lost); its ML program ended with exit code 1" in told
    assert "What happened meanwhile:\n  3 s  sn-1 does not answer any more" in told


def test_a_failure_says_why():
    told = text(finished(1), Pair(2, Program("done", digest=OTHER), peer(2)), code=1)
    assert "DIFFERENT" in told
    assert told.splitlines()[-2:] == ["FAILED: too few", "failed: 5 rounds in 12.3 s"]


def test_a_program_that_was_started_again_and_finished():
    assert "finished, started again 2x" in text(
        Pair(1, Program("done", 3, 3, digest=MODEL), peer(1))
    )


def test_a_pair_that_never_came():
    assert "did not finish" in text(Pair(1))


def test_what_changed():
    there, gone = Pair(1, peer=peer(1)), Pair(1, peer=peer(1, live=False, left="lost"))
    assert changes([], [there]) == [Change("pair 1 enrolled", trouble=False)]
    assert changes([there], [there]) == []
    assert changes([there], [gone]) == [Change("pair 1 left: its SL does not answer (lost)")]
    assert changes([gone], [there]) == [Change("pair 1 is back")]


def test_what_changed_about_a_program():
    first, second = Pair(1, Program("runs", 1, 3)), Pair(1, Program("waits", 2, 3))
    failed, done = Pair(1, Program("failed", 3, 3, "ended")), Pair(1, Program("done", 1, 3))
    assert changes([], [first]) == []
    assert changes([first], [second]) == [
        Change("pair 1: its ML program is started again, attempt 2 of 3")
    ]
    assert changes([Pair(1, Program("runs", 3, 3))], [failed]) == [
        Change("pair 1: its ML program ended (3 attempts)")
    ]
    assert changes([first], [done]) == [Change("pair 1 finished", trouble=False)]


def test_what_the_programs_do_before_the_first_round():
    pairs = [Pair(1), Pair(2, Program("waits")), Pair(3, Program("runs")), Pair(4, Program("runs"))]
    assert programs(pairs) == "1 wait for their SLs, 2 train alone or load"
    assert programs([Pair(1)]) == ""


def test_for_programs():
    told = json.loads(json.dumps(as_json(sight(finished(1), lost(2)), Verdict(0), ["x"])))
    assert told["exit_code"] == 0
    assert told["digest"] == MODEL
    assert [each["done"] for each in told["pairs"]] == [True, False]
    assert told["pairs"][1]["end"].startswith("LOST: ")
