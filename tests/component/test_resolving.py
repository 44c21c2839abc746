"""Look-ups of names in our event loop: real threads, and a system that does not know for long."""

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from services.common.resolving import ResolvingLoop

DEAD = [f"dead-{number}" for number in range(2 * (os.cpu_count() or 1) + 8)]
"""More names than asyncio's default pool has threads."""
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class Names:
    """The system's names: those that begin with ``dead`` are looked up until the test ends."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()

    def __call__(self, host: str, *_: Any) -> Any:
        self.asked.append(host)
        if host.startswith("dead"):
            self.over.wait(60)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return FOUND


@pytest.fixture
def names(monkeypatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr("services.common.resolving.socket.getaddrinfo", made)
    try:
        yield made
    finally:
        made.over.set()


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        runner.run(test())  # type: ignore[arg-type]


def look_up(host: str) -> "Awaitable[Any]":
    return asyncio.get_running_loop().getaddrinfo(host, 80, type=socket.SOCK_STREAM)


def test_dead_names_hold_up_nothing_else(names: Names):
    async def test() -> None:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for dead in DEAD:
                group.create_task(given_up(dead))
            assert await look_up("alive") == FOUND
            assert await asyncio.to_thread(lambda: "done") == "done"
            names.over.set()

    async def given_up(dead: str) -> None:
        with pytest.raises(socket.gaierror, match="not known"):
            await look_up(dead)

    run(test)


def test_tries_of_one_name_share_a_look_up(names: Names):
    """As they come one after the other, each cancelled by its own time limit."""

    async def test() -> None:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await look_up("dead")
        assert names.asked == ["dead"]
        last = asyncio.ensure_future(look_up("dead"))
        await asyncio.sleep(0)
        names.over.set()
        with pytest.raises(socket.gaierror, match="not known"):
            await last
        with pytest.raises(socket.gaierror):
            await look_up("dead")  # asked anew: it may be there now
        assert names.asked == ["dead", "dead"]

    run(test)


def test_a_real_name_and_one_that_cannot_be():
    async def test() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "localhost", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("localhost", port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        with pytest.raises(UnicodeError):
            await look_up("a" * 300)

    run(test)


def test_a_look_up_that_outlives_its_loop(names: Names):
    """Nobody waits for it: neither the loop's end, nor what it comes to."""

    async def test() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await look_up("dead")

    run(test)
    thread = next(each for each in threading.enumerate() if each.name == "resolve")
    names.over.set()
    thread.join(30)
    assert not thread.is_alive()
