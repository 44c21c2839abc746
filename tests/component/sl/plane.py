"""A data plane on loopback for tests: stores, file servers with real TLS, and a proxy that cuts."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.ids import Digest, NodeKind
from services.common.tls import Identity
from services.sl.adapters.file_connection import Limits
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.peer import Patience
from services.sl.adapters.store import Store
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, write_into
from tests.pki import Pki

QUICK = Patience(connect_s=2.0, stall_s=2.0, tries=3, backoff_s=0.001)
DEADLINE = 20.0
"""Longest that any wait in these tests may take, seconds."""


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no two seeds share."""
    return np.random.default_rng(seed).bytes(size)


def model_file(seed: int = 0, count: int = 1000, bad: float | None = None) -> bytes:
    """A small model file."""
    arrays = {
        "w": np.random.default_rng(seed).standard_normal(count).astype(np.float32),
        "n": np.array(seed, np.int64),
    }
    if bad is not None:
        arrays["w"][count // 2] = bad
    layout = layout_of(arrays)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def other_layout() -> bytes:
    """A small model file of another layout than :func:`model_file`'s."""
    arrays = {"w": np.ones(7, np.float32), "n": np.array(1, np.int64)}
    layout = layout_of(arrays)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def put(store: Store, content: bytes) -> Digest:
    """Put bytes into a store."""
    digest = Digest(digest_of(content))
    with store.writer(len(content)) as draft:
        draft.write(content)
        draft.commit(digest)
    return digest


@dataclass
class Plane:
    """A certificate authority and what it takes to run file servers under it."""

    pki: Pki
    folder: Path

    def store(self, name: str) -> Store:
        """A store of its own."""
        return Store(self.folder / name)

    def identity(self, role: NodeKind = NodeKind.SL, name: str = "1") -> Identity:
        """A certificate."""
        return self.pki.identity(role, name)

    @asynccontextmanager
    async def serving(
        self, store: Store, identity: Identity | None = None, *,
        authorise: Callable[..., bool] = lambda _: True,
        may_copy: Callable[..., bool] = lambda *_: False,
        limits: Limits | None = None,
    ) -> AsyncIterator["Served"]:  # fmt: skip
        """A file server over ``store``."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            server = FileServer(
                sock, identity or self.identity(), store, authorise, may_copy, limits
            )
            async with server:
                yield Served(server, sock.getsockname()[1])


@dataclass
class Served:
    """A running file server."""

    server: FileServer
    port: int

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"


class Client:
    """A raw HTTPS client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        return cls(reader, writer)

    async def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode("latin-1") if isinstance(text, str) else text)
        await self.writer.drain()

    async def ask(self, first: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read the answer."""
        await self.say("\r\n".join([first, "Host: peer", *fields, "", ""]))
        return await self.answer(body=not first.startswith("HEAD"))

    async def answer(self, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            length = int(fields.get("content-length", 0)) if body else 0
            return int(head[0].split()[1]), fields, await self.reader.readexactly(length)

    async def closed(self) -> bool:
        """Wait until the server has closed; whether it said nothing more."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read() == b""
            except (ConnectionError, ssl.SSLError):
                return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (OSError, ssl.SSLError):
            return


Relay = Callable[[int], int | None]
"""Number of a connection -> after how many bytes from the server it is cut; None: never."""


@asynccontextmanager
async def cutting_proxy(
    port: int, cut_after: Relay, gently: bool = False
) -> AsyncIterator[tuple[str, list[int]]]:
    """A TCP proxy in front of ``port``; (endpoint, bytes passed by connection).

    ``gently``: it closes, and what it passed arrives; otherwise it resets, and some is lost.
    """
    passed: list[int] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(passed)
        passed.append(0)
        limit = cut_after(number)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        up = asyncio.create_task(_pump(reader, back))
        try:
            while piece := await there.read(65536):
                room = len(piece) if limit is None else limit - passed[number]
                writer.write(piece[:room])
                passed[number] += len(piece[:room])
                await writer.drain()
                if room <= len(piece) and limit is not None:
                    if gently:
                        writer.close()
                        await writer.wait_closed()
                    break
        except OSError:
            pass
        finally:
            up.cancel()
            reset(writer)
            reset(back)

    async with tcp_server(relay) as endpoint:
        yield endpoint, passed


Greet = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def mute(
    greet: Greet | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that accepts and then says nothing, or what ``greet`` says to each request."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(65536):
                if greet is not None:
                    await greet(writer)
        writer.transport.abort()

    async with tcp_server(hold, context) as endpoint:
        yield endpoint


@asynccontextmanager
async def tcp_server(
    handle: Callable[..., Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        return


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a broken line does."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
