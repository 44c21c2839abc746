"""A peer played by the test: it enrols with a certificate of its own and serves what it is told.

It says on the contract what it likes, so it does what a faulty or hostile SL could do.
"""

import asyncio
import contextlib
import socket
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from services.common import sn_api as api
from services.common.ids import NO_DIGEST, Digest, NodeId, NodeKind
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.store import ModelFile, Store
from swarmlearning.wire.digest import digest_of
from tests.faults.light_ml import keep
from tests.faults.standing import Training, free_port

CERTIFICATE = "actor"


class CarelessStore(Store):
    """Serves what is there, whatever it is."""

    def _check(self, model: ModelFile) -> None:
        """Not at all."""


class Actor:
    """Use as an async context manager: :meth:`Training.enter`."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.uid = NodeId(uuid4().hex)
        standing = training.standing
        self.identity = standing.pki.identity(NodeKind.SL, CERTIFICATE)
        self.sn = standing.client(NodeKind.SL, CERTIFICATE)
        self.store = CarelessStore(training.folder / "actor")
        self.port = free_port()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Actor":
        self._stack.push_async_callback(self.sn.close)
        sock = self._stack.enter_context(socket.create_server(("127.0.0.1", self.port)))
        server = FileServer(sock, self.identity, self.store, lambda _: True, lambda *_: False)
        await self._stack.enter_async_context(server)
        registration = api.NodeRegistration(
            kind=NodeKind.SL, endpoint=f"127.0.0.1:{self.port}", version="actor"
        )
        await self.sn.register(self.uid, registration)
        enrol = api.Enrol(
            min_peers=self.training.min_peers, merge_method=self.training.method, may_lead=False
        )
        await self._write("enrol", enrol)
        beats = asyncio.create_task(self._beats())
        self._stack.callback(beats.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def leave(self) -> None:
        """Leave the training, so that it can end."""
        await self._write("leave", api.Leave(generation=1, reason="the test is over"))

    def serve(self, content: bytes, digest: str = "") -> str:
        """Serve bytes under a digest, theirs or a wrong one; the digest."""
        digest = digest or digest_of(content)
        self.store.path(Digest(digest)).write_bytes(content)
        keep(self.training.kept, content)
        return digest

    async def check_in(self, digest: str, size: int, **changes: Any) -> None:
        """Check in to the open round; ``changes`` of the message are sent as they are."""
        view = await self.training.view()
        fields: dict[str, Any] = {
            "generation": 1, "round": view.round, "digest": digest, "size": size, "weightage": 1,
            "base": view.merged.digest if view.merged else NO_DIGEST,
            "state": api.PeerState.TRAINING, "perf": None, **changes,
        }  # fmt: skip
        await self._write("checkin", api.CheckIn.model_construct(None, **fields))

    async def _write(self, verb: str, body: Any) -> None:
        await self.sn.peer(self.training.name, self.uid, verb, body)

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(2.0)
            with contextlib.suppress(Exception):
                await self.sn.alive(self.uid)
