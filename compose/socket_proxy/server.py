"""The proxy's connections: one request each, answered by Docker or refused."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from compose.socket_proxy import http1, routes
from compose.socket_proxy.daemon import Daemon
from compose.socket_proxy.gate import BODIES, Body, Gate, Passed
from compose.socket_proxy.http1 import Head
from compose.socket_proxy.refusal import Refused
from compose.socket_proxy.routes import Call, Kind

log = logging.getLogger("swarm.socket-proxy")

MOST_CONNECTIONS = 100
HEAD_SECONDS = 10
BODY_SECONDS = 60
"""For all of a JSON body, or for the next piece of an archive."""
LINGER_SECONDS = 5
"""How long a refused client may go on sending, so that it gets to read why."""
LIMITS = {Body.NOTHING: 0, Body.JSON: 1 << 20, Body.ARCHIVE: 8 << 30}
"""Bytes of a body."""
_TYPES = {Body.JSON: "application/json", Body.ARCHIVE: "application/x-tar"}
_BROKEN = (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError)


class Server:
    """Answers on a Unix socket."""

    def __init__(self, gate: Gate, daemon: Daemon) -> None:
        self._gate = gate
        self._daemon = daemon
        self._open = 0

    @asynccontextmanager
    async def listening(self, path: Path, mode: int, group: int | None) -> AsyncIterator[None]:
        """Listen on a socket that only its owner and this group may use."""
        listener = _bind(path, mode, group)
        server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=http1.LONGEST_HEAD
        )
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        shown = "?"
        try:
            self._check_room()
            head = await _read_head(reader)
            if head is not None:
                shown = f"{head.method} {head.target.partition('?')[0][:200]}"
                await self._answer(head, reader, writer)
        except Refused as refused:
            log.warning("Refused: %s: %s", shown, refused)
            await _refuse(reader, writer, refused)
        except _BROKEN as error:
            log.info("Broken off: %s: %s", shown, type(error).__name__)
        finally:
            self._open -= 1
            writer.close()

    def _check_room(self) -> None:
        if self._open > MOST_CONNECTIONS:
            raise Refused("too many connections at once", 503)

    async def _answer(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        call = routes.match(head)
        expected = BODIES.get(call.kind, Body.NOTHING)
        content = b""
        if expected is not Body.ARCHIVE:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in http1.body(reader, head, LIMITS[expected]):
                    content += piece
        passed = await self._gate.decide(call, content)
        up_reader, up_writer = await self._daemon.connect()
        try:
            up_writer.write(_request(call, head, passed, expected))
            if expected is Body.ARCHIVE:
                await _send_archive(reader, head, up_writer)
            await up_writer.drain()
            await _relay(up_reader, reader, writer)
        finally:
            up_writer.close()


def _bind(path: Path, mode: int, group: int | None) -> socket.socket:
    """A socket that does not listen yet, so that nobody can connect before its mode is set."""
    if path.is_socket():  # of a proxy that was killed; anything else makes bind() fail
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(mode)
    except OSError:
        listener.close()
        raise
    return listener


async def _read_head(reader: asyncio.StreamReader) -> Head | None:
    """The head of a request; None where the client only looked in."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    except asyncio.LimitOverrunError as error:
        raise Refused("the head of the request is too long", 431) from error
    return http1.parse_head(head)


def _request(call: Call, head: Head, passed: Passed, expected: Body) -> bytes:
    """The request as Docker gets it."""
    lines = [f"{call.method} {passed.target} HTTP/1.1", "Host: docker", "Connection: close"]
    if expected in _TYPES:
        lines.append(f"Content-Type: {_TYPES[expected]}")
    if call.kind is Kind.PULL and "x-registry-auth" in head.headers:
        lines.append(f"X-Registry-Auth: {head.headers['x-registry-auth']}")
    if expected is Body.ARCHIVE:
        lines.append("Transfer-Encoding: chunked")
    else:
        lines.append(f"Content-Length: {len(passed.body or b'')}")
    return "\r\n".join([*lines, "", ""]).encode() + (passed.body or b"")


async def _send_archive(
    reader: asyncio.StreamReader, head: Head, up_writer: asyncio.StreamWriter
) -> None:
    """Pass an archive on, piece by piece."""
    pieces = http1.body(reader, head, LIMITS[Body.ARCHIVE])
    while True:
        async with asyncio.timeout(BODY_SECONDS):
            piece = await anext(pieces, b"")
        up_writer.write(http1.chunk(piece))
        await up_writer.drain()
        if not piece:
            return


async def _relay(
    up_reader: asyncio.StreamReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass the answer on, until it ends or the client goes: then a build or a pull ends too."""
    answering = asyncio.create_task(_copy(up_reader, writer))
    leaving = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
        elif leaving.result():
            log.warning("Broken off: the client sent a second request without being asked")
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _copy(up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await up_reader.read(http1.PIECE):
        writer.write(piece)
        await writer.drain()


async def _refuse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refused: Refused
) -> None:
    """Say no as Docker would, and let the client finish what it is sending."""
    body = json.dumps({"message": f"socket-proxy: {refused}"}).encode()
    head = (
        f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(http1.PIECE):
                pass
    except _BROKEN:
        return
