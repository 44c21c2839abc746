"""One connection to our file server: requests in, model files out."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from http import HTTPStatus

from services.common.errors import ForbiddenError, NotFoundError, StorageError, SwarmError
from services.common.ids import Digest, NodeKind
from services.common.renewed import IsRevoked, confirmed
from services.common.tls import PeerCertificate
from services.sl.adapters.intake import Hashers, Intake
from services.sl.adapters.job import Stop, run_job
from services.sl.adapters.store import ModelFile, Store
from services.sl.adapters.tls_stream import TlsStream
from services.sl.core.file_request import (
    MAX_HEAD,
    FileRequest,
    Method,
    RequestError,
    etag,
    parse_request,
    span_of,
)
from services.sl.core.packing import CODING, Packer
from swarmlearning.wire.digest import CHUNK

log = logging.getLogger("swarm.sl.fileserver")

SLICE = 256 * 1024
"""Bytes read, encrypted and sent at a time."""

GOODBYE_SECONDS = 2.0
"""How long a closing connection may take to say goodbye."""

MayRead = Callable[[PeerCertificate], bool]
"""Whether the holder of a certificate may download model files."""
MayCopy = Callable[[PeerCertificate, Digest, int], bool]
"""Whether it may leave a file of this digest and size (bytes) with us."""

_END = b"\r\n\r\n"
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
    pack_below: int = 0
    """Files smaller than this (bytes) are packed for clients that ask for it; 0: none."""


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
    """Bodies of those answers, as given to TLS."""
    copies_taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def sent(self, count: int) -> None:
        """Count bytes of a body; any thread may."""
        with self._lock:
            self.bytes_sent += count


@dataclass(frozen=True, slots=True)
class Threads:
    """Whose threads a connection uses."""

    transfers: Executor
    """One for each transfer under way."""
    hashers: Hashers
    """Hash what arrives."""


class FileConnection:
    """Answers the requests of one client, one after another.

    Args:
        stream: to the client, after the handshake.
        certificate: the client's.
        store: the files.
        may_read: asked at each download.
        may_copy: asked at each upload.
        limits: what the client may use up.
        traffic: counted up.
        threads: for the bodies.
        objection: why the client is not trusted any more; asked at each request.
        is_revoked: whether a certificate that the client had before is on a CRL.
    """

    def __init__(
        self, stream: TlsStream, certificate: PeerCertificate, store: Store, may_read: MayRead,
        may_copy: MayCopy, limits: Limits, traffic: Traffic, threads: Threads,
        objection: Callable[[], str | None] = lambda: None,
        is_revoked: IsRevoked = lambda _: False,
    ) -> None:  # fmt: skip
        self._objection, self._is_revoked = objection, is_revoked
        self.stream, self.certificate = stream, certificate
        self._store, self._may_read, self._may_copy = store, may_read, may_copy
        self._limits, self._traffic, self._threads = limits, traffic, threads
        self.idle_since: float | None = None
        """Loop time since when it waits for a further request; None while it serves one."""

    async def serve(self) -> None:
        """Serve until the client leaves, breaks the rules or is too slow; then say goodbye."""
        try:
            first = True
            while await self._serve_one(first):
                first = False
            await self.stream.goodbye(GOODBYE_SECONDS)
        except TimeoutError:
            self._traffic.cut += 1
            log.info("%s was too slow: connection closed", self.certificate.common_name)
        except (OSError, EOFError) as exc:
            log.debug("%s is gone: %s", self.certificate.common_name, exc)

    async def refuse(self, error: SwarmError) -> None:
        """Answer with an error as problem+json (RFC 9457)."""
        await self._refuse(error, head_only=False, close=True)
        await self.stream.goodbye(GOODBYE_SECONDS)

    async def _serve_one(self, first: bool) -> bool:
        """Serve one request; whether another may follow."""
        method: Method | None = None
        try:
            head = await self._head(first)
            if not head:
                return False
            if not first and (why := self._objection()):  # it shall shake hands and hear why
                log.warning("connection of %s cut: %s", self.certificate.common_name, why)
                return False
            request = parse_request(head)
            method = request.method
            self.certificate = confirmed(self.certificate, request.renewed, self._is_revoked)
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
            text = await self.stream.read()
        self.idle_since = None
        if not text:
            return b""
        async with asyncio.timeout(self._limits.head_s):
            while _END not in text[:MAX_HEAD]:
                if len(text) >= MAX_HEAD:
                    raise RequestError(
                        431, f"request heads end after {MAX_HEAD} bytes", "head-too-long"
                    )
                piece = await self.stream.read()
                if not piece:
                    raise EOFError("the request was cut")
                text += piece
        end = text.index(_END) + len(_END)
        self.stream.unread(text[end:])
        return text[:end]

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
            packed = CODING in request.accepts and model.size < self._limits.pack_below
            fields = [
                "Content-Type: application/octet-stream", "Accept-Ranges: bytes",
                f"ETag: {etag(request.digest)}",
            ]  # fmt: skip
            place = f"bytes {begin}-{end - 1}/{model.size}"
            if packed:
                fields += ["Transfer-Encoding: chunked", f"Content-Encoding: {CODING}"]
                fields.append(f"Model-Range: {place}")
            else:
                fields.append(f"Content-Length: {end - begin}")
            if span:
                fields.append(f"Content-Range: {place}")
            head = _head_of(206 if span else 200, fields, request.close)
            if request.method is Method.HEAD or begin == end:
                await self._say(head)
            else:
                self._traffic.files_sent += 1
                send = self._send_packed if packed else self._send
                await self._in_thread(lambda: send(model, begin, end, head))
        return not request.close

    async def _opened(self, digest: Digest) -> ModelFile:
        if self._store.is_checked(digest):
            return self._store.open(digest)
        return await asyncio.to_thread(self._store.open, digest)

    def _send(self, model: ModelFile, begin: int, end: int, head: bytes) -> None:
        self.stream.send_all(head)
        for offset in range(begin, end, SLICE):
            piece = self._piece(model, offset, min(SLICE, end - offset))
            self._traffic.sent(len(piece))
            self.stream.send_all(piece)

    def _send_packed(self, model: ModelFile, begin: int, end: int, head: bytes) -> None:
        """Send each chunk of the file, or the rest of it, packed, as one HTTP chunk."""
        self.stream.send_all(head)
        packer = Packer()
        offset = begin
        while offset < end:
            length = min(CHUNK - offset % CHUNK, end - offset)
            packed = packer.pack(memoryview(self._piece(model, offset, length)))
            self._traffic.sent(len(packed))
            self.stream.send_all(b"%x\r\n" % len(packed))
            for at in range(0, len(packed), SLICE):
                self.stream.send_all(packed[at : at + SLICE])
            self.stream.send_all(b"\r\n")
            offset += length
        self.stream.send_all(b"0\r\n\r\n")

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
            close = not request.expects_continue
            await self._say(_head_of(200, ["Content-Length: 0"], close))
            return request.expects_continue
        if request.expects_continue:
            await self._say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self._in_thread(lambda: self._receive(request))
        await self._say(_head_of(201, ["Content-Length: 0"], request.close))
        self._traffic.copies_taken += 1
        return not request.close

    async def _has(self, digest: Digest) -> bool:
        try:
            with await self._opened(digest):
                return True
        except NotFoundError:
            return False

    def _receive(self, request: FileRequest) -> None:
        with (
            self._store.writer(request.length) as draft,
            Intake(draft, request.length, self._threads.hashers) as intake,
        ):
            while intake.missing:
                room = intake.room()
                count = self.stream.read_into(room)
                if not count:
                    raise EOFError("the upload was cut")
                intake.add(room[:count])
            if intake.hexdigest() != request.digest:
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
        await self._say(_head_of(status, fields, close) + (b"" if head_only else body))

    async def _say(self, text: bytes) -> None:
        async with asyncio.timeout(self._limits.stall_s):
            await self.stream.send(text)

    async def _in_thread(self, body: Callable[[], None]) -> None:
        """Send or receive a body; cancelling cuts the connection."""

        def job(stop: Stop) -> None:
            with self.stream.blocking(self._limits.stall_s, stop):
                body()

        await run_job(self._threads.transfers, job)


def _head_of(status: int, fields: list[str], close: bool) -> bytes:
    ends = ["Connection: close"] if close else []
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *fields, *ends, "", ""]
    return "\r\n".join(lines).encode()
