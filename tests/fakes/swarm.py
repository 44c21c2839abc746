"""A swarm of `Training` machines around one `FakeContract`, on a clock that only the test moves.

Every command takes a random but seeded time; every change of the contract reaches every peer as a
view after a random delay. Faults are calls: `crash`, `pause`, `resume`, `cut`.
"""

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from services.common import sn_api as api
from services.common.ids import Digest, NodeId
from services.sl.core import events as ev
from services.sl.core.ending import FOREVER
from services.sl.core.round import Training
from tests.fakes.contract import FakeContract, RefusedError

LOST_AFTER = 6.0


def digest_of(*parts: object) -> Digest:
    return Digest(hashlib.sha256(repr(parts).encode()).hexdigest())


def uid_of(index: int) -> NodeId:
    return NodeId(f"{index + 1:032x}")


def fake_contract(is_lost: Callable[[str], bool]) -> FakeContract:
    return FakeContract(digest_of, is_lost)


@dataclass
class SimPeer:
    uid: NodeId
    machine: Training
    syncs: int
    """Batch-end syncs still to do after the first one."""
    batch_time: float
    closing: api.PeerState
    weightage: int = 1
    asked: int = 0
    up: bool = True
    paused: bool = False
    backlog: list[ev.Event] = field(default_factory=list)
    cut_from: set[str] = field(default_factory=set)
    """Peers whose files it cannot fetch."""
    lies: str = ""
    """What it publishes and attests instead of the merge; honest if empty."""
    trace: list[str] = field(default_factory=list)
    handle: Callable[[ev.Event], list[ev.Command]] | None = None
    """What events go to instead of the machine itself, e.g. its journal."""

    @property
    def ended(self) -> bool:
        """Whether its ML program closed, or was told that the swarm's training is over."""
        return self.machine.finished or self.machine.over


class SimSwarm:
    """Args:
    seed: of all delays.
    peers: how many.
    min_peers: of the contract.
    quorum_wait: of every peer.
    attestations: that a merge needs.
    make_contract: given what tells lost peers, makes the contract.
    adaptive: adaptive sync.
    """

    def __init__(
        self, seed: int, peers: int, min_peers: int, quorum_wait: float = 30.0,
        make_contract: Callable[..., FakeContract] = fake_contract, attestations: int = 0,
        adaptive: bool = False,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.now = 0.0
        self.lost: set[str] = set()
        self.copies: dict[str, set[str]] = {}
        """Who holds a merged model: its leader, and before it publishes one other participant."""
        self.contract = make_contract(lambda uid: uid in self.lost)
        self.min_peers, self.quorum_wait, self.adaptive = min_peers, quorum_wait, adaptive
        self.attestations = attestations
        self.honest: set[str] = set()
        """What the merges asked for give where nobody lies."""
        self.peers: dict[str, SimPeer] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._watchers: list[Callable[[ev.Command, SimPeer], None]] = []
        for index in range(peers):
            self.join(index)

    def join(
        self, index: int, syncs: int = 5, batch_time: float = 1.0,
        closing: api.PeerState = api.PeerState.SNAPSHOT, may_lead: bool = True,
        straggler_timeout: float = FOREVER, min_peers_timeout: float = FOREVER,
    ) -> SimPeer:  # fmt: skip
        """A peer joins; under the uid of one that crashed, it is that one started again."""
        uid = uid_of(index)
        terms = api.Enrol(
            min_peers=self.min_peers, may_lead=may_lead, adaptive=self.adaptive,
            attestations=self.attestations,
        )  # fmt: skip
        self.lost.discard(uid)
        self.contract.enrol(uid, terms)
        machine = Training(
            uid, self.contract.generation, 4, self.quorum_wait, min_peers_timeout,
            straggler_timeout,
        )  # fmt: skip
        peer = self.peers[uid] = SimPeer(uid, machine, syncs, batch_time, closing)
        self.after(self.random.random(), lambda: self._ask(peer))
        self._changed()
        return peer

    # --- faults

    def crash(self, peer: SimPeer) -> None:
        peer.up = False
        self.after(LOST_AFTER, lambda: self._reap(peer))

    def leave(self, peer: SimPeer) -> None:
        """Its goodbye to the contract."""
        self.contract.leave(peer.uid, "stopped", self.now)
        self._changed()

    def pause(self, peer: SimPeer, seconds: float) -> None:
        peer.paused = True
        if seconds > LOST_AFTER:
            self.after(LOST_AFTER, lambda: self._reap(peer))
        self.after(seconds, lambda: self._resume(peer))

    def on_command(self, watcher: Callable[[ev.Command, SimPeer], None]) -> None:
        self._watchers.append(watcher)

    # --- running

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, action))

    def run(self, limit: float = 10_000.0) -> None:
        """Until every live peer's training ended; fails when nothing can happen any more."""
        while any(p.up and not p.ended for p in self.peers.values()):
            self.step()
            assert self.now < limit, f"not finished in time: {self.contract.view(self.now)}"

    def step(self) -> None:
        """The next thing that happens."""
        assert self._heap, f"nothing left to happen: {self.contract.view(self.now)}"
        self.now, _, action = heapq.heappop(self._heap)
        action()

    def _deliver(self, peer: SimPeer, event: ev.Event) -> None:
        if not peer.up:
            return
        if peer.paused:
            peer.backlog.append(event)
            return
        for command in (peer.handle or peer.machine.handle)(event):
            peer.trace.append(f"{type(command).__name__}@{getattr(command, 'round', '')}")
            for watcher in self._watchers:
                watcher(command, peer)
            if peer.up:
                self.after(self.random.uniform(0.01, 0.3), lambda c=command: self._do(peer, c))
        if peer.machine.wake_at < FOREVER:
            delay = max(0.0, peer.machine.wake_at - self.now)
            self.after(delay, lambda: self._deliver(peer, ev.Tick(self.now)))

    def _changed(self) -> None:
        for peer in self.peers.values():
            delay = self.random.uniform(0.0, 0.2)
            self.after(delay, lambda p=peer: self._show(p))

    def _show(self, peer: SimPeer) -> None:
        self._deliver(peer, ev.ViewArrived(self.contract.view(self.now), self.now))

    def _ask(self, peer: SimPeer) -> None:
        closing = peer.asked > peer.syncs
        state = peer.closing if closing else api.PeerState.TRAINING
        model = ev.Model(digest_of(peer.uid, peer.asked, peer.machine.installed.digest), 100)
        peer.asked += 1
        self._deliver(peer, ev.MlAsked(peer.asked, model, peer.weightage, state, self.now))

    def _reap(self, peer: SimPeer) -> None:
        if (peer.up and not peer.paused) or self.peers[peer.uid] is not peer:
            return
        self.lost.add(peer.uid)
        self.contract.reap(peer.uid, self.now)
        self._changed()

    def _resume(self, peer: SimPeer) -> None:
        peer.paused = False
        self.lost.discard(peer.uid)
        backlog, peer.backlog = peer.backlog, []
        for event in backlog:
            self._deliver(peer, event)
        self._show(peer)

    # --- carrying out commands

    def _do(self, peer: SimPeer, command: ev.Command) -> None:
        if not peer.up:
            return
        if peer.paused:
            self.after(0.5, lambda: self._do(peer, command))
            return
        try:
            event = self._outcome(peer, command)
        except RefusedError as exc:
            event = ev.Failed(command, exc.code, self.now)
        if event is not None:
            self._deliver(peer, event)

    def _outcome(self, peer: SimPeer, command: ev.Command) -> ev.Event | None:
        match command:
            case ev.Merge():
                return self._merge(peer, command)
            case ev.Recompute():
                return self._recompute(peer, command)
            case ev.Install():
                return self._install(peer, command)
            case ev.AnswerSync(training_over=over):
                if not over:
                    self.after(peer.batch_time * self.random.random(), lambda: self._ask(peer))
            case ev.AnswerClose():
                pass
            case ev.Fetch():
                return self._fetch(peer, command)
            case _:
                self._write(peer.uid, command)
                self._changed()
        return ev.Done(command, self.now)

    def _write(self, uid: NodeId, command: ev.Command) -> None:
        match command:
            case ev.CheckIn() | ev.ReportPerf() | ev.Leave():
                self._write_as_peer(uid, command)
            case _:
                self._write_of_term(uid, command)

    def _write_as_peer(self, uid: NodeId, command: ev.Command) -> None:
        contract = self.contract
        match command:
            case ev.CheckIn(round_, base, model, weightage, state, perf):
                checkin = api.CheckIn(
                    generation=1, round=round_, base=base, digest=model.digest, size=model.size,
                    weightage=weightage, state=state, perf=perf,
                )  # fmt: skip
                contract.check_in(uid, checkin, self.now)
            case ev.ReportPerf(round_, perf):
                contract.report_perf(uid, round_, perf)
            case ev.Leave(_, reason):
                contract.leave(uid, reason, self.now)

    def _write_of_term(self, uid: NodeId, command: ev.Command) -> None:
        contract = self.contract
        match command:
            case ev.Freeze(round_, term):
                contract.freeze(uid, round_, term)
            case ev.Drop(round_, term, dropped, reason):
                contract.drop(uid, round_, term, dropped, reason, self.now)
            case ev.Attest(round_, term, model):
                contract.attest(uid, round_, term, model.digest, model.size, self.now)
            case ev.Publish(round_, term, model, contributors, interval):
                contract.publish(
                    uid, round_, term, model.digest, model.size, list(contributors), interval
                )
            case ev.ReportLeader(round_, term):
                contract.report_leader(round_, term, self.now)
            case _:
                raise AssertionError(command)

    def _reachable(self, peer: SimPeer, other: str) -> bool:
        target = self.peers[other]
        return other == peer.uid or (target.up and not target.paused and other not in peer.cut_from)

    def _merge(self, peer: SimPeer, command: ev.Merge) -> ev.Event | None:
        bad = [i.peer for i in command.inputs if not self._reachable(peer, i.peer)]
        for uid in bad:
            self._deliver(peer, ev.InputFailed(command, uid, "unreachable", self.now))
        if bad:
            return None
        model = self._result(peer, command)
        self.copies[model.digest] = {peer.uid}
        others = [i.peer for i in command.inputs if i.peer != peer.uid]
        self.copies[model.digest].update(others[:1])
        return ev.MergeFinished(command, model, self.now)

    def _result(self, peer: SimPeer, command: ev.Merge) -> ev.Model:
        digest = digest_of([(i.model.digest, i.weightage) for i in command.inputs])
        self.honest.add(digest)
        return ev.Model(digest_of(peer.lies, digest) if peer.lies else digest, 100)

    def _recompute(self, peer: SimPeer, command: ev.Recompute) -> ev.Event:
        """Each input from its peer, else from one of the sources, which have all."""
        spare = [u for u in self.peers if f"{u[-1]}:1" in command.sources]
        for wanted in command.merge.inputs:
            if not any(self._reachable(peer, uid) for uid in (wanted.peer, *spare)):
                return ev.Failed(command, "no source", self.now)
        model = self._result(peer, command.merge)
        self.copies.setdefault(model.digest, set()).add(peer.uid)
        return ev.Recomputed(command, model, self.now)

    def _install(self, peer: SimPeer, command: ev.Install) -> ev.Event:
        if isinstance(failed := self._fetch(peer, command), ev.Failed):
            return failed
        return ev.Installed(command, self.perf(peer, command.round), self.now)

    def _fetch(self, peer: SimPeer, command: ev.Install | ev.Fetch) -> ev.Done | ev.Failed:
        holders = self.copies[command.model.digest]
        if not any(self._reachable(peer, uid) for uid in holders):
            return ev.Failed(command, "no source", self.now)
        holders.add(peer.uid)
        return ev.Done(command, self.now)

    def perf(self, peer: SimPeer, number: int) -> api.Perf:
        """How good a peer finds the merged model of a round."""
        return api.Perf(loss=self.loss(peer, number), metric=0.5)

    loss: Callable[[SimPeer, int], float] = staticmethod(lambda _peer, _round: 1.0)
