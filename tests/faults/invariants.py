"""What must hold after every fault (DESIGN section 3, I1 to I5), read from ledger and peers.

:func:`check` is called at the end of every case.
"""

import signal
import sys
from collections import Counter
from pathlib import Path

from services.common import sn_api as api
from services.common.ids import NO_DIGEST
from services.sl import replay
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import read
from tests.faults.light_ml import model_file
from tests.faults.merge_oracles import NEARLY, close, merge_again
from tests.faults.standing import Pair, Training

WITH_REASON = {
    "Dropped": "reason", "Left": "reason", "LeaderElected": "reason", "Reopened": "reason",
    "Refused": "code",
}  # fmt: skip
"""Events of what is not as usual, and the field that says why."""


class Checked:
    """What the ledger tells of a training that was found to be right."""

    def __init__(self, rounds: list[api.RoundRecord], events: list[api.Event]) -> None:
        self.rounds, self.events = rounds, events

    def of(self, kind: str, **fields: object) -> list[api.Event]:
        """Events of a kind with these fields."""
        return [
            e
            for e in self.events
            if e.kind == kind and all(e.data.get(n) == v for n, v in fields.items())
        ]

    def took_part(self, pair: Pair) -> list[int]:
        """Rounds to which a pair contributed."""
        return [r.round for r in self.rounds if pair.uid in {c.peer for c in r.contributors}]

    def reasons(self, pair: Pair) -> dict[int, str]:
        """Why a pair was dropped, by round; the last reason of each."""
        return {e.round: str(e.data["reason"]) for e in self.of("Dropped", peer=pair.uid)}


async def check(training: Training, *finished: Pair) -> Checked:
    """Check I1 to I5 on a training.

    Args:
        training: with nothing under way any more.
        finished: pairs that must have ended with the final model; the training is complete then.
    """
    rounds = await training.client.rounds(training.name)
    state = await training.look()
    events = training.events
    sys.stdout.write(training.story() + "\n")  # for who looks at a failure
    assert [e.seq for e in events] == list(range(1, len(events) + 1)), "the ledger has a gap"
    _one_merge_per_round(rounds, events)
    _everything_has_a_reason(events)
    _as_the_oracle_says(training.kept, rounds, training.method)
    if finished:
        assert state.view.phase is api.Phase.COMPLETED
        _all_the_same(finished, rounds[-1])
    else:
        assert state.view.waiting_for  # I5
    _journals(training, {c.peer for record in rounds for c in record.contributors})
    return Checked(rounds, events)


def _one_merge_per_round(rounds: list[api.RoundRecord], events: list[api.Event]) -> None:
    """I1."""
    assert [r.round for r in rounds] == list(range(1, len(rounds) + 1))
    published = [(e.round, e.data["term"]) for e in events if e.kind == "Published"]
    assert [number for number, _ in published] == [r.round for r in rounds]
    elected = Counter((e.round, e.data["term"]) for e in events if e.kind == "LeaderElected")
    assert set(elected.values()) <= {1}, "two leaders of one term"
    assert set(published) <= set(elected)


def _everything_has_a_reason(events: list[api.Event]) -> None:
    """I4."""
    for event in events:
        if event.kind in WITH_REASON:
            assert event.data[WITH_REASON[event.kind]], event


def _all_the_same(finished: tuple[Pair, ...], last: api.RoundRecord) -> None:
    """I2: as the SLs say, and as the ML programs computed it from their parameters."""
    for pair in finished:
        assert pair.result["outcome"] == "completed", pair.result
        assert pair.result["final_digest"] == last.digest
        assert pair.ml is not None
        assert f"Final model digest: {last.digest}" in pair.ml.said()


def _as_the_oracle_says(kept: Path, rounds: list[api.RoundRecord], method: str) -> None:
    """I3, for every round whose models were all kept by some ML program; at least the last one."""
    before, compared = NO_DIGEST, []
    for record in rounds:
        inputs = [(c.weightage, kept / c.digest) for c in record.contributors]
        if any(weight for weight, _ in inputs):
            weighted = [(weight, path) for weight, path in inputs if weight]
        elif before != NO_DIGEST:
            assert record.digest == before
            continue
        else:
            weighted = [(1, path) for _, path in inputs]
        base, before = before, record.digest
        if all(path.exists() for _, path in weighted):
            models = [read(path.read_bytes()) for _, path in weighted]
            from_model = read((kept / base).read_bytes()) if base != NO_DIGEST else None
            merged = merge_again(method, models, [weight for weight, _ in weighted], from_model)
            if method in NEARLY:
                found = read((kept / record.digest).read_bytes())
                assert close(found, merged, models), f"round {record.round}"
            else:
                assert digest_of(model_file(merged)) == record.digest, f"round {record.round}"
            compared.append(record.round)
    assert not rounds or rounds[-1].round in compared, f"models are missing; compared {compared}"


def _journals(training: Training, contributed: set[str]) -> None:
    """No process ended with a bug, and a new round machine decides as that of each SL did."""
    for pair in training.pairs:
        assert "Traceback" not in pair.sl.said(100_000), pair.sl.said(100_000)
        written = pair.journal.read_bytes() if pair.journal.exists() else b""
        if not written:
            assert pair.uid not in contributed
            continue  # it was killed, or refused its ML program, before its training began
        _replays(pair.journal)
        if pair.sl.poll() == -signal.SIGKILL:
            torn = pair.journal.with_name("torn.jsonl")
            torn.write_bytes(written[:-3])  # as by a kill within the write of the last line
            assert _replays(torn).broken_off


def _replays(journal: Path) -> replay.Report:
    report = replay.check(journal)
    assert report.difference is None, str(report)
    assert report.runs
    return report
