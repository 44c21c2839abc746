"""What peers measured of each merged model: what is kept, and that the chain tells the same."""

from unittest.mock import patch

from hypothesis import given, settings

from services.common import sn_api as api
from services.common.ids import NO_DIGEST, NodeId
from services.sn.core import ledger, perfs, rounds
from services.sn.core.ledger import Block
from services.sn.core.perfs import Perfs, perf_records
from services.sn.core.rounds import History
from tests.unit.sn.histories import histories

A, B = NodeId("a" * 32), NodeId("b" * 32)


def perf(loss):
    return api.Perf(loss=loss, metric=0.5, epochs=1, total_epochs=2)


def checked_in(peer, number, measured):
    return ledger.CheckedIn(
        1, number, peer, NO_DIGEST, "c" * 64, 9, 1, api.PeerState.TRAINING, measured
    )


def published(number):
    return ledger.Published(1, number, 1, A, "e" * 64, 9, (A, B), 0)


def fold(*events):
    made = Perfs()
    for event in events:
        made.apply(event)
    return made


def shown(records):
    return {r.round: {p.peer: p.perf.loss for p in r.peers} for r in records}


STORY = [
    checked_in(A, 1, None), checked_in(B, 1, None), published(1),
    checked_in(B, 2, perf(0.2)), checked_in(A, 2, perf(0.1)), checked_in(A, 2, perf(0.15)),
    published(2), checked_in(A, 3, None), ledger.PerfReported(1, 1, A, perf(9.0)),
    ledger.PerfReported(1, 2, B, perf(0.3)),
]  # fmt: skip


def test_a_rounds_perf_comes_with_the_next_check_ins_or_by_itself():
    assert shown(fold(*STORY).in_memory(1)) == {1: {A: 0.15, B: 0.2}, 2: {B: 0.3}}
    assert shown(fold(*STORY).in_memory(2)) == {2: {B: 0.3}}
    assert [p.peer for p in fold(*STORY).in_memory(1)[0].peers] == [A, B]


def test_a_reset_ends_them():
    made = fold(*STORY, ledger.Reset(1, 3, "op"))
    assert made.in_memory(1) == []
    events = [*STORY, ledger.Reset(1, 3, "op")]
    assert shown(perf_records(events, 1, 1, 2)) == {1: {A: 0.15, B: 0.2}, 2: {B: 0.3}}


def test_before_the_first_merge_there_is_nothing():
    assert fold(*STORY[:2]).in_memory(1) == []
    assert shown(fold(*STORY[:3]).in_memory(1)) == {1: {}}


@settings(deadline=None)
@given(histories(most=60))
def test_every_record_can_be_read_again_from_its_blocks(history):
    mine = [event for at, event in history if at == "0xone"]
    found = [(event, Block(k // 2, f"{k // 2:064x}", 0)) for k, event in enumerate(mine)]
    with (
        patch.object(perfs, "KEPT_PERFS", 2), patch.object(rounds, "KEPT_ROUNDS", 2),
        patch.object(rounds, "STRIDE", 2),
    ):  # fmt: skip
        whole, kept = History(), Perfs()
        naive = {}
        for event, block in found:
            whole.apply(event, block)
            kept.apply(event)
            for record in kept.in_memory(1):
                naive[whole_generation(whole), record.round] = record
        present = whole_generation(whole)
        for generation, chapter in whole.chapters.items():
            closed = chapter.rounds - (generation == present)
            for first in range(1, closed + 1):
                for last in range(first, closed + 1):
                    begin, end = chapter.blocks_after(first, last)
                    there = [e for e, b in found if begin <= b.number <= end]
                    told = perf_records(there, generation, first, last)
                    expected = [naive[generation, number] for number in range(first, last + 1)]
                    assert repr(told) == repr(expected)  # a loss may be no number


def whole_generation(history):
    """The present one."""
    ended = [number for number, chapter in history.chapters.items() if chapter.ended]
    return max(ended, default=0) + 1
