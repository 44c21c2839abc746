import math

import pytest

from services.sl.core.adaptive import mean_loss, next_interval


def test_mean_loss_leaves_out_peers_without_validation_data():
    assert mean_loss([0.0, 1.0, 3.0]) == 2.0
    assert mean_loss([0.0]) is None
    assert mean_loss([]) is None
    assert math.isnan(mean_loss([1.0, math.nan]))


@pytest.mark.parametrize(
    ("current", "before", "latest", "expected"),
    [
        (8, 1.0, 0.98, 16),  # better: longer
        (8, 1.0, 0.995, 4),  # less than 1 % better: shorter
        (8, 1.0, 1.5, 4),
        (64, 1.0, 0.5, 64),  # at most 8 times the first
        (1, 1.0, 2.0, 1),  # at least an eighth of it
        (8, 1.0, math.nan, 4),
        (8, None, 1.0, 8),
        (8, 1.0, None, 8),
    ],
)
def test_next_interval(current, before, latest, expected):
    assert next_interval(current, 8, before, latest) == expected


def test_interval_never_falls_below_one():
    assert next_interval(1, 2, 1.0, 2.0) == 1
