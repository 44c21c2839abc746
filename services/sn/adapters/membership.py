"""The nodes that registered with this SN: admits them, hears them, tells when one is gone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from services.common import sn_api as api
from services.common.errors import ConfigError, ForbiddenError, NotFoundError, SwarmError
from services.common.ids import NodeId, NodeKind
from services.common.tls import PeerCertificate
from services.sn.adapters.projection import Projection
from services.sn.adapters.system import SystemContracts
from services.sn.adapters.tasks import TaskRunners
from services.sn.adapters.trainings import Trainings
from services.sn.core.ledger import NodeRegistered
from services.sn.core.liveness import Liveness, Orphans, Pace
from services.sn.core.nodes import Node
from services.sn.core.taskrunners import Swop, TaskRunner
from services.sn.core.training import Training

log = logging.getLogger("swarm.nodes")

LISTED = (NodeKind.SL, NodeKind.SWOP)
"""Kinds of nodes that register; SWCI, license server and ML programs never do, and an SN registers
itself on the chain, so that nobody else can name endpoints that all nodes then turn to."""
MOST_NODES = 128
"""Live nodes of one certificate; several SLs of a host share one."""

Accounts = Callable[[], list[str]]
_Due = tuple[tuple[str, ...], Callable[[], Awaitable[None]]]
"""A write, and what tells it from others."""


class Membership:
    """This SN's side of node registration and liveness.

    Args:
        me: this SN itself.
        projection: the read model.
        system: the registries.
        trainings: the training contracts.
        runners: the taskrunners.
        linked: accounts of the SNs that are linked to this one.
        cut_off: whether no write can get into the chain here.
        account: this SN's own.
        pace: how often nodes are heard.
    """

    def __init__(
        self,
        me: NodeRegistered,
        projection: Projection,
        system: SystemContracts,
        trainings: Trainings,
        runners: TaskRunners,
        linked: Accounts,
        cut_off: Callable[[], bool],
        *,
        account: str,
        pace: Pace,
    ) -> None:
        self.me = me
        self._projection = projection
        self._system = system
        self._trainings = trainings
        self._runners = runners
        self._linked = linked
        self._cut_off = cut_off
        self._account = account
        self._pace = pace
        self._liveness = Liveness(pace.lost_after, pace.report_every)
        self._orphans = Orphans(pace.orphan_after)
        self._wake = asyncio.Event()
        self._under_way: set[tuple[str, ...]] = set()
        self._spared: dict[tuple[str, NodeId], float] = {}
        """Contract and lost peer, and since when that peer alone keeps the training open."""

    # --- what nodes ask

    async def register(
        self, uid: NodeId, who: PeerCertificate, body: api.NodeRegistration
    ) -> api.Registered:
        """A node announces itself.

        Raises:
            ForbiddenError: its certificate is for another kind of node, or the uid is in use.
            ConfigError: such nodes do not register.
        """
        if body.kind not in LISTED:
            raise ConfigError(f"{body.kind} nodes do not register; only {', '.join(LISTED)} do")
        who.require(body.kind)
        old = self._node(uid)
        if old is not None and not old.left and not who.is_or_was(old.fingerprint):
            raise ForbiddenError(
                f"node {uid} has not signed off and has another certificate "
                f"({old.fingerprint[:16]}...) than yours ({who.fingerprint[:16]}..., "
                f"{who.common_name}): choose another uid"
            )
        self._require_few(uid, who)
        new = NodeRegistered(
            uid=uid, kind=body.kind, sentinel=False, endpoint=body.endpoint,
            container=body.container, version=body.version, parent=self.me.uid,
            fingerprint=who.fingerprint,
        )  # fmt: skip
        if old is None or not old.alive or not _same(old, new):
            await self._system.register(new)
            log.info("registered %s %s at %s", body.kind, body.container or uid, body.endpoint)
        self._liveness.heard(uid, self._now())
        return self._registered()

    def heard(self, uid: NodeId, who: PeerCertificate) -> api.Registered:
        """A node's heartbeat.

        Raises:
            NotFoundError: it is not registered here: it must register again.
            ForbiddenError: the certificate is not the one it registered with.
        """
        node = self._node(uid)
        if node is None or node.left or node.parent != self.me.uid:
            raise NotFoundError(f"node {uid} is not registered with this SN: register it first")
        self.require_owner(uid, who)
        self.noticed(node)
        return self._registered()

    def noticed(self, node: Node) -> None:
        """Whatever a node asks is a sign of life, too; of other SNs' nodes it tells nothing."""
        if node.parent != self.me.uid or node.left:
            return
        if self._liveness.heard(node.uid, self._now(), lost=not node.alive):
            self._wake.set()

    async def revived(self, uid: NodeId) -> None:
        """A lost node of ours speaks: tell the chain before a write that needs it alive."""
        node = self._node(uid)
        if node is None or node.alive or node.left or node.parent != self.me.uid:
            return
        await self._system.alive([uid])

    async def leave(self, uid: NodeId, who: PeerCertificate, reason: str) -> None:
        """A node signs off; errors as in :meth:`require_owner`."""
        self.require_owner(uid, who)
        await self._system.leave(uid, reason)
        self._liveness.forget(uid)
        log.info("node %s left: %s", uid, reason or "no reason given")

    def require_owner(self, uid: NodeId, who: PeerCertificate) -> Node:
        """The node, if ``who`` is the certificate that it registered with, or replaced it.

        Raises:
            NotFoundError: no such node is registered.
            ForbiddenError: it registered with another certificate.
        """
        node = self._node(uid)
        if node is None:
            raise NotFoundError(f"node {uid} is not registered: PUT /v1/nodes/{uid} first")
        if not who.is_or_was(node.fingerprint):
            raise ForbiddenError(
                f"node {uid} registered with another certificate ({node.fingerprint[:16]}...) than "
                f"the one that asks ({who.fingerprint[:16]}..., {who.common_name})"
            )
        return node

    def _require_few(self, uid: NodeId, who: PeerCertificate) -> None:
        nodes = self._projection.now.nodes.all()
        if sum(n.alive and n.fingerprint == who.fingerprint and n.uid != uid for n in nodes) >= (
            MOST_NODES
        ):
            raise ForbiddenError(
                f"{MOST_NODES} nodes live with your certificate ({who.common_name}) already: use "
                "another certificate"
            )

    def is_registered(self) -> bool:
        """Whether the chain knows this SN as it is."""
        node = self._node(self.me.uid)
        return node is not None and not node.left and _same(node, self.me)

    def sns(self) -> list[str]:
        """API endpoints of the SNs that are alive, this one first."""
        others = {
            node.endpoint
            for node in self._projection.now.nodes.all()
            if node.kind is NodeKind.SN and node.alive
        }
        return [self.me.endpoint, *sorted(others - {self.me.endpoint})]

    # --- what the SN does by itself

    async def run(self) -> None:
        """Watch the nodes until cancelled."""
        for node in self._projection.now.nodes.children(self.me.uid):
            self._liveness.heard(node.uid, self._now(), lost=not node.alive)
        log.info("Started I-am-Alive thread")
        async with asyncio.TaskGroup() as writes:
            while True:
                self._look(writes)
                await self._next_second()

    async def _next_second(self) -> None:
        try:
            async with asyncio.timeout(min(1.0, self._pace.lost_after / 4)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _look(self, writes: asyncio.TaskGroup) -> None:
        """Begin the writes that are due; none that is under way still, whatever the chain does."""
        for key, write in (*self._upkeep(), *self._verdicts()):
            if key not in self._under_way:
                self._under_way.add(key)
                writes.create_task(self._try(key, write))

    def _upkeep(self) -> Iterator[_Due]:
        """This SN's own registration, and admitting other SNs."""
        if not self.is_registered():
            yield ("register", self.me.uid), partial(self._system.register, self.me)
        for account in self._writers_to_add():
            yield ("writer", account), partial(self._system.add_writer, account)

    def _verdicts(self) -> Iterator[_Due]:
        """Who is lost and who is alive; `lost` goes before the `reap` that needs it."""
        for uid in self._moved_away():
            self._liveness.forget(uid)
        self._liveness.heard(self.me.uid, self._now(), lost=not self._is_alive(self.me.uid))
        due = self._liveness.due(self._now())
        lost = sorted({*due.lost, *self._orphaned(), *self._unsaid()})
        if lost:
            key = ("lost", *lost)
            if key not in self._under_way:
                log.warning("lost: %s", ", ".join(self._name(uid) for uid in lost))
            yield key, partial(self._system.lost, lost)
        for training, uid in self._absent(set(lost)):
            yield ("reap", training.name, uid), partial(self._trainings.reap, training, uid)
        for runner, uid in self._absent_swops(set(lost)):
            yield ("reap", runner.name, uid), partial(self._runners.reap, runner, uid)
        if due.alive:
            yield ("alive", *due.alive), partial(self._system.alive, due.alive)

    def _orphaned(self) -> list[NodeId]:
        return self._orphans.due(
            self._projection.now.nodes.all(), self.me.uid, self._now(),
            moving=self._projection.head_age() < self._pace.orphan_after / 2,
        )  # fmt: skip

    def _unsaid(self) -> list[NodeId]:
        """Lost nodes that the chain still counts as alive: telling it failed, or is under way."""
        return [uid for uid in self._liveness.lost() if self._is_alive(uid)]

    async def _try(self, key: tuple[str, ...], write: Callable[[], Awaitable[None]]) -> None:
        try:
            await write()
        except SwarmError as exc:
            log.warning("could not write %s: %s", " ".join(key), exc)
        finally:
            self._under_way.discard(key)

    def _writers_to_add(self) -> list[str]:
        """Accounts of linked SNs that may not write yet. Adding one twice is harmless."""
        writers = self._projection.now.directory.writers
        return sorted(set(self._linked()) - writers) if self._account in writers else []

    def _moved_away(self) -> list[NodeId]:
        mine = {node.uid for node in self._projection.now.nodes.children(self.me.uid)}
        return sorted(self._liveness.watched() - mine)

    def _absent(self, lost: set[NodeId]) -> list[tuple[Training, NodeId]]:
        """Live peers whose node is gone, and whose SN is this one or gone, too."""
        return [
            (training, peer.uid)
            for training in self._projection.now.trainings.values()
            if training.phase not in {api.Phase.UNINITIALIZED, api.Phase.COMPLETED}
            for peer in training.peers.values()
            if peer.live
            and (peer.uid in lost or self._is_ours_and_gone(peer.uid))
            and not self._is_spared(training, peer.uid)
        ]

    def _absent_swops(self, lost: set[NodeId]) -> list[tuple[TaskRunner, NodeId]]:
        """The same of the SWOPs that listen, or whose peers work."""
        return [
            (runner, swop.uid)
            for runner in self._projection.now.runners.values()
            for swop in runner.swops.values()
            if (swop.listening or swop.busy)
            and not self._is_awaited(
                runner, swop, gone=swop.uid in lost or self._is_ours_and_gone(swop.uid)
            )
        ]

    def _is_awaited(self, runner: TaskRunner, swop: Swop, *, gone: bool) -> bool:
        """Whether a SWOP is there, or has still time to come back to its peers that work."""
        key = (runner.name, swop.uid)
        if not gone or not swop.busy:
            self._spared.pop(key, None)
            return not gone
        since = self._spared.setdefault(key, self._now())
        return self._now() - since < self._pace.swop_after

    def _is_spared(self, training: Training, uid: NodeId) -> bool:
        """Whether a lost peer is waited for: without the last one that trains, training would end.

        A short cut in its connection must not cost an organisation the rest of its training; while
        it is away no round could be held anyway.
        """
        others = [p for p in training.peers.values() if p.live and p.uid != uid]
        last = training.phase is api.Phase.CHECKIN and all(p.closed for p in others)
        if not last or training.peers[uid].closed:
            self._spared.pop((training.name, uid), None)
            return False
        since = self._spared.setdefault((training.name, uid), self._now())
        return self._now() - since < self._pace.end_after

    def _is_ours_and_gone(self, uid: NodeId) -> bool:
        node = self._node(uid)
        if node is None or node.alive:
            return False
        return node.parent == self.me.uid or not self._is_alive(node.parent)

    def _is_alive(self, uid: NodeId) -> bool:
        node = self._node(uid)
        return node is not None and node.alive

    def _node(self, uid: NodeId) -> Node | None:
        return self._projection.now.nodes.get(uid)

    def _name(self, uid: NodeId) -> str:
        node = self._node(uid)
        return f"{node.kind} {node.container} {uid}" if node else uid

    def _registered(self) -> api.Registered:
        return api.Registered(
            heartbeat_s=self._pace.heartbeat,
            lost_after_s=self._pace.lost_after,
            sns=self.sns(),
            cut_off=self._cut_off(),
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _same(old: Node, new: NodeRegistered) -> bool:
    return (old.kind, old.endpoint, old.container, old.version, old.parent, old.fingerprint) == (
        new.kind, new.endpoint, new.container, new.version, new.parent, new.fingerprint,
    )  # fmt: skip
