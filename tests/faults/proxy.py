"""A TCP proxy that a test turns into a bad line: held, slow, silent, cut, or not there."""

import asyncio
import contextlib
import math
import socket

PIECE = 16 * 1024


class Way:
    """One direction."""

    def __init__(self) -> None:
        self.left = math.inf
        """Bytes that may still pass; the rest is held until :meth:`let` says more."""
        self.rate = math.inf
        """Bytes per second."""
        self.passed = 0
        self.held = asyncio.Event()
        """Somebody has more to send than may pass."""
        self._opened = asyncio.Event()

    def let(self, count: float = math.inf) -> None:
        """From now on let that many bytes pass."""
        self.left = count
        self.held.clear()
        self._opened.set()
        self._opened = asyncio.Event()

    async def take(self, wanted: int) -> int:
        """Wait until at least one of that many bytes may pass; how many may."""
        while self.left <= 0:
            self.held.set()
            await self._opened.wait()
        count = int(min(wanted, self.left))
        self.left -= count
        if self.rate < math.inf:
            await asyncio.sleep(count / self.rate)
        self.passed += count
        return count


class Proxy:
    """In front of a port of this machine. Use as an async context manager.

    Args:
        target: the port behind it.
        port: what it listens on.
    """

    def __init__(self, target: int, port: int) -> None:
        self.target, self.port = target, port
        self.up, self.down = Way(), Way()
        """From who dials, and to it."""
        self.cut_after = math.inf
        """Bytes down after which a connection is reset."""
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen, again after :meth:`refuse`."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Have nobody listen any more, and cut all connections."""
        assert self._server is not None
        self._server.close()
        await self._cut()

    async def __aenter__(self) -> "Proxy":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, self.up, math.inf))
                group.create_task(self._pump(there, writer, self.down, self.cut_after))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # either end is gone, or the test cuts it
        finally:
            for each in (writer, back):
                if each is not None:
                    _reset(each)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, limit: float
    ) -> None:
        sent = 0
        while data := await reader.read(PIECE):
            while data:
                count = await way.take(len(data))
                writer.write(data[:count])
                await writer.drain()
                data, sent = data[count:], sent + count
                if sent > limit:
                    self.cuts += 1
                    raise ConnectionResetError
        raise ConnectionResetError  # nobody here half-closes


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST where something is still on its way."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
