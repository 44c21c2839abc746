"""Connections to the Docker daemon: questions of the proxy's own, and requests passed on."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from compose.socket_proxy.refusal import Refused

LARGEST_ANSWER = 8 << 20
"""Bytes of an answer to a question of ours."""
ANSWER_SECONDS = 30


class Daemon:
    """The Docker daemon behind a Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection.

        Raises:
            Refused: no daemon answers.
        """
        try:
            return await asyncio.open_unix_connection(str(self._socket))
        except OSError as error:
            raise Refused(
                f"Docker does not answer at {self._socket}: {error.strerror}", 503
            ) from error

    async def inspect(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """Ask about something; None: there is no such thing.

        Args:
            kind: ``containers``, ``images``, ``volumes`` or ``networks``.
            name: its name or id.

        Raises:
            Refused: Docker gives no answer that can be understood.
        """
        path = f"/{kind}/{quote(name, safe='/:@')}"
        if kind in {"containers", "images"}:
            path += "/json"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, body = await self._get(path)
            if status == HTTPStatus.NOT_FOUND:
                return None
            answer = json.loads(body) if status == HTTPStatus.OK else None
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise Refused(f"Docker gave no answer about {kind} {name}", 502) from error
        if not isinstance(answer, dict):
            raise Refused(f"Docker did not tell about {kind} {name}", 502)
        return answer

    async def _get(self, path: str) -> tuple[int, bytes]:
        """HTTP/1.0, so that the answer simply ends with the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            body = bytearray()
            while piece := await reader.read(1 << 16):
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise ValueError("the answer is too long")
            return int(head.split(b" ", 2)[1]), bytes(body)
        finally:
            writer.close()
