"""Adaptive sync frequency: the leader judges the mean loss and chooses everybody's next interval.

HPE publishes the idea (judge the mean loss over the peers; longer while it falls, shorter when it
does not) and no constants. Our choice: more than 1 % better doubles the interval, anything else
halves it, within one eighth and eight times of the interval that training began with. The two
means are over the same peers, those that measured both models: a peer that joins late with a higher
loss is no reason to think that the models got worse.
"""

import math
from collections.abc import Mapping

from services.common.sn_api import ContractView

IMPROVEMENT = 0.01
SPAN = 8
LIMIT = SPAN * SPAN
"""Times our own interval that we follow a leader, whose own may be longer: no lie of one can keep
the others from syncing."""


def next_interval(
    current: int, initial: int, before: Mapping[str, float], latest: Mapping[str, float]
) -> int:
    """The next sync interval in batches, at least 1.

    Args:
        current: the interval in force.
        initial: ``syncFrequency`` as the user gave it.
        before: by peer, the loss of the merged model before the latest one. 0 stands for "no
            validation data" in the ML-SL protocol and is left out.
        latest: the same of the latest merged model. A loss that is not a finite number is no
            improvement.
    """
    current = min(current, SPAN * initial)
    both = [uid for uid in sorted(latest) if before.get(uid) and latest[uid]]
    if not both:
        return max(1, current)
    if improved([before[uid] for uid in both], [latest[uid] for uid in both]):
        return min(2 * current, SPAN * initial)
    return max(current // 2, initial // SPAN, 1)


def losses_of(view: ContractView) -> dict[str, float]:
    """By peer, the loss that it measured on the latest merged model."""
    return {p.uid: p.perf.loss for p in view.peers if p.perf and p.perf_round == view.round - 1}


def improved(before: list[float], latest: list[float]) -> bool:
    """Whether the mean loss fell by more than :data:`IMPROVEMENT` of its size."""
    old, new = sum(before) / len(before), sum(latest) / len(latest)
    if not math.isfinite(new):
        return False
    return not math.isfinite(old) or new < old - IMPROVEMENT * abs(old)
