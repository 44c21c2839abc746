"""One connection to our file server: requests in, model files out."""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from services.common.errors import ForbiddenError, NotFoundError, StorageError, SwarmError
from services.common.ids import Digest, NodeKind
from services.common.tls import PeerCertificate
from services.sl.adapters.store import ModelFile, Store
from services.sl.core.file_request import (
    MAX_HEAD,
    FileRequest,
    Method,
    RequestError,
    etag,
    parse_request,
    span_of,
)
from swarmlearning.wire.digest import Digester

log = logging.getLogger("swarm.sl.fileserver")

SLICE = 256 * 1024
"""Bytes read, encrypted and sent at a time."""

SEND_BUFFER = 1024 * 1024
"""Encrypted bytes that may wait to be sent; keeps the network busy while the next are read."""

MayRead = Callable[[PeerCertificate], bool]
"""Whether the holder of a certificate may download model files."""
MayCopy = Callable[[PeerCertificate, Digest, int], bool]
"""Whether it may leave a file of this digest and size (bytes) with us."""

_KEEP_OPEN = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may use up."""

    connections: int = 64
    """Connections with a valid certificate at a time, and as many that are still shaking hands."""
    per_certificate: int = 32
    """Connections of one certificate; the nodes of one host may share one."""
    handshake_s: float = 10.0
    """Longest TLS handshake."""
    head_s: float = 10.0
    """Longest time to send a request head once begun, and until a connection's first request."""
    idle_s: float = 300.0
    """Longest pause between two requests: rounds may be minutes apart."""
    stall_s: float = 20.0
    """Longest time without progress in a transfer: 256 KiB one way, anything the other."""


@dataclass(slots=True)
class Traffic:
    """Counts since the start, for the metrics."""

    connections: int = 0
    """Accepted with a valid certificate."""
    handshakes_failed: int = 0
    refused: int = 0
    """Answers with an error, and connections over the limit."""
    cut: int = 0
    """Connections ended because the client was too slow."""
    files_sent: int = 0
    """Answers to GET, ranges included."""
    bytes_sent: int = 0
    copies_taken: int = 0


class FileConnection:
    """Answers the requests of one client, one after another.

    Args:
        reader: from the client.
        writer: to the client.
        certificate: the client's.
        store: the files.
        may_read: asked at each download.
        may_copy: asked at each upload.
        limits: what the client may use up.
        traffic: counted up.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
        certificate: PeerCertificate, store: Store, may_read: MayRead, may_copy: MayCopy,
        limits: Limits, traffic: Traffic,
    ) -> None:  # fmt: skip
        self._reader, self._writer = reader, writer
        writer.transport.set_write_buffer_limits(high=SEND_BUFFER)
        self.certificate = certificate
        self._store, self._may_read, self._may_copy = store, may_read, may_copy
        self._limits, self._traffic = limits, traffic
        self.idle_since: float | None = None
        """Loop time since when it waits for a further request; None while it serves one."""

    async def serve(self) -> None:
        """Serve until the client leaves, breaks the rules or is too slow; then close."""
        try:
            first = True
            while await self._serve_one(first):
                first = False
            await self._close()
        except TimeoutError:
            self._traffic.cut += 1
            log.info("%s was too slow: connection closed", self.certificate.common_name)
        except (ssl.SSLError, OSError, EOFError) as exc:
            log.debug("%s is gone: %s", self.certificate.common_name, exc)
        finally:
            self._writer.transport.abort()

    async def refuse(self, error: SwarmError) -> None:
        """Answer with an error as problem+json (RFC 9457)."""
        await self._refuse(error, head_only=False, close=True)
        await self._close()

    async def _close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _serve_one(self, first: bool) -> bool:
        """Serve one request; whether another may follow."""
        method: Method | None = None
        try:
            head = await self._head(first)
            if not head:
                return False
            request = parse_request(head)
            method = request.method
            if method is Method.PUT:
                return await self._take(request)
            return await self._give(request)
        except SwarmError as exc:
            stays = method in (Method.GET, Method.HEAD) and exc.http_status in _KEEP_OPEN
            await self._refuse(exc, method is Method.HEAD, close=not stays)
            return stays

    async def _head(self, first: bool) -> bytes:
        """The next request head; empty when the client left.

        Raises:
            RequestError: 431, it is too long.
        """
        self.idle_since = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._limits.head_s if first else self._limits.idle_s):
            begun = await self._reader.read(1)
        self.idle_since = None
        if not begun:
            return b""
        try:
            async with asyncio.timeout(self._limits.head_s):
                head = begun + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        if not head or len(head) > MAX_HEAD:
            raise RequestError(431, f"request heads end after {MAX_HEAD} bytes", "head-too-long")
        return head

    # --- downloads

    async def _give(self, request: FileRequest) -> bool:
        self.certificate.require(NodeKind.SL)
        if not self._may_read(self.certificate):
            raise ForbiddenError(
                f"certificate {self.certificate.common_name!r} is of no peer enrolled here"
            )
        with await self._opened(request.digest) as model:
            span = span_of(request.span, model.size)
            begin, end = span or (0, model.size)
            fields = [
                f"Content-Length: {end - begin}", "Content-Type: application/octet-stream",
                "Accept-Ranges: bytes", f"ETag: {etag(request.digest)}",
            ]  # fmt: skip
            if span:
                fields.append(f"Content-Range: bytes {begin}-{end - 1}/{model.size}")
            self._answer(206 if span else 200, fields, request.close)
            if request.method is Method.GET:
                await self._send(model, begin, end)
            await self._drain()
        return not request.close

    async def _opened(self, digest: Digest) -> ModelFile:
        if self._store.is_checked(digest):
            return self._store.open(digest)
        return await asyncio.to_thread(self._store.open, digest)

    async def _send(self, model: ModelFile, begin: int, end: int) -> None:
        self._traffic.files_sent += 1
        for offset in range(begin, end, SLICE):
            length = min(SLICE, end - offset)
            self._writer.write(self._piece(model, offset, length))
            await self._drain()
            self._traffic.bytes_sent += length

    def _piece(self, model: ModelFile, offset: int, length: int) -> bytes:
        """A part of an answer's body; where it cannot be had, the connection must end."""
        try:
            piece = model.read(offset, length)
        except StorageError as exc:
            log.warning("transfer to %s broken off: %s", self.certificate.common_name, exc)
            raise ConnectionAbortedError(str(exc)) from exc
        if len(piece) != length:
            log.warning("model file %s got shorter while it was sent", model.digest)
            raise ConnectionAbortedError("file got shorter")
        return piece

    # --- copies left with us

    async def _take(self, request: FileRequest) -> bool:
        self.certificate.require(NodeKind.SL)
        if not self._may_copy(self.certificate, request.digest, request.length):
            raise ForbiddenError(
                f"certificate {self.certificate.common_name!r} may not leave this model here"
            )
        if await self._has(request.digest):
            self._answer(200, ["Content-Length: 0"], close=not request.expects_continue)
            await self._drain()
            return request.expects_continue
        if request.expects_continue:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._drain()
        await self._receive(request)
        self._answer(201, ["Content-Length: 0"], request.close)
        await self._drain()
        self._traffic.copies_taken += 1
        return not request.close

    async def _has(self, digest: Digest) -> bool:
        try:
            with await self._opened(digest):
                return True
        except NotFoundError:
            return False

    async def _receive(self, request: FileRequest) -> None:
        digester = Digester()
        with self._store.writer(request.length) as draft:
            while draft.written < request.length:
                async with asyncio.timeout(self._limits.stall_s):
                    piece = await self._reader.read(min(SLICE, request.length - draft.written))
                if not piece:
                    raise EOFError("the upload was cut")
                digester.update(piece)
                draft.write(piece)
            if digester.hexdigest() != request.digest:
                raise RequestError(422, "the body is not the file of this digest", "digest")
            draft.commit(request.digest)

    # --- answers

    async def _refuse(self, error: SwarmError, head_only: bool, close: bool) -> None:
        self._traffic.refused += 1
        status = error.http_status
        log.info("%s refused (%d): %s", self.certificate.common_name, status, error)
        problem = {
            "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status,
            "detail": str(error), "code": error.code,
        }  # fmt: skip
        body = json.dumps(problem).encode()
        fields = [f"Content-Length: {len(body)}", "Content-Type: application/problem+json"]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            fields.append("Allow: GET, HEAD, PUT")
        self._answer(status, fields, close)
        if not head_only:
            self._writer.write(body)
        await self._drain()

    def _answer(self, status: int, fields: list[str], close: bool) -> None:
        ends = ["Connection: close"] if close else []
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *fields, *ends, "", ""]
        self._writer.write("\r\n".join(lines).encode())

    async def _drain(self) -> None:
        async with asyncio.timeout(self._limits.stall_s):
            await self._writer.drain()
