"""Published rounds: what is kept, where the rest is, and that both tell the same."""

from unittest.mock import patch

from hypothesis import given, settings

from services.sn.core import ledger, rounds
from services.sn.core.ledger import Block
from services.sn.core.rounds import Chapter, History, records
from tests.unit.sn.histories import histories


def blocks(history, address="0xone"):
    """The contract's events, two to a block."""
    mine = [event for at, event in history if at == address]
    return [(event, Block(k // 2, f"{k // 2:064x}", 1000 + k // 2)) for k, event in enumerate(mine)]


@settings(deadline=None)
@given(histories(most=60))
def test_every_published_round_can_be_read_again_from_its_blocks(history):
    found = blocks(history)
    with patch.object(rounds, "KEPT_ROUNDS", 2), patch.object(rounds, "STRIDE", 2):
        whole, all_records = History(), {}
        for event, block in found:
            whole.apply(event, block)
            if isinstance(event, ledger.Published):
                all_records.setdefault(event.generation, []).append(whole.latest[-1])
        for generation, published in all_records.items():
            assert whole.published(generation) == len(published)
            for first in range(1, len(published) + 1):
                for last in range(first, len(published) + 1):
                    begin, end = whole.chapters[generation].blocks(first, last)
                    there = [(e, b) for e, b in found if begin <= b.number <= end]
                    expected = published[first - 1 : last]
                    assert records(there, generation, first, last) == expected
                    assert whole.in_memory(generation, first, last) in (None, expected)


def history_of(count):
    history = History()
    history.apply(ledger.Enrolled(1, 1, "a" * 32, 1, "mean", False, True, 600), Block(7, "", 0))
    for number in range(1, count + 1):
        event = ledger.Published(1, number, 1, "a" * 32, "e" * 64, 9, (), 0)
        history.apply(event, Block(10 * number, "", 0))
    return history


def test_what_is_kept_does_not_grow_with_the_rounds():
    history = history_of(1000)
    assert len(history.latest) == rounds.KEPT_ROUNDS
    assert history.chapters == {1: Chapter([7, *range(1000, 10001, 1000)], 1000, 10000)}
    assert [r.round for r in history.in_memory(1, 998, 1000)] == [998, 999, 1000]
    assert len(history.in_memory(1, 801, 1000)) == 200
    assert history.in_memory(1, 800, 1000) is None


def test_nothing_is_asked_for_and_nothing_is_there():
    history = history_of(3)
    assert history.in_memory(1, 4, 3) == []
    assert history.published(2) == 0
    history.apply(ledger.Reset(1, 4, "x"), Block(50, "", 0))
    assert (history.latest, history.published(1)) == ([], 3)
    assert history.in_memory(1, 1, 1) is None
    assert history.chapters[1].blocks(1, 3) == (7, 30)
