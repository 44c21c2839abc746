"""Requests of HTTP/1.1, read so strictly that they mean one thing only.

One request per connection. Refused: everything by which two readers of the same bytes have been
made to see two different requests: folded lines, doubled headers, both kinds of length, bare line
feeds, chunk extensions, trailers, upgrades of the connection.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from compose.socket_proxy.refusal import Refused, malformed

LONGEST_HEAD = 32 << 10
"""Bytes; X-Registry-Auth may hold a long token."""
MOST_HEADERS = 64
LONGEST_CHUNK_LINE = 18

_REQUEST_LINE = re.compile(rb"([A-Z]{3,8}) (/[\x21\x24-\x7e]*) HTTP/1\.1")
"""Without ``"`` and ``#``; Docker's clients encode both."""
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,14}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Reader(Protocol):
    """The part of `asyncio.StreamReader` that is used here."""

    async def readexactly(self, n: int, /) -> bytes:
        """So many bytes."""
        ...

    async def readuntil(self, separator: bytes, /) -> bytes:
        """Bytes up to and including the separator."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request."""

    method: str
    target: str
    """Path and query as they came."""
    headers: Mapping[str, str]
    """By lower-case name."""
    length: int | None
    """Bytes of the body; None: it comes in chunks."""


def parse_head(head: bytes) -> Head:
    """Read a head, with the empty line that ends it.

    Raises:
        Refused: it is not exactly what is expected.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise malformed("the request line")
    if len(lines) > MOST_HEADERS:
        raise malformed("too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise malformed("a header line")
        name = header[1].decode().lower()
        if name in headers:
            raise malformed(f"two headers {name}")
        headers[name] = header[2].decode().strip(" \t")
    _refuse_special(headers)
    return Head(request[1].decode(), request[2].decode(), headers, _length(headers))


def _refuse_special(headers: Mapping[str, str]) -> None:
    if "upgrade" in headers or "upgrade" in headers.get("connection", "").lower():
        raise Refused("connections are not handed over (attach, exec, BuildKit): SWOP needs none")
    if "expect" in headers:
        raise Refused("Expect is not supported: send the body at once", 417)
    for name in ("trailer", "content-encoding"):
        if name in headers:
            raise malformed(f"header {name}")


def _length(headers: Mapping[str, str]) -> int | None:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise malformed("two kinds of length")
        if coding.lower() != "chunked":
            raise malformed("transfer-encoding")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise malformed("content-length")
    return int(length)


async def body(reader: Reader, head: Head, limit: int) -> AsyncIterator[bytes]:
    """The pieces of a body, decoded.

    Args:
        reader: the connection, after the head.
        head: says how long it is.
        limit: bytes; a longer one is refused.

    Raises:
        Refused: too long, or badly framed.
    """
    pieces = _chunked(reader) if head.length is None else _measured(reader, head.length)
    if head.length is not None and head.length > limit:
        raise Refused(f"the body is too long (at most {limit} bytes)", 413)
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise Refused(f"the body is too long (at most {limit} bytes)", 413)
        yield piece


PIECE = 64 << 10


async def _measured(reader: Reader, length: int) -> AsyncIterator[bytes]:
    while length:
        piece = await reader.readexactly(min(length, PIECE))
        length -= len(piece)
        yield piece


async def _chunked(reader: Reader) -> AsyncIterator[bytes]:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = line.removesuffix(b"\r\n")
        if len(line) > LONGEST_CHUNK_LINE or not _CHUNK_SIZE.fullmatch(size):
            raise malformed("a chunk's size")
        if int(size, 16) == 0:
            if await reader.readexactly(2) != b"\r\n":
                raise malformed("a trailer")
            return
        async for piece in _measured(reader, int(size, 16)):
            yield piece
        if await reader.readexactly(2) != b"\r\n":
            raise malformed("a chunk's end")


def chunk(piece: bytes) -> bytes:
    """A piece of a body as one chunk; an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
