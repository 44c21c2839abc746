"""An SL node that is set up: registered, alive, with one ML program after another, then goodbye."""

import asyncio
import contextlib
import logging
import socket

from services.common import logs
from services.common import sn_api as api
from services.common.container import container_name
from services.common.errors import MlError, NotFoundError, ProtocolError, SwarmError
from services.common.ids import NodeId, NodeKind
from services.common.presence import VERSION, Presence
from services.common.process import until_cancelled
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.ml import MlSession
from services.sl.goodbye import Result, write_result
from services.sl.participation import Participation, Tools
from swarmlearning.wire import messages as wire

log = logging.getLogger("swarm.startSL")

GOODBYE_SECONDS = 5.0
REASON_LENGTH = 200
"""Longest reason that goes on the ledger, characters."""


class Node:
    """An SL node whose parts are all there.

    Args:
        tools: what its ML programs share.
        bridge: to the ML program.
    """

    def __init__(self, tools: Tools, bridge: Bridge) -> None:
        self.uid: NodeId = tools.uid
        self.part: Participation | None = None
        """The present ML program's, or the last one's."""
        self._tools, self._bridge = tools, bridge
        self._settings, self._sn = tools.settings, tools.sn
        self._terms: wire.SessionRequest | None = None
        endpoint = tools.settings.endpoint(socket.gethostname())
        me = api.NodeRegistration(
            kind=NodeKind.SL, endpoint=endpoint,
            container=container_name(tools.settings.swarm_container_name), version=VERSION,
        )  # fmt: skip
        also = f", file server at {endpoint}"
        self._presence = Presence(self._sn, tools.uid, me, log, also)

    async def live(self) -> None:
        """Register, take part in one training, sign off."""
        logs.bind(node=self.uid[:8])
        reason = "stopped"
        try:
            await self._presence.register()
            await self._leave_former_seats()
            try:
                async with asyncio.TaskGroup() as group:
                    beats = group.create_task(self._presence.heartbeats())
                    await self._train()
                    beats.cancel()
            except BaseExceptionGroup as errors:
                raise first_of(errors) from errors
            reason = ""
        except SwarmError as error:
            reason = str(error)
            raise
        finally:
            if self.part is not None and self.part.finished:
                reason = ""  # stopped while it served the final model to the others
            training = self.part.training if self.part is not None else None
            write_result(self._settings.sl_result_file, Result.of(self.uid, training, reason))
            await until_cancelled(lambda: self._say_goodbye(reason), GOODBYE_SECONDS)

    # --- the SN

    async def _leave_former_seats(self) -> None:
        """Give up what a process before us had under our uid, if it did not end in order.

        It may lead a round, or be waited for, and our ML program may still take minutes to come.
        """
        if not self._settings.swarm_node_uid:
            return  # a new uid: the SN takes out the old one
        for summary in await self._sn.contracts():
            if summary.peers and summary.phase is not api.Phase.COMPLETED:
                with contextlib.suppress(NotFoundError):  # another SN that has not caught up yet
                    await self._step_aside(summary.name, "its SL was started again")

    async def _step_aside(self, contract: str, reason: str) -> None:
        """Leave a training for now, unless nobody else trains: it would be over without us."""
        view = (await self._sn.state(contract)).view
        training = [p.uid for p in view.peers if p.live and p.state is api.PeerState.TRAINING]
        others = any(uid != self.uid for uid in training)
        if not others or not any(p.uid == self.uid and p.live for p in view.peers):
            return
        self._tools.members.update(view)  # in a round under way our model still counts
        log.info("leaving %s until the ML program is back: %s", contract, reason)
        await self._leave(contract, view.generation, reason)

    async def _leave(self, contract: str, generation: int, reason: str) -> None:
        leave = api.Leave(generation=generation, reason=reason[:REASON_LENGTH])
        with contextlib.suppress(ProtocolError, NotFoundError):  # it is over, or was reset
            await self._sn.peer(contract, self.uid, "leave", leave)

    # --- the ML program

    async def _train(self) -> None:
        """Be the SL of one ML program; of the next one if it ends early and may be started again.

        Raises:
            MlError: none came, or it ended early.
            SwarmError: the training cannot go on.
        """
        self._bridge.prepare()
        restarts = self._settings.sl_ml_restarts
        while True:
            log.info("Opening pipes to communicate with user container ...")
            await self._connect()
            try:
                await self._be_the_sl_of_one()
            except MlError as error:
                if not restarts or self._is_over():
                    raise
                restarts -= 1
                log.warning("%s. Waiting for it to be started again; after that %d more times "
                            "(SL_ML_RESTARTS)", error, restarts)  # fmt: skip
                self._bridge.reopen()
                if self.part is not None:
                    await self._step_aside(self.part.contract, f"waits for its ML program: {error}")
            else:
                return

    async def _connect(self) -> None:
        """Wait for an ML program; the one before it may still be about to let go of the pipes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.sl_ml_connect_timeout
        while True:
            try:
                await self._bridge.connect(max(0.0, end - loop.time()))
            except MlError as error:
                if self._terms is None or error.code != "ml-closed":
                    raise
                self._bridge.reopen()
            else:
                return

    async def _be_the_sl_of_one(self) -> None:
        ml = MlSession(self._bridge, self._settings.sl_weights_dir, self._tools.store)
        terms = await ml.open()
        try:
            self._require_same(terms)
            self.part = Participation(self._tools, ml, terms)
            try:
                await self.part.run()
            except BaseExceptionGroup as errors:
                raise first_of(errors) from errors
        except MlError:
            raise
        except SwarmError as error:
            await _tell(ml, str(error))
            raise
        except asyncio.CancelledError:
            await _tell(ml, "the SL node was stopped; its log says why")
            raise

    def _require_same(self, terms: wire.SessionRequest) -> None:
        """An ML program that was started again must ask for the same training."""
        before, self._terms = self._terms or terms, terms
        for name in ("contract", "min_peers", "merge_method", "adaptive"):
            old, new = getattr(before, name), getattr(terms, name)
            if old != new:
                raise ProtocolError(
                    f"the ML program was started again with another {name}: it had {old!r}, now it "
                    f"has {new!r}"
                )

    def _is_over(self) -> bool:
        """Whether there is no training to come back to."""
        training = self.part.training if self.part is not None else None
        view = training.view if training is not None else None
        return view is not None and view.phase is api.Phase.COMPLETED

    # --- the end

    async def _say_goodbye(self, reason: str) -> None:
        training = self.part.training if self.part is not None else None
        if self.part is not None and training is not None and reason:
            await self._leave(self.part.contract, training.generation, reason)
        with contextlib.suppress(NotFoundError):
            said = reason[:REASON_LENGTH] or "training complete"
            await self._sn.leave_network(self.uid, said)


async def _tell(ml: MlSession, reason: str) -> None:
    """Why nothing more will come; the ML program may be gone already."""
    with contextlib.suppress(SwarmError):
        await ml.fail(reason)


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a group: what ended the others."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
