"""An engine, embedded or external, with what an SN has on top of it, without its API."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.common.ids import NodeKind
from services.sn.adapters import abi
from services.sn.adapters.chain import Call, Chain
from services.sn.adapters.engine import SwarmEngine
from services.sn.adapters.projection import Projection
from services.sn.adapters.requests import ask
from services.sn.adapters.rpc_chain import RpcChain
from services.sn.adapters.system import SystemContracts, system_addresses
from services.sn.adapters.writer import Writer
from services.sn.core import ledger
from tests.component.sn.conftest import PATIENCE
from tests.pki import Pki

SYSTEM = 3
"""Kind of the entries that these tests register: nothing is expected at their address."""


@dataclass
class World:
    """An engine with the system contracts on it, and what an SN has on top."""

    engine: SwarmEngine
    chain: Chain
    projection: Projection
    writer: Writer
    registry: str

    def name(self, name):
        """A write that succeeds once for each name."""
        return Call(abi.REGISTRY, self.registry, "register", (name, SYSTEM, self.registry))

    async def names(self):
        """All names registered so far, in order, from the chain's logs."""
        head = await self.chain.head()
        return [
            event.name
            for entry in await self.chain.logs(0, head.number)
            if entry.address == self.registry
            and isinstance(event := abi.abi(abi.REGISTRY).event(entry.topics, entry.data),
                           ledger.Registered)
        ]  # fmt: skip

    async def ask(self, method, *params):
        return await ask(self.engine.provider, method, *params)


async def external(folder, url, **changes):
    """A sentinel's engine on the client at ``url``."""
    identity = Pki(folder).identity(NodeKind.SN)
    return await RpcChain.open(folder / "chain", url, identity=identity, **changes)


@asynccontextmanager
async def running(engine):
    task = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(PATIENCE):
            ready = asyncio.create_task(engine.ready.wait())
            await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
        if task.done():
            task.result()
        yield engine
    finally:
        task.cancel()
        await asyncio.wait([task])
        await engine.close()
    assert task.cancelled(), task.exception()


@asynccontextmanager
async def client_of(engine):
    """What an SN has on top of its engine, with a nonce counter of its own."""
    chain = Chain(engine)
    registry, nodes = system_addresses(chain)
    projection = Projection(chain, registry, nodes)
    following = asyncio.create_task(projection.follow())
    writer = Writer(chain, projection)
    try:
        yield (
            World(engine, chain, projection, writer, registry),
            SystemContracts(writer, registry, nodes),
        )
    finally:
        following.cancel()
        await asyncio.wait([following])


@asynccontextmanager
async def world_on(engine):
    """The engine running, the contracts deployed."""
    async with running(engine), client_of(engine) as (made, system):
        await system.deploy()
        yield made
