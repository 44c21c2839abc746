"""Adaptive sync frequency: the leader judges the mean loss and chooses everybody's next interval.

HPE publishes the idea (judge the mean loss over the peers; longer while it falls, shorter when it
does not) and no constants. Our choice: more than 1 % better doubles the interval, anything else
halves it, within one eighth and eight times of the interval that training began with.
"""

import math
from collections.abc import Iterable

IMPROVEMENT = 0.01
SPAN = 8


def mean_loss(losses: Iterable[float]) -> float | None:
    """Mean over the peers that measured one.

    Args:
        losses: 0 stands for "no validation data" in the ML-SL protocol and is left out.

    Returns:
        The mean; NaN if any is not finite; None when nobody measured.
    """
    measured = [loss for loss in losses if loss != 0]
    if not measured:
        return None
    return sum(measured) / len(measured)


def next_interval(current: int, initial: int, before: float | None, latest: float | None) -> int:
    """The next sync interval in batches, at least 1.

    Args:
        current: the interval in force.
        initial: ``syncFrequency`` as the user gave it.
        before: mean loss of the merged model before the latest one; None if unknown.
        latest: mean loss of the latest merged model; None if unknown.
    """
    if latest is None or before is None:
        return max(1, current)
    improved = math.isfinite(latest) and latest < before * (1 - IMPROVEMENT)
    if improved:
        return min(2 * current, SPAN * initial)
    return max(current // 2, initial // SPAN, 1)
