"""The ML program behind the FIFOs: it opens a session, asks to sync, loads merged models, ends.

One task reads the bridge for the whole session (:meth:`MlSession.listen`), so that an ML program
that dies is noticed at once, whatever else goes on.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from services.common.errors import LayoutError, MlError, ProtocolError
from services.common.ids import Digest
from services.common.sn_api import PeerState, Perf
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.handover import deliver, deliver_message, ingest, ingest_message
from services.sl.adapters.store import Store
from services.sl.core.events import Model
from swarmlearning.wire import messages as wire
from swarmlearning.wire.tensors import WireError

log = logging.getLogger("swarm.mlApp")

Asked = Callable[[int, Model, int, PeerState], Awaitable[None]]
"""Called with sequence number, model, weightage and state for each sync and the close."""

MAX_PEERS = 1000
MAX_WEIGHTAGE = 100
SNAPSHOT = "snapshot"
CLOSED_STATES = ("inactive", "active", SNAPSHOT)
"""What an ML program may want to be after its training; nothing said means snapshot."""
_WEIGHTAGE = f"it must be from 1 to {MAX_WEIGHTAGE}, or 0 for a model that is not merged"

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
        self._dtypes: dict[str, str] | None = None
        """The ML program's words for them, where it sends weights inside messages (HPE's 2.2)."""
        self._accepted = False
        self._model: Model | None = None
        """What the next answer leaves it with, if it loads nothing else before."""
        self._asked: wire.SyncRequest | wire.CloseRequest | None = None
        self._loads = 0
        self._losses: asyncio.Queue[wire.LossResponse] = asyncio.Queue()

    async def open(self) -> wire.SessionRequest:
        """Wait for the ML program's terms.

        Raises:
            MlError: it sent something else (it was told), or ended.
        """
        message = await self.bridge.receive()
        if not isinstance(message, wire.SessionRequest):
            problem = f"the ML program began with {type(message).__name__}, not a session"
            await self.fail(problem)
            raise MlError(problem)
        self.terms = message
        if problem := _problem(message):
            await self.fail(problem)
            raise MlError(problem)
        return message

    async def accept(self, epochs_done: int = 0) -> None:
        """Tell it that the swarm takes it.

        Args:
            epochs_done: what this node's ML program before it had reported in this training.
        """
        await self.bridge.send(wire.SessionResponse(_OK, self.session_id, epochs_done))
        self._accepted = True

    async def fail(self, reason: str) -> None:
        """Tell it why nothing more will come; whatever it waits for now ends with this text."""
        status = wire.Status(wire.StatusCode.ERROR_IN_SL, reason)
        waits = self.terms is not None and not self._accepted
        await self.bridge.send(wire.SessionResponse(status, "") if waits else status)

    async def listen(self, asked: Asked) -> None:
        """Read all that the ML program sends; returns when it ended the session by itself.

        Raises:
            MlError: it died, broke the protocol, or could not load a merged model.
            ProtocolError: it lives, but asked for what it may not ask for now.
            LayoutError, StorageError: its parameters cannot be taken.
        """
        while await self._goes_on(await self.bridge.receive(), asked):
            pass

    async def _goes_on(self, message: wire.Message, asked: Asked) -> bool:
        """Take one message, which may hold a whole model; False when it was the last one."""
        match message:
            case wire.SyncRequest() | wire.CloseRequest():
                await self._take_model(message, asked)
            case wire.LossResponse():
                await self._losses.put(message)
            case wire.KillSession():
                log.info("the ML program ended after the swarm's training was over")
                return False
            case _:
                raise ProtocolError(
                    f"the ML program sent a {type(message).__name__}, which has no place here"
                )
        return True

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
        self._loads += 1
        request = wire.LossRequest(self.session_id, asked.sequence, self._loads, "")
        await self._deliver(request, self.store.path(model.digest))
        self._model = model
        answer = await self._losses.get()
        if answer.status.code is not wire.StatusCode.OK:
            raise MlError(f"the ML program could not use the merged model: {answer.status.text}")
        if not math.isfinite(answer.loss):
            log.warning("the ML program measured a loss of %s on the merged model", answer.loss)
        return Perf(
            loss=answer.loss, metric=answer.metric,
            epochs=max(0, answer.epochs), total_epochs=max(0, answer.total_epochs),
        )  # fmt: skip

    async def _deliver(self, request: wire.LossRequest, source: Path) -> None:
        if self._dtypes is None:
            name = await asyncio.to_thread(deliver, source, self.folder, self._file_name)
            await self.bridge.send(replace(request, file_name=name))
            return
        size, pieces = await asyncio.to_thread(deliver_message, source, self._dtypes)
        try:
            await self.bridge.send_weights(request, size, pieces)
        except WireError as exc:
            raise LayoutError(f"the merged model cannot be sent: {exc}") from exc

    async def _load_once(self) -> None:
        """HPE's clients take every answer to follow a loss request: make sure that one went before.

        There is nothing new where this peer had the final model before it asked.
        """
        if not self._loads and self._model is not None:
            await self.install(self._model)

    async def answer_sync(self, next_interval: int, training_over: bool) -> None:
        """Let it train on; ``next_interval`` 0 keeps its own."""
        await self._load_once()
        asked, self._asked = self._asked, None
        assert asked is not None
        assert self.terms is not None
        interval = max(1, next_interval or self.terms.sync_interval)
        await self.bridge.send(
            wire.SyncResponse(self.session_id, asked.sequence, _OK, interval, training_over)
        )

    async def answer_close(self) -> None:
        """Let it end."""
        await self._load_once()
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
        closing = isinstance(request, wire.CloseRequest)
        least = 0 if closing else 1
        if not least <= request.weightage <= MAX_WEIGHTAGE:
            raise ProtocolError(
                f"the ML program asked for node weightage {request.weightage}; it must be "
                f"{least} to {MAX_WEIGHTAGE}"
            )
        self._asked, self._loads = replace(request, weights=None), 0
        digest, size = await self._ingest(request)
        self._size = size
        self._model = self._model or Model(digest, size)
        state = (
            PeerState((self.terms.checkin_state or SNAPSHOT).upper())
            if closing
            else PeerState.TRAINING
        )
        await asked(request.sequence, Model(digest, size), request.weightage, state)

    async def _ingest(self, request: wire.SyncRequest | wire.CloseRequest) -> tuple[Digest, int]:
        self._file_name, self._dtypes = request.file_name, None
        if request.weights is None:
            return await asyncio.to_thread(ingest, self.folder, request.file_name, self.store)
        digest, size, self._dtypes = await asyncio.to_thread(
            ingest_message, request.weights, self.store
        )
        return digest, size


def _problem(terms: wire.SessionRequest) -> str:
    """What is wrong with an ML program's terms, in words for its user."""
    if terms.sync_interval < 1:
        return f"syncFrequency {terms.sync_interval} is not a positive integer"
    if not 1 <= terms.min_peers <= MAX_PEERS:
        return f"minPeers {terms.min_peers} is not from 1 to {MAX_PEERS}"
    if not 0 <= terms.weightage <= MAX_WEIGHTAGE:
        return f"nodeWeightage {terms.weightage}: {_WEIGHTAGE}"
    if terms.checkin_state not in ("", *CLOSED_STATES):
        return (
            f"checkinModelOnTrainEnd {terms.checkin_state[:80]!r} is not one of "
            f"{', '.join(CLOSED_STATES)}"
        )
    return ""
