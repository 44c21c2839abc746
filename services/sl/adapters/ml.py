"""The ML program behind the FIFOs: it opens a session, asks to sync, loads merged models, ends.

One task reads the bridge for the whole session (:meth:`MlSession.listen`), so that an ML program
that dies is noticed at once, whatever else goes on.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from services.common.errors import LayoutError, MlError, ProtocolError
from services.common.sn_api import PeerState, Perf
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.handover import deliver, ingest
from services.sl.adapters.store import Store
from services.sl.core.events import Model
from swarmlearning.wire import messages as wire

log = logging.getLogger("swarm.mlApp")

Asked = Callable[[int, Model, int, PeerState], Awaitable[None]]
"""Called with sequence number, model, weightage and state for each sync and the close."""

MAX_WEIGHTAGE = 100
"""Largest node weightage (``compat/01``)."""

_OK = wire.Status()


class MlSession:
    """One session with one ML program.

    Args:
        bridge: prepared and connected.
        folder: of the hand-over.
        store: takes the ML program's models, holds the merged ones.
    """

    def __init__(self, bridge: Bridge, folder: Path, store: Store) -> None:
        self.bridge, self.folder, self.store = bridge, folder, store
        self.session_id = uuid4().hex
        self.terms: wire.SessionRequest | None = None
        self._file_name, self._size = "", 0
        self._asked: wire.SyncRequest | wire.CloseRequest | None = None
        self._loads = 0
        self._losses: asyncio.Queue[wire.LossResponse] = asyncio.Queue()

    async def open(self) -> wire.SessionRequest:
        """Wait for the ML program's terms.

        Raises:
            MlError: it sent something else, or ended.
        """
        message = await self.bridge.receive()
        if not isinstance(message, wire.SessionRequest):
            raise MlError(f"the ML program began with {type(message).__name__}, not a session")
        self.terms = message
        return message

    async def accept(self) -> None:
        """Tell it that the swarm takes it."""
        await self.bridge.send(wire.SessionResponse(_OK, self.session_id))

    async def fail(self, reason: str) -> None:
        """Tell it why nothing more will come; whatever it waits for now ends with this text."""
        await self.bridge.send(wire.Status(wire.StatusCode.ERROR_IN_SL, reason))

    async def listen(self, asked: Asked) -> None:
        """Read all that the ML program sends; returns when it ended the session by itself.

        Raises:
            MlError: it died, broke the protocol, or could not load a merged model.
            ProtocolError: it lives, but asked for what it may not ask for now.
            LayoutError, StorageError: its parameters cannot be taken.
        """
        while True:
            message = await self.bridge.receive()
            match message:
                case wire.SyncRequest() | wire.CloseRequest():
                    await self._take_model(message, asked)
                case wire.LossResponse():
                    await self._losses.put(message)
                case wire.KillSession():
                    log.info("the ML program ended after the swarm's training was over")
                    return
                case _:
                    raise MlError(f"the ML program sent an unexpected {type(message).__name__}")

    async def install(self, model: Model) -> Perf:
        """Hand a merged model over and wait until the ML program loaded and measured it.

        Raises:
            LayoutError: it is a model of another layout.
            MlError: the ML program could not.
        """
        asked = self._asked
        assert asked is not None, "merged models are handed over only while a request is open"
        if model.size != self._size:
            raise LayoutError(
                f"the merged model has {model.size} bytes, the ML program's {self._size}: "
                "all peers must train the same model"
            )
        source = self.store.path(model.digest)
        name = await asyncio.to_thread(deliver, source, self.folder, self._file_name)
        self._loads += 1
        await self.bridge.send(wire.LossRequest(self.session_id, asked.sequence, self._loads, name))
        answer = await self._losses.get()
        if answer.status.code is not wire.StatusCode.OK:
            raise MlError(f"the ML program could not use the merged model: {answer.status.text}")
        if not math.isfinite(answer.loss):
            log.warning("the ML program measured a loss of %s on the merged model", answer.loss)
        return Perf(
            loss=answer.loss, metric=answer.metric,
            epochs=max(0, answer.epochs), total_epochs=max(0, answer.total_epochs),
        )  # fmt: skip

    async def answer_sync(self, next_interval: int, training_over: bool) -> None:
        """Let it train on; ``next_interval`` 0 keeps its own."""
        asked, self._asked = self._asked, None
        assert asked is not None
        assert self.terms is not None
        interval = max(1, next_interval or self.terms.sync_interval)
        await self.bridge.send(
            wire.SyncResponse(self.session_id, asked.sequence, _OK, interval, training_over)
        )

    async def answer_close(self) -> None:
        """Let it end."""
        asked, self._asked = self._asked, None
        assert asked is not None
        await self.bridge.send(
            wire.CloseResponse(self.session_id, asked.sequence, _OK, 1, training_over=False)
        )

    async def _take_model(
        self, request: wire.SyncRequest | wire.CloseRequest, asked: Asked
    ) -> None:
        assert self.terms is not None
        if request.session_id != self.session_id:
            raise ProtocolError(f"the ML program named a session that is not its own: {request}")
        if self._asked is not None:
            raise ProtocolError("the ML program asked again before it was answered")
        least = 0 if isinstance(request, wire.CloseRequest) else 1
        if not least <= request.weightage <= MAX_WEIGHTAGE:
            raise ProtocolError(
                f"the ML program asked for node weightage {request.weightage}; it must be "
                f"{least} to {MAX_WEIGHTAGE}"
            )
        self._asked, self._file_name, self._loads = request, request.file_name, 0
        digest, size = await asyncio.to_thread(ingest, self.folder, request.file_name, self.store)
        self._size = size
        state = PeerState.TRAINING
        if isinstance(request, wire.CloseRequest):
            state = PeerState(self.terms.checkin_state.upper())
        await asked(request.sequence, Model(digest, size), request.weightage, state)
