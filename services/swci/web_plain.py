"""The web mode over plain HTTP, for ``SWCI_WEB_INSECURE=true`` only: the limits of TLS's server
(:mod:`services.common.rest`), without its certificates."""  # noqa: D205, D209

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import uvicorn
from fastapi import FastAPI

from services.common.door import Limits, Place
from services.common.rest import STOP_SECONDS
from services.common.rest_protocol import TlsProtocol

MOST_CONNECTIONS = 256


class _Room:
    """Counts open connections."""

    def __init__(self) -> None:
        self.taken = 0


class _Seat:
    """One connection's place in the room; the part of :class:`Place` that protocols use."""

    def __init__(self, room: _Room) -> None:
        self._room = room
        self._left = False
        room.taken += 1

    def take(self, _certificate: str) -> bool:
        return self._room.taken <= MOST_CONNECTIONS

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._room.taken -= 1


@asynccontextmanager
async def serving_plain(
    app: FastAPI,
    sock: socket.socket,
    limits: Limits = Limits(),  # noqa: B008
) -> AsyncIterator[None]:
    """Serve ``app`` on ``sock`` without TLS while the body runs; then stop in order."""
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS, server_header=False,
        timeout_keep_alive=limits.idle_s,
    )  # fmt: skip
    server, room = _Server(config), _Room()

    def protocol() -> TlsProtocol:
        return TlsProtocol(config, server.server_state, cast("Place", _Seat(room)), limits)

    task = asyncio.create_task(server._serve(sockets=[sock]))
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    opened = await asyncio.get_running_loop().create_server(protocol, sock=sock)
    try:
        yield
    finally:
        opened.close()
        server.should_exit = True
        await task
        sock.close()


class _Server(uvicorn.Server):
    """uvicorn's, but :func:`serving_plain` accepts the connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        self.started = True
