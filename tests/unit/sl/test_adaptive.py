import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sl.core.adaptive import SPAN, next_interval

LOSSES = st.dictionaries(st.sampled_from("abcd"), st.floats(width=32))
INTERVALS = st.integers(1, 1000)


@pytest.mark.parametrize(
    ("current", "before", "latest", "expected"),
    [
        pytest.param(8, 1.0, 0.98, 16, id="better: longer"),
        pytest.param(8, 1.0, 0.995, 4, id="less than 1 % better: shorter"),
        pytest.param(8, 1.0, 1.5, 4, id="worse: shorter"),
        pytest.param(64, 1.0, 0.5, 64, id="at most 8 times the first"),
        pytest.param(1, 1.0, 2.0, 1, id="at least an eighth of it"),
        pytest.param(8, 1.0, math.nan, 4, id="NaN is no improvement"),
        pytest.param(8, 1.0, math.inf, 4, id="nor is infinity"),
        pytest.param(8, math.nan, 1.0, 16, id="a number after NaN is one"),
        pytest.param(8, math.nan, math.nan, 4, id="still NaN"),
        pytest.param(8, -1.0, -1.0, 4, id="negative and the same"),
        pytest.param(8, -1.0, -1.02, 16, id="negative and better"),
    ],
)
def test_one_peers_losses(current, before, latest, expected):
    assert next_interval(current, 8, {"a": before}, {"a": latest}) == expected


@pytest.mark.parametrize(
    ("before", "latest", "expected"),
    [
        pytest.param({}, {"a": 1.0}, 8, id="nothing before"),
        pytest.param({"a": 1.0}, {}, 8, id="nothing now"),
        pytest.param({"a": 1.0}, {"b": 0.5}, 8, id="nobody measured both"),
        pytest.param({"a": 0.0}, {"a": 0.0}, 8, id="no validation data"),
        pytest.param({"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 9.0}, 16, id="b had none before"),
        pytest.param({"a": 1.0, "b": 3.0}, {"a": 1.5, "b": 2.0}, 16, id="the mean counts"),
        pytest.param({"a": 1.0}, {"a": 0.9, "late": 50.0}, 16, id="one that joined late"),
        pytest.param({"a": 1.0, "gone": 9.0}, {"a": 1.1}, 4, id="one that left"),
        pytest.param({"a": 1.0, "b": 1.0}, {"a": 0.5, "b": math.nan}, 4, id="one NaN"),
    ],
)
def test_several_peers_losses(before, latest, expected):
    assert next_interval(8, 8, before, latest) == expected


def test_an_interval_that_no_honest_leader_chose_is_forgotten():
    assert next_interval(2**32 - 1, 4, {"a": 1.0}, {"a": 2.0}) == 16
    assert next_interval(2**32 - 1, 4, {}, {}) == 32


def test_interval_never_falls_below_one():
    assert next_interval(1, 2, {"a": 1.0}, {"a": 2.0}) == 1


@given(INTERVALS, INTERVALS, LOSSES, LOSSES)
def test_whatever_the_losses_the_interval_stays_within_bounds(current, initial, before, latest):
    found = next_interval(current, initial, before, latest)
    assert found >= 1
    reached = min(current, SPAN * initial)
    assert reached // 2 <= found <= max(2 * reached, initial // SPAN)
