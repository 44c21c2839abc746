"""Who seals the next block, and when; and whether this SN may seal at all.

Clique lets any signer seal any block. So that they do not all do it at once, the signers (sorted)
take turns by block number: the one *in turn* seals at once, the next in rank waits a while, and so
on. Signers whose link is down are skipped, so that a dead one costs nothing. That one history comes
of it is the business of :mod:`services.sn.core.agreement`; turns only keep SNs out of each other's
way.

**Partitions.** An SN seals only while it is linked to a quorum of the signers, itself included:
more than half; of two signers the sentinel (the signer of the genesis block). The others wait and
say so.

**Time.** Block timestamps follow the median of the clocks of the linked SNs, so that one wrong
clock neither stops the swarm nor moves its deadlines.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median_low

from services.sn.core.agreement import is_quorum

STEP_S = 2.0
"""Seconds that each rank waits longer than the one before it."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Seal the next block after ``delay_s`` seconds, unless another's comes first."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not seal."""

    reason: str
    """For a person, e.g. ``linked to 1 of 3 signers``."""


Turn = Seal | Wait


def turn(
    number: int, signers: Sequence[bytes], me: bytes, linked: Collection[bytes], sentinel: bytes,
    idle: Collection[bytes] = (),
) -> Turn:  # fmt: skip
    """What this SN does about block ``number``.

    Args:
        number: of the block to be sealed.
        signers: accounts that may seal it, sorted.
        me: this SN's account.
        linked: accounts of the SNs that this one has a live link to.
        sentinel: signer of the genesis block.
        idle: those of ``linked`` that seal no blocks, as configured.
    """
    if me not in signers:
        return Wait("not a signer yet: waiting for the votes of the signers")
    alive = {me, *linked}
    if not is_quorum(alive, signers, sentinel):
        reached = sum(signer in alive for signer in signers)
        return Wait(
            f"linked to {reached} of {len(signers)} signers, itself included: waiting for the "
            "majority"
        )
    first = number % len(signers)
    order = [*signers[first:], *signers[:first]]
    before = order[: order.index(me)]
    return Seal(STEP_S * sum(signer in alive and signer not in idle for signer in before))


def clock_offset(others: Iterable[float]) -> float:
    """Seconds to add to this SN's clock to get the swarm's time.

    Args:
        others: for each linked SN, its clock minus this SN's, in seconds.

    With this SN's own 0 among them, the lower median: SNs that all see each other agree on one
    clock, and no minority can move it beyond what the majority's clocks say.
    """
    return median_low([0.0, *others])
