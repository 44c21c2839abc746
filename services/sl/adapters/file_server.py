"""Serves our model files to the other SLs of the training contract, over mutual TLS (30305).

HTTP/1.1 without a framework: it is authorised by the client's certificate. The event loop shakes
hands and reads request heads, so that an idle connection costs no thread; bodies are sent from a
thread in 256 KiB slices, straight from the file into TLS (``docs/performance-data.md``). A client
without a valid certificate costs a handshake and no more: those who shake hands are limited
separately, the oldest giving way, so that a flood of them keeps no peer out.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

from services.common.ids import Digest
from services.common.tls import Identity, PeerCertificate, read_certificate
from services.sl.adapters.file_connection import (
    GOODBYE_SECONDS,
    FileConnection,
    Limits,
    MayCopy,
    MayRead,
    Threads,
    Traffic,
)
from services.sl.adapters.intake import Hashers
from services.sl.adapters.store import Store
from services.sl.adapters.tls_stream import TlsStream
from services.sl.core.file_request import RequestError

log = logging.getLogger("swarm.sl.fileserver")

BACKLOG = 128
"""Connections that wait to be accepted."""
RETRY_SECONDS = 0.1
"""Pause after the system refused to accept a connection, e.g. out of file descriptors."""


def _nobody(_certificate: PeerCertificate, _digest: Digest, _size: int) -> bool:
    return False


def _close(sock: socket.socket, _task: asyncio.Task[None]) -> None:
    sock.close()


class FileServer:
    """The file server; serves while the ``async with`` block runs.

    Args:
        sock: bound; closed by whoever made it.
        identity: ours.
        store: the files.
        authorise: whether the holder of a certificate may download; asked at each request.
        may_copy: whether it may leave a file of this digest and size with us; nobody by default.
        limits: what clients may use up.
    """

    def __init__(
        self, sock: socket.socket, identity: Identity, store: Store, authorise: MayRead,
        may_copy: MayCopy = _nobody, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.traffic = Traffic()
        self._sock = sock
        self._identity, self._context = identity, identity.server_context()
        self._store, self._authorise, self._may_copy = store, authorise, may_copy
        self._limits = limits or Limits()
        self._threads = Threads(
            ThreadPoolExecutor(self._limits.connections, thread_name_prefix="serve"),
            Hashers(),
        )
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shaking: dict[asyncio.Task[None], None] = {}
        self._open: dict[asyncio.Task[None], FileConnection] = {}

    async def __aenter__(self) -> Self:
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        await self._group.__aenter__()
        self._start(self._accept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, exc, traceback)
        finally:
            self._threads.transfers.shutdown(wait=False)
            self._threads.hashers.close()

    def _start(self, work: Callable[..., Any], *args: object) -> asyncio.Task[None]:
        task = self._group.create_task(work(*args))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._shaking.pop(task, None)
        self._open.pop(task, None)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._sock)
            except OSError as exc:
                log.warning("cannot accept a connection: %s", exc.strerror)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if len(self._shaking) >= self._limits.connections:
                oldest = next(iter(self._shaking))
                del self._shaking[oldest]
                oldest.cancel()
            task = self._start(self._serve, sock, address[0])
            task.add_done_callback(partial(_close, sock))  # it may be cancelled before it begins
            self._shaking[task] = None
            await asyncio.sleep(0)  # accepting waits for nothing while there are more: let them go

    async def _serve(self, sock: socket.socket, host: str) -> None:
        """One connection, from handshake to end. Whatever goes wrong ends this one only."""
        task = asyncio.current_task()
        assert task is not None
        try:
            stream = TlsStream(sock, self._context)
        except OSError as exc:
            log.debug("%s is gone: %s", host, exc)
            return
        try:
            certificate = await self._shake_hands(stream, host)
            self._shaking.pop(task, None)
            if certificate is not None:
                await self._converse(task, stream, certificate)
        except (OSError, EOFError) as exc:
            log.debug("connection of %s broke: %s", host, exc)
        except Exception:
            log.exception("connection of %s broke: this is a bug", host)
        finally:
            stream.abort()

    async def _shake_hands(self, stream: TlsStream, host: str) -> PeerCertificate | None:
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                return read_certificate(await stream.handshake())
        except ssl.SSLError as exc:
            self.traffic.handshakes_failed += 1
            why = getattr(exc, "verify_message", "") or exc.reason or exc
            log.warning("connection of %s refused: %s", host, why)
            await stream.goodbye(GOODBYE_SECONDS)
        except OSError as exc:
            self.traffic.handshakes_failed += 1
            log.debug("%s did not shake hands: %s", host, exc)
        return None

    async def _converse(
        self, task: asyncio.Task[None], stream: TlsStream, certificate: PeerCertificate
    ) -> None:
        connection = FileConnection(
            stream, certificate, self._store, self._authorise, self._may_copy, self._limits,
            self.traffic, self._threads, partial(stream.objection, self._identity),
            self._identity.is_revoked,
        )  # fmt: skip
        if not self._make_room(certificate):
            await connection.refuse(RequestError(503, "too many connections", "busy"))
            return
        self._open[task] = connection
        self.traffic.connections += 1
        await connection.serve()

    def _make_room(self, certificate: PeerCertificate) -> bool:
        """Whether one more connection fits, if need be in place of the longest idle one."""
        same = [
            task
            for task, connection in self._open.items()
            if connection.certificate.fingerprint == certificate.fingerprint
        ]
        if len(same) >= self._limits.per_certificate:
            return self._evict(same)
        if len(self._open) >= self._limits.connections:
            return self._evict(list(self._open))
        return True

    def _evict(self, tasks: list[asyncio.Task[None]]) -> bool:
        idle = [(self._open[task].idle_since or 0.0, task) for task in tasks]
        oldest = min((item for item in idle if item[0]), key=lambda item: item[0], default=None)
        if oldest is None:
            return False
        oldest[1].cancel()
        self._open.pop(oldest[1])
        return True
