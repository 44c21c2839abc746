"""Who seals, when, and on which side of a split."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sn.core.turns import STEP_S, Seal, Wait, clock_offset, turn

A, B, C, D = (bytes([n]) * 20 for n in (1, 2, 3, 4))


def test_a_single_signer_seals_at_once():
    assert [turn(n, [A], A, [], A) for n in range(3)] == [Seal(0.0)] * 3


def test_the_signer_in_turn_is_first_and_the_others_follow_in_rank():
    signers = [A, B, C]
    assert [turn(4, signers, me, signers, A) for me in signers] == [
        Seal(2 * STEP_S),
        Seal(0.0),
        Seal(STEP_S),
    ]


def test_signers_without_a_link_are_skipped():
    # block 3: the order is A, B, C; A is dead
    assert turn(3, [A, B, C], B, [C], A) == Seal(0.0)
    assert turn(3, [A, B, C], C, [B], A) == Seal(STEP_S)


def test_links_to_sns_that_are_no_signers_count_for_nothing():
    assert isinstance(turn(1, [A, B, C], A, [D], A), Wait)
    assert turn(0, [A], A, [D], A) == Seal(0.0)


def test_who_is_not_a_signer_waits():
    assert "not a signer" in turn(1, [A], B, [A], A).reason


@pytest.mark.parametrize("sentinel", [A, B])
def test_of_two_the_sentinel_goes_on_alone(sentinel):
    other = B if sentinel == A else A
    assert turn(1, [A, B], sentinel, [], sentinel) == Seal(0.0)
    assert isinstance(turn(1, [A, B], other, [], sentinel), Wait)


def test_two_signers_without_the_sentinel_need_each_other():
    assert isinstance(turn(1, [A, B], A, [], C), Wait)
    assert isinstance(turn(1, [A, B], A, [B], C), Seal)


def test_half_of_four_is_no_majority_even_with_the_sentinel():
    waits = turn(1, [A, B, C, D], A, [B], A)
    assert isinstance(waits, Wait)
    assert "2 of 4" in waits.reason


@given(
    count=st.integers(1, 7),
    split=st.integers(0, 127),
    number=st.integers(0, 50),
    sentinel=st.integers(0, 6),
)
def test_at_most_one_side_of_a_split_seals_and_it_has_exactly_one_first(
    count, split, number, sentinel
):
    signers = [bytes([n]) * 20 for n in range(count)]
    boss = signers[sentinel % count]
    sides = [[s for n, s in enumerate(signers) if (split >> n & 1) == side] for side in (0, 1)]
    going = []
    for side in sides:
        turns = [turn(number, signers, me, side, boss) for me in side]
        assert len({type(t) for t in turns}) <= 1, "a side is of one mind"
        if turns and isinstance(turns[0], Seal):
            going.append(side)
            delays = sorted(t.delay_s for t in turns)
            assert delays == [STEP_S * rank for rank in range(len(side))]
    assert len(going) <= 1


@given(
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=7),
)
def test_sns_that_see_each_other_agree_on_the_time(clocks):
    agreed = {
        mine + clock_offset(c - mine for k, c in enumerate(clocks) if k != n)
        for n, mine in enumerate(clocks)
    }
    assert len(agreed) == 1
    assert min(clocks) <= agreed.pop() <= max(clocks)


def test_one_wrong_clock_of_three_moves_nothing():
    for order in itertools.permutations([0.0, 1.0, 600.0]):
        mine, *others = order
        assert mine + clock_offset(o - mine for o in others) == 1.0
