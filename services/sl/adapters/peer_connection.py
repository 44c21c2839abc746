"""A kept-open HTTPS connection to another SL's file server; blocking, for use in a thread.

Bytes are received straight into the caller's memory. Any trouble is an ``OSError`` here;
``peers`` decides what to do about it.
"""

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from services.common.ids import Digest, NodeKind
from services.common.renewed import HEADER
from services.common.tls import PeerCertificate, is_present, present_of, read_certificate
from services.sl.adapters.job import Stop
from services.sl.adapters.store import ModelFile
from services.sl.core.packing import CODING, MAX_PACKED

MAX_HEAD = 16 * 1024
"""Longest answer head that is read (bytes)."""
MAX_LINE = 64
"""Longest line between two chunks (bytes)."""
SLICE = 256 * 1024
"""Bytes sent at a time."""

CUT_EARLY = "connection cut before the answer (perhaps it does not trust this node's certificate)"

_STATUS = re.compile(r"HTTP/1\.1 ([0-9]{3})(?: .*)?")
_CHUNK_LENGTH = re.compile(rb"[0-9a-fA-F]{1,8}")
_SPAN = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")

Address = tuple[Any, ...]
"""One result of ``getaddrinfo``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's head."""

    status: int
    length: int
    """Bytes of the body; of a packed one, once it is unpacked."""
    begin: int
    """Offset of the body's first byte in the file."""
    total: int
    """Bytes of the whole file."""
    close: bool
    """The server will close the connection."""
    packed: bool = False
    """The body comes in packed chunks: read it with :meth:`PeerConnection.read_chunk`."""


class PeerConnection:
    """One connection.

    Args:
        sock: connected, TLS done.
        host: for the Host header.
    """

    def __init__(self, sock: ssl.SSLSocket, host: str) -> None:
        self._sock = sock
        self._host = host
        self._rest = b""
        present = present_of(sock)
        value = present.renewed if present is not None else ""
        self._renewed = f"{HEADER}: {value}\r\n" if value else ""
        """The SN may show our former certificate to the other SL still."""

    @classmethod
    def dial(
        cls, addresses: Sequence[Address], host: str, context: ssl.SSLContext, connect_s: float,
        stall_s: float, stop: Stop,
    ) -> Self:  # fmt: skip
        """Connect to the first address that answers and check the server's certificate.

        Args:
            addresses: of the host.
            host: its name, sent as SNI (a reverse proxy may route by it), or its address.
            context: TLS of a client.
            connect_s: longest wait for each connection, and for the handshake.
            stall_s: longest wait for any progress afterwards.
            stop: may end the wait.

        Raises:
            OSError: nobody answers, or TLS refused one of the two certificates.
            ForbiddenError: the server is no SL.
        """
        plain = _connect(addresses, connect_s, stop)
        try:
            sock = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        except ValueError as exc:
            plain.close()
            raise ConnectionError(f"{host!r} is not a host name: {exc}") from exc
        try:
            stop.waken_by(partial(_cut, sock))
            sock.do_handshake()
            _certificate_of(sock).require(NodeKind.SL)
            sock.settimeout(stall_s)
        except BaseException:
            sock.close()
            raise
        return cls(sock, host)

    def is_present(self, context: ssl.SSLContext) -> bool:
        """Whether a new connection would show the same certificate, and trust the same CAs."""
        return is_present(self._sock, context)

    def cut(self) -> None:
        """End whatever call is in progress in another thread, with an error there."""
        _cut(self._sock)

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def get(self, digest: Digest, offset: int, packed: bool = False) -> Answer:
        """Ask for a file from ``offset`` on; ``packed``: in packed chunks, if the server can.

        Raises:
            OSError: the connection is cut, silent, or speaks no HTTP.
        """
        span = f"Range: bytes={offset}-\r\n" if offset else ""
        coding = f"Accept-Encoding: {CODING}\r\n" if packed else ""
        self._send_head(
            f"GET /v1/models/{digest} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"{self._renewed}{span}{coding}\r\n"
        )
        return self._answer()

    def put(self, model: ModelFile) -> Answer:
        """Offer a copy of a file; it is sent only when the server wants it.

        Raises:
            OSError: as for :meth:`get`.
        """
        self._send_head(
            f"PUT /v1/models/{model.digest} HTTP/1.1\r\nHost: {self._host}\r\n{self._renewed}"
            f"Content-Length: {model.size}\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = self._answer()
        if answer.status != 100:
            return answer
        for offset in range(0, model.size, SLICE):
            self._sock.sendall(model.read(offset, SLICE))
        return self._answer()

    def read_into(self, view: memoryview) -> int:
        """Receive body bytes; how many. Never more than ``view`` holds.

        Raises:
            OSError: the connection is cut or silent.
        """
        if self._rest:
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        count = self._sock.recv_into(view)
        if not count:
            raise ConnectionResetError("connection cut")
        return count

    def read_chunk(self) -> memoryview:
        """The next chunk of a packed body; an empty one is the end.

        Raises:
            OSError: the connection is cut or silent, or the chunk is longer than any packed one.
        """
        line = self._read_line()
        length = int(line, 16) if _CHUNK_LENGTH.fullmatch(line) else -1
        if not 0 <= length <= MAX_PACKED:
            raise ConnectionError("the server sent a malformed chunk")
        chunk = memoryview(bytearray(length))
        filled = 0
        while filled < length:
            filled += self.read_into(chunk[filled:])
        if self._read_line():
            raise ConnectionError("the server sent a chunk longer than it said")
        return chunk

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._rest:
            if len(self._rest) > MAX_LINE:
                raise ConnectionError("the server sent a malformed chunk")
            piece = self._sock.recv(MAX_LINE)
            if not piece:
                raise ConnectionResetError("connection cut")
            self._rest += piece
        line, self._rest = self._rest.split(b"\r\n", 1)
        return line

    def _send_head(self, head: str) -> None:
        self._rest = b""
        self._sock.sendall(head.encode())

    def _answer(self) -> Answer:
        head = self._rest
        while b"\r\n\r\n" not in head:
            if len(head) > MAX_HEAD:
                raise ConnectionError("the server's answer has no end")
            piece = self._sock.recv(MAX_HEAD)
            if not piece:
                raise ConnectionResetError(CUT_EARLY)
            head += piece
        text, self._rest = head.split(b"\r\n\r\n", 1)
        return _parse(text.decode("latin-1"))


def _parse(head: str) -> Answer:
    lines = head.split("\r\n")
    status = _STATUS.fullmatch(lines[0])
    if status is None:
        raise ConnectionError(f"the server speaks no HTTP: {lines[0][:60]!r}")
    pairs = (line.partition(":") for line in lines[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    close = "close" in fields.get("connection", "")
    if fields.get("content-encoding") == CODING and fields.get("transfer-encoding") == "chunked":
        span = _SPAN.fullmatch(fields.get("model-range", ""))
        if span is None:
            raise ConnectionError("the server does not say what it packed")
        first, last, total = (int(text) for text in span.groups())
        return Answer(int(status[1]), max(0, last + 1 - first), first, total, close, packed=True)
    length = fields.get("content-length", "0")
    if "transfer-encoding" in fields or not (length.isascii() and length.isdigit()):
        raise ConnectionError("the server does not say how long its answer is")
    size = int(length[:18])
    span = _SPAN.fullmatch(fields.get("content-range", ""))
    begin, total = (int(span[1]), int(span[3])) if span else (0, size)
    return Answer(int(status[1]), size, begin, total, close)


def _connect(addresses: Sequence[Address], connect_s: float, stop: Stop) -> socket.socket:
    problem: OSError = ConnectionError("the host has no address")
    for family, kind, protocol, _name, address in addresses:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as exc:  # e.g. the host has an IPv6 address, and we have no IPv6
            problem = exc
            continue
        try:
            sock.settimeout(connect_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stop.waken_by(partial(_cut, sock))
            sock.connect(address)
        except OSError as exc:
            sock.close()
            stop.check()
            problem = exc
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem


def _certificate_of(sock: ssl.SSLSocket) -> PeerCertificate:
    try:
        return read_certificate(sock.getpeercert(binary_form=True) or b"")
    except ValueError as exc:
        raise ConnectionError(f"its certificate cannot be read: {exc}") from exc


def _cut(sock: socket.socket) -> None:
    """Shut a socket down under a call in another thread (``SSLSocket.shutdown`` is not safe)."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return
