import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmlearning._cadence import Cadence


def syncs(batches, interval, answers=None):
    """Batches (counted from 1) at whose end a sync is done, after the one at train begin."""
    cadence, found = Cadence(interval), []
    answered = iter(answers or [])
    cadence.synced(next(answered, interval), over=False)
    for batch in range(1, batches + 1):
        if cadence.due:
            found.append(batch)
            cadence.synced(next(answered, interval), over=False)
        cadence.count()
    return found


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (1, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (2, [3, 5, 7, 9, 11]),
        (3, [4, 7, 10]),
        (5, [6, 11]),
        (11, [12]),
        (12, []),
    ],
)
def test_the_first_sync_comes_after_n_plus_1_batches_and_then_every_n(interval, expected):
    assert syncs(12, interval) == expected


@pytest.mark.parametrize(
    ("batches", "interval", "count"),
    [(2 * 469, 128, 7), (5 * 469, 128, 18), (15, 256, 0), (1563, 128, 12), (1760, 128, 13)],
)
def test_hpes_examples_sync_as_often_as_documented(batches, interval, count):
    assert len(syncs(batches, interval)) == count


@given(st.integers(1, 200), st.integers(1, 50))
def test_the_number_of_syncs_is_the_documented_formula(batches, interval):
    assert len(syncs(batches, interval)) == (batches - 1) // interval


def test_the_interval_that_the_sl_answers_is_obeyed():
    assert syncs(20, 5, answers=[2, 3, 4, 10]) == [3, 6, 10, 20]


@pytest.mark.parametrize("answer", [0, -3])
def test_an_interval_below_1_does_not_stop_syncing(answer):
    assert syncs(4, 5, answers=[answer] * 4) == [2, 3, 4]


def test_nothing_is_due_once_training_is_over():
    cadence = Cadence(1)
    assert cadence.due
    cadence.synced(1, over=True)
    for _ in range(5):
        assert not cadence.due
        cadence.count()
