"""What another SL asks our file server: one HTTP/1.1 request, read strictly.

==================================  =========================================================
``GET`` or ``HEAD /v1/models/D``    the model file with digest D, or one range of it
``PUT /v1/models/D``                leave a copy of it here (``Content-Length`` needed)
==================================  =========================================================

The digest is 64 hex digits, taken literally: no percent-encoding, no query, no dots. So nothing
that comes in is ever used as a path.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from services.common.errors import SwarmError
from services.common.ids import Digest

MAX_HEAD = 16 * 1024
"""Longest request head (bytes)."""

_TARGET = re.compile(r"/v1/models/([0-9a-f]{64})")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*")


class RequestError(SwarmError):
    """A request that is answered with an error.

    Args:
        status: HTTP status of the answer.
        message: what is wrong.
        code: stable word for programs.
    """

    def __init__(self, status: int, message: str, code: str = "bad-request") -> None:
        super().__init__(message, code)
        self.http_status = status


class Method(StrEnum):
    """What may be done with a model file."""

    GET = "GET"
    HEAD = "HEAD"
    PUT = "PUT"


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A request about one model file."""

    method: Method
    digest: Digest
    span: str | None
    """The Range header, not yet held against the file's size."""
    length: int
    """Bytes of the body; 0 but for PUT."""
    expects_continue: bool
    """The client sends its body only after ``100 Continue``."""
    close: bool
    """The client wants the connection closed after the answer."""
    accepts: tuple[str, ...] = ()
    """Content codings that the client offers to decode."""
    renewed: str = ""
    """Proof that the client's certificate replaced another (``common.renewed``)."""


def parse_request(head: bytes) -> FileRequest:
    """Read a request head, from the request line to the empty line.

    Raises:
        RequestError: it is not well-formed HTTP/1.1 (400, 505), has another method than GET, HEAD
            and PUT (405), a body where none belongs (413) or one of unknown length (411), or asks
            for anything but a model file (404).
    """
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        raise RequestError(400, "not an HTTP request")
    if words[2] != "HTTP/1.1":
        raise RequestError(505, "only HTTP/1.1 is spoken here", "http-version")
    fields = _fields(lines[1:])
    if words[0] not in Method.__members__:
        raise RequestError(405, "only GET, HEAD and PUT are allowed", "method")
    method = Method(words[0])
    length = _length(method, fields)
    found = _TARGET.fullmatch(words[1])
    if found is None:
        raise RequestError(404, "there are only model files here: /v1/models/DIGEST", "not-found")
    digest = Digest(found[1])
    unchanged = fields.get("if-range", etag(digest)) == etag(digest)
    return FileRequest(
        method=method,
        digest=digest,
        span=fields.get("range") if unchanged else None,
        length=length,
        expects_continue=fields.get("expect", "").lower() == "100-continue",
        close="close" in fields.get("connection", "").lower(),
        accepts=tuple(c.strip().lower() for c in fields.get("accept-encoding", "").split(",")),
        renewed=fields.get("swarm-renewed", ""),
    )


def _length(method: Method, fields: dict[str, str]) -> int:
    text = fields.get("content-length", "" if method is Method.PUT else "0")
    if "transfer-encoding" in fields or _LENGTH.fullmatch(text) is None:
        raise RequestError(411, "say the length of the body (Content-Length)", "length")
    length = int(text)
    if length and method is not Method.PUT:
        raise RequestError(413, f"{method} has no body here", "no-body")
    return length


def etag(digest: Digest) -> str:
    """The entity tag of a model file: its digest."""
    return f'"{digest}"'


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise RequestError(400, "a header line is not well formed")
        name = found[1].lower()
        if name in fields:
            raise RequestError(400, "a header comes twice")
        fields[name] = found[2].strip(" \t")
    if "host" not in fields:
        raise RequestError(400, "the Host header is missing")
    return fields


def span_of(value: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for.

    Args:
        value: the header, None where there is none.
        size: of the file.

    Returns:
        First byte, and one past the last; None means the whole file (no header, or another unit
        than bytes).

    Raises:
        RequestError: 416, it is malformed, names several ranges or none within the file.
    """
    if value is None or not value.lower().startswith("bytes"):
        return None
    found = _RANGE.fullmatch(value.lower())
    if found is None or not (found[1] or found[2]):
        raise RequestError(416, "the Range header must be one range of bytes", "range")
    if found[1]:
        begin, end = int(found[1]), min(int(found[2] or size) + 1, size)
    else:
        begin, end = max(0, size - int(found[2])), size
    if begin >= end:
        raise RequestError(416, f"no such range: the file has {size} bytes", "range")
    return begin, end
