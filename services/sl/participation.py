"""One ML program's part in one training: enrol, play the rounds, serve the final model."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.common import logs
from services.common import sn_api as api
from services.common.errors import MlError, NotFoundError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT, Digest, NodeId, is_contract_name
from services.common.sn_client import SnClient
from services.sl.adapters.executor import Executor
from services.sl.adapters.journal import Journal, Recorded
from services.sl.adapters.members import Members
from services.sl.adapters.ml import MlSession
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sl.core import events as ev
from services.sl.core.ending import FOREVER
from services.sl.core.methods import Factory, method_named
from services.sl.core.round import Training
from services.sl.settings import SlSettings
from services.sl.story import Story
from swarmlearning.wire import messages as wire

log = logging.getLogger("swarm.startSL")

WATCH_SECONDS = 30.0
"""Length of one long poll."""
AWAY_SECONDS = 2.0
"""Pause before an SN that does not know the contract is asked again."""
LOOK_SECONDS = 1.0
"""How often we look whether a wait has become worth a line."""
RUN_PATIENCE = 600.0
"""Seconds without any SN before a node that takes part in a training gives up."""
LAST_SECONDS = 30.0
LAST_BYTES_PER_SECOND = 256 * 1024
"""How long the final model is served to peers that do not have it yet, and the slowest link that
this is enough for."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a node's ML programs share, one after another."""

    settings: SlSettings
    uid: NodeId
    sn: SnClient
    store: Store
    members: Members
    peers: Peers
    journal: Journal
    methods: Mapping[str, Factory]


class Participation:
    """The training of one ML program.

    Args:
        tools: the node's.
        ml: the ML program; its session is not accepted yet.
        terms: what it asked for.

    Raises:
        ProtocolError: its terms can never be had.
    """

    def __init__(self, tools: Tools, ml: MlSession, terms: wire.SessionRequest) -> None:
        self.contract = terms.contract or DEFAULT_CONTRACT
        if not is_contract_name(self.contract):
            raise ProtocolError(f"{self.contract!r} cannot be the name of a training contract")
        method_named(terms.merge_method, tools.methods)
        self.training: Training | None = None
        """The round machine, once we are enrolled."""
        self._tools, self._ml, self._terms = tools, ml, terms
        self._events: asyncio.Queue[ev.Event | None] = asyncio.Queue()
        self._cursor, self._epochs_done = "", 0

    @property
    def finished(self) -> bool:
        """Whether its ML program was let go with the final model."""
        return self.training is not None and self.training.finished

    async def run(self) -> None:
        """Enrol and play all rounds; the first error of any part ends it."""
        logs.bind(contract=self.contract)
        machine = await self._enrol()
        self.training = machine.training
        await self._ml.accept(self._epochs_done)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            listening = group.create_task(self._listen())
            await self._play(machine, group)
            listening.cancel()
            await self._serve_the_last()
            watching.cancel()

    # --- the contract

    async def _enrol(self) -> Recorded:
        terms, tools, settings = self._terms, self._tools, self._tools.settings
        enrol = api.Enrol(
            min_peers=terms.min_peers,
            merge_method=terms.merge_method,
            adaptive=terms.adaptive,
            may_lead=settings.sl_make_me_admin,
            leader_timeout_s=settings.sl_leader_failure_base_timeout,
            attestations=settings.sl_merge_attestations,
        )
        state = await tools.sn.peer(self.contract, tools.uid, "enrol", enrol)
        tools.sn.patience = RUN_PATIENCE
        mine = next((p for p in state.view.peers if p.uid == tools.uid), None)
        self._epochs_done = mine.perf.epochs if mine is not None and mine.perf is not None else 0
        log.info("enrolled: minPeers %d, merge method %s, sync every %d batches",
                 terms.min_peers, terms.merge_method, terms.sync_interval)  # fmt: skip
        straggler = settings.sl_straggler_timeout
        return tools.journal.begin(
            me=tools.uid, generation=state.view.generation, interval=terms.sync_interval,
            quorum_wait=settings.sl_wait_for_full_quorum_seconds,
            min_peers_timeout=settings.sl_min_peers_timeout or FOREVER,
            straggler_timeout=FOREVER if straggler is None else straggler,
        )  # fmt: skip

    async def _watch(self) -> None:
        story = Story(self._tools.uid)
        async with asyncio.TaskGroup() as group:
            group.create_task(_remind(story))
            while True:
                try:
                    state = await self._tools.sn.watch(self.contract, self._cursor, WATCH_SECONDS)
                except NotFoundError:
                    log.warning("this SN does not know the contract yet: asking again")
                    await asyncio.sleep(AWAY_SECONDS)
                    continue
                if state.cursor != self._cursor:
                    self._cursor, now = state.cursor, time.monotonic()
                    self._tools.members.update(state.view)
                    story.tell(state.view, now)
                    self._events.put_nowait(ev.ViewArrived(state.view, now))

    # --- the ML program

    async def _listen(self) -> None:
        await self._ml.listen(self._ml_asked)
        if self.training is None or not self.training.over:
            raise MlError("the ML program ended its session before the training was over")
        self._events.put_nowait(None)

    async def _ml_asked(
        self, seq: int, model: ev.Model, weightage: int, state: api.PeerState
    ) -> None:
        self._events.put_nowait(ev.MlAsked(seq, model, weightage, state, time.monotonic()))

    # --- the rounds

    async def _play(self, machine: Recorded, group: asyncio.TaskGroup) -> None:
        """Feed events to the round machine and start what it asks for, until it is finished."""
        training, tools = machine.training, self._tools
        executor = Executor(
            self.contract, training.generation, tools.uid, tools.sn, tools.store, tools.peers,
            self._ml, self._events.put_nowait, group, tools.methods,
            ram_intensive=tools.settings.sl_ram_intensive,
        )  # fmt: skip
        while not training.finished:
            event = await self._next_event(training.wake_at)
            if event is None:
                break
            for command in machine.handle(event):
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
        try:
            async with asyncio.timeout(limit):
                while waiting := _without(view, self._tools.uid):
                    log.info("serving the final model to %d more peers", waiting)
                    event = await self._events.get()
                    if isinstance(event, ev.ViewArrived):
                        view = event.view
        except TimeoutError:
            log.info("served the final model for %.0f s, which is enough", limit)

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
        self._tools.store.collect(keep | self._tools.members.copied)


async def _remind(story: Story) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        story.remind(time.monotonic())


def _without(view: api.ContractView, me: NodeId) -> int:
    """How many live peers other than us did not report the latest merged model yet."""
    latest = view.merged.round if view.merged else 0
    return sum(p.live and p.uid != me and p.perf_round < latest for p in view.peers)
