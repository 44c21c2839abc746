"""How much one certificate may write."""

from hypothesis import given
from hypothesis import strategies as st

from services.sn.core.allowance import Allowance


def test_a_burst_is_free_and_then_it_goes_slowly():
    allowance = Allowance(at_once=3, per_second=0.5)
    assert [allowance.take("a", 10.0) for _ in range(4)] == [True, True, True, False]
    assert not allowance.take("a", 11.0)
    assert allowance.take("a", 12.0)
    assert not allowance.take("a", 12.1)
    assert [allowance.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_nobody_pays_for_another():
    allowance = Allowance(at_once=1, per_second=1)
    assert allowance.take("a", 0)
    assert not allowance.take("a", 0.5)
    assert allowance.take("b", 0.5)


def test_who_has_been_silent_is_forgotten():
    allowance = Allowance(at_once=2, per_second=1)
    for number in range(100):
        assert allowance.take(str(number), number)
    assert len(allowance._used) <= 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=60))
def test_it_is_never_more_than_the_burst_and_what_came_back(steps):
    allowance, now, taken = Allowance(at_once=4, per_second=2), 0.0, {"a": [], "b": []}
    for who, pause in steps:
        now += pause
        if allowance.take(who, now):
            taken[who].append(now)
    for times in taken.values():
        for first, begin in enumerate(times):
            for last, end in enumerate(times[first:], first):
                assert last - first + 1 <= 4 + 2 * (end - begin) + 1e-6
