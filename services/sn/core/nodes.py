"""Read model of the node registry: a fold over its events."""

from dataclasses import dataclass, replace
from typing import assert_never

from services.common.ids import NodeId, NodeKind
from services.common.sn_api import NodeInfo
from services.sn.core import ledger
from services.sn.core.ledger import Block


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


class Nodes:
    """All nodes, after the events applied so far."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._seq = 0

    def get(self, uid: str) -> Node | None:
        """The node called ``uid``, if it ever registered."""
        return self._nodes.get(uid)

    def all(self) -> list[Node]:
        """Every node, sorted by uid."""
        return [self._nodes[uid] for uid in sorted(self._nodes)]

    def children(self, parent: str) -> list[Node]:
        """The nodes that registered with SN ``parent`` (itself included) and did not leave."""
        return [n for n in self._nodes.values() if n.parent == parent and not n.left]

    def revision_of(self, uid: str) -> int:
        """Grows when the node's address or certificate changes; 0 for an unknown node."""
        node = self._nodes.get(uid)
        return node.revision if node else 0

    def apply(self, event: ledger.NodeEvent, block: Block) -> None:
        """Advance by one event of the registry, in chain order."""
        self._seq += 1
        match event:
            case ledger.NodeRegistered():
                self._register(event, block)
            case ledger.NodesAlive():
                for uid in event.uids:
                    self._mark(uid, alive=True, last_seen=block.time, heard=self._seq)
            case ledger.NodesLost():
                for uid in event.uids:
                    self._mark(uid, alive=False)
            case ledger.NodeLeft():
                self._mark(event.uid, alive=False, left=True)
            case _:
                assert_never(event)

    def _register(self, event: ledger.NodeRegistered, block: Block) -> None:
        old = self._nodes.get(event.uid)
        node = Node(
            uid=event.uid, kind=event.kind, sentinel=event.sentinel, endpoint=event.endpoint,
            container=event.container, version=event.version, parent=event.parent,
            fingerprint=event.fingerprint, alive=True, left=False, last_seen=block.time,
            heard=self._seq, revision=old.revision if old else self._seq,
        )  # fmt: skip
        if old is not None and _shown(old) != _shown(node):
            node = replace(node, revision=self._seq)
        self._nodes[event.uid] = node

    def _mark(self, uid: str, **changes: bool | int) -> None:
        node = self._nodes.get(uid)
        if node is not None:
            self._nodes[uid] = replace(node, **changes)  # type: ignore[arg-type]


def _shown(node: Node) -> tuple[str, str, str]:
    return node.endpoint, node.fingerprint, node.container


def info_of(node: Node) -> NodeInfo:
    """A node as the API shows it."""
    return NodeInfo(
        uid=node.uid, kind=node.kind, sentinel=node.sentinel, endpoint=node.endpoint,
        container=node.container, version=node.version, parent=node.parent,
        fingerprint=node.fingerprint, alive=node.alive, last_seen=node.last_seen,
    )  # fmt: skip
