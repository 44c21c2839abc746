"""When to ask for a packed file: only where a plain transfer has shown that the link is slow."""

import pytest

from services.sl.core.links import FAST, MIN_SIZE, Links

MB = 1_000_000


def links(*rates, threshold=250 * MB, size=10 * MB):
    made = Links(threshold)
    for rate in rates:
        made.note("peer:1", size, size / rate)
    return made


@pytest.mark.parametrize(
    ("rates", "pays"),
    [
        ((), False),
        ((FAST / 2,), True),
        ((FAST * 2,), False),
        ((FAST / 9, FAST * 2, FAST / 9), False),
        ((FAST * 2, FAST / 9, FAST / 9, FAST / 9), True),
        ((FAST / 9, FAST / 9, FAST / 9, FAST * 2), False),
    ],
    ids=["unknown", "slow", "fast", "slow-for-a-moment", "slow-since", "fast-again"],
)
def test_the_best_of_the_last_three_transfers_decides(rates, pays):
    assert links(*rates).pays("peer:1", MB) is pays


def test_each_link_is_judged_by_itself():
    assert not links(FAST / 2).pays("peer:2", MB)


def test_only_files_below_the_threshold_are_packed():
    slow = links(FAST / 2, threshold=5 * MB)
    assert slow.pays("peer:1", 5 * MB - 1)
    assert not slow.pays("peer:1", 5 * MB)
    assert not links(FAST / 2, threshold=0).pays("peer:1", 0)


def test_short_transfers_tell_nothing():
    assert not links(FAST / 2, size=MIN_SIZE - 1).pays("peer:1", MB)
