"""The result service's look at the others, with real sockets."""

import asyncio
import contextlib
import socket

import pytest

from compose.result import services
from compose.result.services import Services


async def test_a_service_that_ends_and_comes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "EVERY_SECONDS", 0.01)
    said: asyncio.Queue[str] = asyncio.Queue()
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    watched = Services([f"127.0.0.1:{port}"], said.put_nowait)
    task = asyncio.create_task(watched.run())
    try:
        server.close()
        async with asyncio.timeout(30):
            assert await said.get() == (
                "127.0.0.1 does not answer any more (lost): going on without it"
            )
            with socket.create_server(("127.0.0.1", port)):
                assert await said.get() == "127.0.0.1 answers again"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert said.empty()
