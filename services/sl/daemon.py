"""An SL node's life: identity, licence, registration, file server, ML program, rounds, goodbye.

The order of the start is the documented one. Whatever ends it, the node tells its ML program why,
leaves the training contract if that is still open, signs off from the SN, and frees its licence.
"""

import asyncio
import contextlib
import json
import logging
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from services.common import logs
from services.common import sn_api as api
from services.common.errors import MlError, NotFoundError, ProtocolError, SwarmError
from services.common.ids import DEFAULT_CONTRACT, Digest, NodeId, NodeKind, is_contract_name
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.process import until_cancelled
from services.common.rest import listen
from services.common.sn_client import SnClient
from services.common.tls import expiry_notice, load_identity
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.executor import Executor
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.members import Members
from services.sl.adapters.ml import MlSession
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sl.core import events as ev
from services.sl.core.merge import method_named
from services.sl.core.round import FOREVER, Training
from services.sl.settings import SlSettings
from swarmlearning.wire import messages as wire

log = logging.getLogger("swarm.startSL")

VERSION = "0.1.0"
WATCH_SECONDS = 30.0
"""Length of one long poll."""
RUN_PATIENCE = 600.0
"""Seconds without any SN before a node that takes part in a training gives up."""
GOODBYE_SECONDS = 5.0
LAST_SECONDS = 30.0
LAST_BYTES_PER_SECOND = 256 * 1024
"""How long the final model is served to peers that do not have it yet, and the slowest link that
this is enough for."""


async def serve(settings: SlSettings) -> None:
    """Be an SL node until the training is complete.

    Raises:
        SwarmError: it cannot start, or its training cannot go on.
    """
    identity = load_identity(settings, NodeKind.SL)
    request, response = settings.channels()
    uid = NodeId(settings.swarm_node_uid or uuid4().hex)
    if notice := expiry_notice(identity):
        log.warning(notice)
    async with AsyncExitStack() as stack:
        sock = listen(settings.swarm_bind_ip, settings.sl_fs_listen_port, "the SL file server")
        stack.callback(sock.close)
        patience = settings.swarm_start_patience
        await stack.enter_async_context(
            held_license(settings, identity, Feature.SL, uid, "SL", patience=patience)
        )
        sn = SnClient(identity, settings.sns(), patience)
        stack.push_async_callback(sn.close)
        store, members = Store(settings.sl_store_dir), Members()
        server = FileServer(sock, identity, store, members.may_read, members.may_copy)
        await stack.enter_async_context(server)
        peers = await stack.enter_async_context(Peers(identity))
        bridge = Bridge(request, response, settings.sl_weights_dir)
        stack.callback(bridge.close)
        node = _Node(settings, uid, sn, store, members, peers, bridge)
        await node.live()


@dataclass(frozen=True, slots=True)
class _Result:
    """What SL_RESULT_FILE gets."""

    uid: str
    outcome: str
    reason: str
    rounds: int
    final_digest: str


class _Node:
    """An SL node whose parts are all there."""

    def __init__(
        self, settings: SlSettings, uid: NodeId, sn: SnClient, store: Store, members: Members,
        peers: Peers, bridge: Bridge,
    ) -> None:  # fmt: skip
        self.settings, self.uid, self.sn, self.store = settings, uid, sn, store
        self.members, self.peers, self.bridge = members, peers, bridge
        self.ml = MlSession(bridge, settings.sl_weights_dir, store)
        self.contract = DEFAULT_CONTRACT
        self.training: Training | None = None
        self._events: asyncio.Queue[ev.Event | None] = asyncio.Queue()
        self._heartbeat_s = 2.0
        self._cursor = ""

    async def live(self) -> None:
        """Register, take part in one training, sign off."""
        logs.bind(node=self.uid[:8])
        reason = "stopped"
        try:
            await self._register()
            try:
                async with asyncio.TaskGroup() as group:
                    beats = group.create_task(self._heartbeats())
                    await self._train()
                    beats.cancel()
            except BaseExceptionGroup as errors:
                raise _first(errors) from errors
            reason = ""
        except SwarmError as error:
            reason = str(error)
            raise
        finally:
            if self.training is not None and self.training.finished:
                reason = ""  # stopped while it served the final model to the others
            self._write_result(reason)
            await until_cancelled(lambda: self._say_goodbye(reason), GOODBYE_SECONDS)

    # --- the SN

    async def _register(self) -> None:
        registration = api.NodeRegistration(
            kind=NodeKind.SL,
            endpoint=self.settings.endpoint(socket.gethostname()),
            container=_container_name(),
            version=VERSION,
        )
        answer = await self.sn.register(self.uid, registration)
        self._heartbeat_s = answer.heartbeat_s
        log.info("registered as %s with the SN, file server at %s", self.uid, registration.endpoint)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                await self.sn.alive(self.uid)
            except NotFoundError:
                log.warning("the SN does not know this node any more: registering again")
                await self._register()

    async def _watch(self) -> None:
        assert self.training is not None
        story = _Story()
        while True:
            try:
                state = await self.sn.watch(self.contract, self._cursor, WATCH_SECONDS)
            except NotFoundError:
                log.warning("this SN does not know the contract yet: asking again")
                await asyncio.sleep(self._heartbeat_s)
                continue
            if state.cursor != self._cursor:
                self._cursor = state.cursor
                self.members.update(state.view)
                story.tell(state.view)
                self._events.put_nowait(ev.ViewArrived(state.view, time.monotonic()))

    # --- the ML program

    async def _train(self) -> None:
        self.bridge.prepare()
        log.info("Opening pipes to communicate with user container ...")
        await self.bridge.connect(self.settings.sl_ml_connect_timeout)
        terms = await self.ml.open()
        try:
            await self._take_part(terms)
        except MlError:
            raise
        except SwarmError as error:
            await self._tell_ml(str(error))
            raise
        except asyncio.CancelledError:
            await self._tell_ml("the SL node was stopped; its log says why")
            raise

    async def _take_part(self, terms: wire.SessionRequest) -> None:
        """Enrol and play all rounds; the first error of any part ends it."""
        self.training = await self._enrol(terms)
        await self.ml.accept()
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                listening = group.create_task(self._listen())
                await self._play(group)
                listening.cancel()
                await self._serve_the_last()
                watching.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _tell_ml(self, reason: str) -> None:
        """Why nothing more will come; the ML program may be gone already."""
        with contextlib.suppress(SwarmError):
            await self.ml.fail(reason)

    async def _enrol(self, terms: wire.SessionRequest) -> Training:
        self.contract = terms.contract or DEFAULT_CONTRACT
        if not is_contract_name(self.contract):
            raise ProtocolError(f"{self.contract!r} cannot be the name of a training contract")
        method_named(terms.merge_method)
        logs.bind(contract=self.contract)
        enrol = api.Enrol(
            min_peers=terms.min_peers,
            merge_method=terms.merge_method,
            adaptive=terms.adaptive,
            may_lead=self.settings.sl_make_me_admin,
            leader_timeout_s=self.settings.sl_leader_failure_base_timeout,
            attestations=self.settings.sl_merge_attestations,
        )
        state = await self.sn.peer(self.contract, self.uid, "enrol", enrol)
        self.sn.patience = RUN_PATIENCE
        log.info("enrolled: minPeers %d, merge method %s, sync every %d batches",
                 terms.min_peers, terms.merge_method, terms.sync_interval)  # fmt: skip
        wait = self.settings.sl_wait_for_full_quorum_seconds
        return Training(self.uid, state.view.generation, terms.sync_interval, wait)

    async def _listen(self) -> None:
        await self.ml.listen(self._ml_asked)
        if self.training is None or not self.training.over:
            raise MlError("the ML program ended its session before the training was over")
        self._events.put_nowait(None)

    async def _ml_asked(
        self, seq: int, model: ev.Model, weightage: int, state: api.PeerState
    ) -> None:
        self._events.put_nowait(ev.MlAsked(seq, model, weightage, state, time.monotonic()))

    # --- the rounds

    async def _play(self, group: asyncio.TaskGroup) -> None:
        """Feed events to the round machine and start what it asks for, until it is finished."""
        training = self.training
        assert training is not None
        executor = Executor(
            self.contract, training.generation, self.uid, self.sn, self.store, self.peers,
            self.ml, self._events.put_nowait, group,
        )  # fmt: skip
        while not training.finished:
            event = await self._next_event(training.wake_at)
            if event is None:
                break
            for command in training.handle(event):
                executor.start(command)
            if isinstance(event, ev.Installed):
                self._collect(training)

    async def _next_event(self, wake_at: float) -> ev.Event | None:
        loop = asyncio.get_running_loop()
        due = None if wake_at == FOREVER else loop.time() + max(0.0, wake_at - time.monotonic())
        try:
            async with asyncio.timeout_at(due):
                return await self._events.get()
        except TimeoutError:
            return ev.Tick(time.monotonic())

    async def _serve_the_last(self) -> None:
        """Stay until every live peer has the final model, which perhaps only we can serve.

        A peer says so on the chain, by reporting how good that model is. One that was lost after
        the end never will, so there is a limit, by the size of the model.
        """
        training = self.training
        assert training is not None
        view = training.view
        if view is None or view.phase is not api.Phase.COMPLETED or view.merged is None:
            return
        limit = LAST_SECONDS + view.merged.size / LAST_BYTES_PER_SECOND
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while waiting := _without(view, self.uid):
                    log.info("serving the final model to %d more peers", waiting)
                    event = await self._events.get()
                    if isinstance(event, ev.ViewArrived):
                        view = event.view

    def _collect(self, training: Training) -> None:
        """Remove model files that nobody can ask for any more."""
        view = training.view
        assert view is not None
        keep = {training.installed.digest}
        keep |= {Digest(p.checkin.digest) for p in view.peers if p.checkin is not None}
        if view.merged is not None:
            keep.add(Digest(view.merged.digest))
        if training.request is not None:
            keep.add(training.request.model.digest)
        self.store.collect(keep | self.members.copied)

    # --- the end

    async def _say_goodbye(self, reason: str) -> None:
        if self.training is not None and reason:
            leave = api.Leave(generation=self.training.generation, reason=reason[:200])
            with contextlib.suppress(ProtocolError, NotFoundError):
                await self.sn.peer(self.contract, self.uid, "leave", leave)
        with contextlib.suppress(NotFoundError):
            await self.sn.leave_network(self.uid, reason[:200] or "training complete")

    def _write_result(self, reason: str) -> None:
        training = self.training
        result = _Result(
            uid=self.uid,
            outcome="left" if reason else "completed",
            reason=reason,
            rounds=training.installed_round if training else 0,
            final_digest=training.installed.digest if training else "",
        )
        if self.settings.sl_result_file is not None:
            text = json.dumps({name: getattr(result, name) for name in result.__slots__})
            try:
                self.settings.sl_result_file.write_text(text + "\n")
            except OSError as exc:
                log.warning("cannot write SL_RESULT_FILE: %s", exc)
        if not reason:
            log.info("training complete after %d rounds, final model %s",
                     result.rounds, result.final_digest)  # fmt: skip


class _Story:
    """Turns changes of a contract's view into log lines."""

    def __init__(self) -> None:
        self._told: tuple[object, ...] = ()
        self._exposed: set[str] = set()

    def tell(self, view: api.ContractView) -> None:
        logs.bind(round=f"r{view.round}")
        proposed = view.proposal.digest if view.proposal else ""
        chapter = (view.round, view.term, view.phase, proposed)
        if chapter == self._told:
            return
        self._told = chapter
        for peer in view.peers:
            if peer.exposed and peer.uid not in self._exposed:
                self._exposed.add(peer.uid)
                log.warning("peer %.8s is exposed: as a leader it published another merge than "
                            "others got; it leads no more", peer.uid)  # fmt: skip
        if view.phase is api.Phase.QUORUM:
            log.info("quorum reached, peer %.8s leads (term %d)", view.leader, view.term)
        elif view.proposal is not None and view.terms is not None:
            log.info("peer %.8s published model %.12s, %d others must get the same",
                     view.leader, proposed, view.terms.attestations)  # fmt: skip
        elif view.phase is api.Phase.MERGING:
            count = sum(p.participant for p in view.peers)
            log.info("round closed, peer %.8s merges %d models", view.leader, count)
        elif view.phase is api.Phase.COMPLETED:
            log.info("all peers finished, the training is complete")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a group: what ended the others."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _without(view: api.ContractView, me: NodeId) -> int:
    """How many live peers other than us did not report the latest merged model yet."""
    latest = view.merged.round if view.merged else 0
    return sum(p.live and p.uid != me and p.perf_round < latest for p in view.peers)


def _container_name() -> str:
    """The container's name as the run scripts left it, else the host name (``compat/02``)."""
    path = Path("/tmp/container_info_file")  # noqa: S108 - the documented place
    with contextlib.suppress(OSError):
        lines = path.read_text().splitlines()
        if lines and lines[0]:
            return lines[0][:12]
    return socket.gethostname()
