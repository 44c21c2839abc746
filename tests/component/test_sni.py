"""A reverse proxy routes by the name in the TLS hello (SNI): what our clients put there."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eth_keys.datatypes import PrivateKey

from services.common.errors import SwarmError
from services.common.ids import Digest, NodeId, NodeKind
from services.common.license_client import held_license
from services.common.settings import NodeSettings
from services.common.sn_client import SnClient
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sn.adapters.entry import find_network
from services.sn.adapters.p2p import P2P
from tests.pki import Pki

NAME = "localhost"
"""A name that every machine resolves, in the place of a service's."""


@asynccontextmanager
async def hellos(pki: Pki) -> AsyncIterator[tuple[int, "asyncio.Queue[str | None]"]]:
    """A server's port, and the names that it is asked for; it hangs up after that."""
    names: asyncio.Queue[str | None] = asyncio.Queue()
    context = pki.identity(NodeKind.SN).server_context()
    context.sni_callback = lambda _tls, name, _context: names.put_nowait(name)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived = ssl.MemoryBIO()
        tls = context.wrap_bio(arrived, ssl.MemoryBIO(), server_side=True)
        while names.empty() and (piece := await reader.read(4096)):
            arrived.write(piece)
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
        writer.close()

    server = await asyncio.start_server(accept, NAME, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], names


class _EnoughError(Exception):
    pass


def enough(_endpoint: str, _exc: Exception) -> None:
    """Ends a client that has failed once."""
    raise _EnoughError


async def state_api(pki: Pki, endpoint: str, _folder: Path) -> None:
    sn = SnClient(pki.identity(NodeKind.SL), [endpoint], patience=0)
    try:
        await sn.version()
    finally:
        await sn.close()


async def joining(pki: Pki, endpoint: str, _folder: Path) -> None:
    await find_network(pki.identity(NodeKind.SN), endpoint, patience=0)


async def links(pki: Pki, endpoint: str, _folder: Path) -> None:
    p2p = P2P(
        identity=pki.identity(NodeKind.SN), key=PrivateKey(b"\1" * 32), sock=None,
        join=[endpoint], announce="", mine=False,
    )  # fmt: skip
    p2p._complain = enough  # it would try on for ever
    await p2p.fetch_genesis()


async def models(pki: Pki, endpoint: str, folder: Path) -> None:
    async with Peers(pki.identity(NodeKind.SL)) as peers:
        await peers.fetch(endpoint, Digest("0" * 64), 10, Store(folder / "store"))


async def leases(pki: Pki, endpoint: str, _folder: Path) -> None:
    settings = NodeSettings(
        swarm_license_autopassj_server_primary_ip=NAME,
        swarm_license_autopassj_server_primary_port=int(endpoint.rpartition(":")[2]),
    )
    identity = pki.identity(NodeKind.SL)
    async with held_license(settings, identity, "1", NodeId("a" * 32), "SL", patience=0):
        pass


@pytest.mark.parametrize("client", [state_api, joining, links, models, leases])
async def test_clients_say_whom_they_want(tmp_path: Path, client):
    pki = Pki(tmp_path)
    async with hellos(pki) as (port, names), asyncio.timeout(30):
        with pytest.raises((SwarmError, _EnoughError)):
            await client(pki, f"{NAME}:{port}", tmp_path)
    assert names.get_nowait() == NAME
