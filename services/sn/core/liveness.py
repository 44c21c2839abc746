"""Which of an SN's nodes are lost, and which to report alive: decided from heartbeat ages.

Heartbeats stay off the chain; what goes there is a batch of ``alive`` now and then, ``lost`` when
a node falls silent, and ``alive`` at once when a lost one is heard again. Times are seconds on any
clock that only moves forward.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.common.ids import NodeId
from services.sn.core.nodes import Node


@dataclass(frozen=True, slots=True)
class Pace:
    """How often nodes are heard, in seconds."""

    heartbeat: float = 2.0
    """Between two heartbeats that a node is to keep."""
    lost_after: float = 6.0
    """Of silence after which a node is lost."""
    report_every: float = 30.0
    """Between two reports to the chain of an SN's nodes that are alive."""
    end_after: float = 60.0
    """How long the last peer that trains may be lost before the training ends without it."""
    swop_after: float = 60.0
    """How long a SWOP whose pairs work may be lost before they count as failed: it may be on its
    way back, after an update or a restart of its host's engine; its pairs go on meanwhile."""
    orphan_after: float = 100.0
    """Without a report from its own SN after which another SN declares a node lost."""


@dataclass(frozen=True, slots=True)
class Due:
    """What to write to the chain now; both sorted."""

    alive: tuple[NodeId, ...] = ()
    lost: tuple[NodeId, ...] = ()


class Liveness:
    """Ages of the heartbeats of the nodes that registered with this SN.

    Args:
        lost_after: seconds of silence after which a node is lost.
        report_every: seconds between two batches of ``alive``.
    """

    def __init__(self, lost_after: float, report_every: float) -> None:
        self.lost_after = lost_after
        self.report_every = report_every
        self._heard: dict[NodeId, float] = {}
        self._lost: set[NodeId] = set()
        self._returned: set[NodeId] = set()
        self._reported: float | None = None
        self._looked: float | None = None

    def heard(self, uid: NodeId, now: float, *, lost: bool = False) -> bool:
        """Note a sign of life.

        Args:
            uid: whose.
            now: present time.
            lost: whether the chain counts the node as lost, which another SN may have said.

        Returns:
            Whether to tell the chain at once.
        """
        self._heard[uid] = now
        if lost or uid in self._lost:
            self._lost.discard(uid)
            self._returned.add(uid)
        return uid in self._returned

    def forget(self, uid: NodeId) -> None:
        """Stop watching a node: it left, or registered with another SN."""
        self._heard.pop(uid, None)
        self._lost.discard(uid)
        self._returned.discard(uid)

    def watched(self) -> frozenset[NodeId]:
        """The nodes watched, lost ones included."""
        return frozenset(self._heard)

    def lost(self) -> frozenset[NodeId]:
        """The nodes that are silent for too long."""
        return frozenset(self._lost)

    def due(self, now: float) -> Due:
        """What to report now; to be asked about every second.

        Silence counts only while somebody listens: after a pause of this process longer than half
        of ``lost_after``, every node gets that pause on top.
        """
        self._forgive_pause(now)
        lost = {u for u, t in self._heard.items() if now - t > self.lost_after} - self._lost
        self._lost |= lost
        alive = self._returned - lost
        self._returned = set()
        if self._reported is None or now - self._reported >= self.report_every:
            self._reported = now
            alive |= self._heard.keys() - self._lost
        return Due(tuple(sorted(alive)), tuple(sorted(lost)))

    def _forgive_pause(self, now: float) -> None:
        if self._looked is not None and now - self._looked > self.lost_after / 2:
            pause = now - self._looked
            self._heard = {u: min(t + pause, now) for u, t in self._heard.items()}
        self._looked = now


class Orphans:
    """Nodes of *other* SNs that nobody reports any more: their SN is gone, too.

    Args:
        limit: seconds; several of the intervals at which SNs report their nodes.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._heard: dict[NodeId, tuple[int, float]] = {}

    def due(self, nodes: Iterable[Node], me: str, now: float, *, moving: bool) -> list[NodeId]:
        """The orphans, sorted.

        Args:
            nodes: all nodes.
            me: this SN's uid.
            now: present time.
            moving: whether the chain goes on here. Where it does not, this SN may be the one that
                is cut off, so nobody's silence counts.
        """
        found: dict[NodeId, tuple[int, float]] = {}
        for node in nodes:
            if node.alive and node.parent != me:
                heard, since = self._heard.get(node.uid, (0, now))
                found[node.uid] = (node.heard, since if moving and heard == node.heard else now)
        self._heard = found
        return sorted(uid for uid, (_, since) in found.items() if now - since > self.limit)
