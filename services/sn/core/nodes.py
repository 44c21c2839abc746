"""Read model of the node registry: a fold over its events."""

from dataclasses import dataclass, field, replace
from typing import assert_never

from services.common.ids import NodeId, NodeKind
from services.common.sn_api import NodeInfo
from services.sn.core import ledger
from services.sn.core.ledger import Block

LEFT_KEPT = 86_400
"""Seconds of chain time for which a node that signed off is remembered; then it is forgotten when
the next new one registers. HPE showed such nodes for about ten minutes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node that registered at some time."""

    uid: NodeId
    kind: NodeKind
    sentinel: bool
    endpoint: str
    container: str
    version: str
    parent: NodeId
    fingerprint: str
    alive: bool
    """False once it missed its heartbeats or left."""
    left: bool
    """It signed off; it must register again to come back."""
    last_seen: int
    """Chain time, Unix seconds."""
    heard: int
    """Number of the registry event that was its last sign of life."""
    revision: int
    """Number of the registry event that last changed its address or certificate."""
    turned: int
    """Number of the registry event that last changed whether it is alive."""


@dataclass(slots=True)
class Nodes:
    """All nodes but those that left long ago, after the events applied so far."""

    by_uid: dict[str, Node] = field(default_factory=dict)
    seq: int = 0
    """How many events there were."""

    def get(self, uid: str) -> Node | None:
        """The node called ``uid``, if it registered and did not leave long ago."""
        return self.by_uid.get(uid)

    def all(self) -> list[Node]:
        """Every node that is remembered, sorted by uid."""
        return [self.by_uid[uid] for uid in sorted(self.by_uid)]

    def children(self, parent: str) -> list[Node]:
        """The nodes that registered with SN ``parent`` (itself included) and did not leave."""
        return [n for n in self.by_uid.values() if n.parent == parent and not n.left]

    def revision_of(self, uid: str) -> int:
        """Grows when the node's address or certificate changes; 0 for an unknown node."""
        node = self.by_uid.get(uid)
        return node.revision if node else 0

    def shown_at(self, uid: str) -> int:
        """The same, and grows also when the node is lost or comes back."""
        node = self.by_uid.get(uid)
        return max(node.revision, node.turned) if node else 0

    def apply(self, event: ledger.NodeEvent, block: Block) -> None:
        """Advance by one event of the registry, in chain order."""
        self.seq += 1
        match event:
            case ledger.NodeRegistered():
                self._register(event, block)
            case ledger.NodesAlive():
                for uid in event.uids:
                    self._mark(uid, alive=True, last_seen=block.time, heard=self.seq)
            case ledger.NodesLost():
                for uid in event.uids:
                    self._mark(uid, alive=False)
            case ledger.NodeLeft():
                self._mark(event.uid, alive=False, left=True)
            case _:
                assert_never(event)

    def _register(self, event: ledger.NodeRegistered, block: Block) -> None:
        old = self.by_uid.get(event.uid)
        if old is None:
            self._forget_left(before=block.time - LEFT_KEPT)
        node = Node(
            uid=event.uid, kind=event.kind, sentinel=event.sentinel, endpoint=event.endpoint,
            container=event.container, version=event.version, parent=event.parent,
            fingerprint=event.fingerprint, alive=True, left=False, last_seen=block.time,
            heard=self.seq, revision=old.revision if old else self.seq,
            turned=old.turned if old and old.alive else self.seq,
        )  # fmt: skip
        if old is not None and _shown(old) != _shown(node):
            node = replace(node, revision=self.seq)
        self.by_uid[event.uid] = node

    def _forget_left(self, before: int) -> None:
        gone = [n.uid for n in self.by_uid.values() if n.left and n.last_seen < before]
        for uid in gone:
            del self.by_uid[uid]

    def _mark(self, uid: str, *, alive: bool, **changes: bool | int) -> None:
        node = self.by_uid.get(uid)
        if node is not None:
            turned = node.turned if node.alive is alive else self.seq
            self.by_uid[uid] = replace(node, alive=alive, turned=turned, **changes)  # type: ignore[arg-type]


def _shown(node: Node) -> tuple[str, str, str]:
    return node.endpoint, node.fingerprint, node.container


def info_of(node: Node) -> NodeInfo:
    """A node as the API shows it."""
    return NodeInfo(
        uid=node.uid, kind=node.kind, sentinel=node.sentinel, endpoint=node.endpoint,
        container=node.container, version=node.version, parent=node.parent,
        fingerprint=node.fingerprint, alive=node.alive, left=node.left,
        last_seen=node.last_seen,
    )  # fmt: skip
