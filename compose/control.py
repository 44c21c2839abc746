"""Commands to a composition that runs: `compose.local kill` and `restart`.

The composition listens on a Unix socket in its run folder, which goes away with it. A command is
one line of JSON, ``{"verb": ..., "node": ...}``, and so is the answer, ``{"said": ...}`` or
``{"error": ..., "exit_code": ...}``. Only the user who owns the run may connect.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.common.errors import (
    ConfigError,
    NotFoundError,
    ProtocolError,
    RemoteError,
    SwarmError,
)

log = logging.getLogger("swarm.compose")

SOCKET = "control"
"""Its name in the run folder."""
ASK_SECONDS = 5.0
"""How long a composition waits for the command of who connected."""

Obey = Callable[[str, str], Awaitable[str]]
"""Carries out a verb on a node; returns what to say."""


class Control:
    """The composition's end.

    Args:
        folder: the run folder.
        obey: carries out commands.
    """

    def __init__(self, folder: Path, obey: Obey) -> None:
        self._folder = folder
        self._obey = obey
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; on a file system without sockets a run goes on without commands."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            with _short(self._folder) as folder:
                sock.bind(f"{folder}/{SOCKET}")
                (self._folder / SOCKET).chmod(0o600)
                self._server = await asyncio.start_unix_server(self._serve, sock=sock)
        except OSError as exc:
            sock.close()
            log.warning("kill and restart do not work: no socket in %s: %s", self._folder, exc)

    async def close(self) -> None:
        """Stop listening; commands under way are broken off."""
        if self._server is not None:
            self._server.close()
            (self._folder / SOCKET).unlink(missing_ok=True)
            self._server = None
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, object] = {"error": "broken off", "exit_code": RemoteError.exit_code}
        try:
            verb, node = await _command(reader)
            log.info("told to %s %s", verb, node)
            answer = {"said": await self._obey(verb, node)}
        except SwarmError as exc:
            answer = {"error": str(exc), "exit_code": exc.exit_code}
        finally:
            writer.write(json.dumps(answer).encode() + b"\n")
            writer.close()


async def _command(reader: asyncio.StreamReader) -> tuple[str, str]:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            asked = json.loads(await reader.readline())
        return str(asked["verb"]), str(asked["node"])
    except (TimeoutError, OSError, ValueError, KeyError, TypeError) as exc:
        raise ProtocolError(f"no command: {exc}") from exc


def ask(run_dir: Path, verb: str, node: str, seconds: float) -> str:
    """Tell the composition that runs in ``run_dir`` to do something; return what it says.

    Args:
        run_dir: its folder.
        verb: ``kill`` or ``restart``.
        node: name of a node.
        seconds: how long to wait for the answer.

    Raises:
        NotFoundError: nothing runs there, or there is no such node.
        RemoteError: it was done without success, or nobody says whether.
        SwarmError: it is refused.
    """
    with socket.socket(socket.AF_UNIX) as sock, _short(run_dir) as folder:
        sock.settimeout(seconds)
        try:
            sock.connect(f"{folder}/{SOCKET}")
        except OSError as exc:
            raise NotFoundError(f"no swarm in {run_dir} takes commands: {exc.strerror}") from exc
        try:
            sock.sendall(json.dumps({"verb": verb, "node": node}).encode() + b"\n")
            answer = json.loads(sock.makefile("rb").readline())
        except (OSError, ValueError) as exc:
            raise RemoteError(f"the swarm in {run_dir} does not answer: {exc}") from exc
    if "said" in answer:
        return str(answer["said"])
    kinds = {kind.exit_code: kind for kind in (ConfigError, NotFoundError, ProtocolError)}
    raise kinds.get(answer["exit_code"], RemoteError)(answer["error"])


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Another path of a folder: that of a socket may have 107 bytes only."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
