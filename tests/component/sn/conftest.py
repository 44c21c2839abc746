"""A whole SN in this process: real chain, real API over mutual TLS, quick to lose a node.

The chain is the embedded one, or, where a test asks for it (:data:`on_both_engines`), anvil's.
"""

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.common import sn_api as api
from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST, NodeKind
from services.common.sn_client import SnClient
from services.sn.core.liveness import Pace
from services.sn.daemon import serve
from services.sn.settings import SnSettings
from tests.anvil import Anvil
from tests.pki import Pki

PACE = Pace()
PATIENCE = 30.0
"""Seconds after which something that should happen at once counts as never."""

EMBEDDED, ANVIL, ANVIL_SLOW = "embedded", "anvil", "anvil, a block a second"
OPTIONS = {ANVIL: (), ANVIL_SLOW: ("--block-time", "1")}
on_both_engines = pytest.mark.parametrize("under", [EMBEDDED, ANVIL], indirect=True)
only_anvil = pytest.mark.parametrize("under", [ANVIL], indirect=True)
on_all_engines = pytest.mark.parametrize("under", [EMBEDDED, ANVIL, ANVIL_SLOW], indirect=True)


class _Ports(logging.Handler):
    """Reads the port out of the ready line."""

    def __init__(self):
        super().__init__()
        self.port = asyncio.get_running_loop().create_future()

    def emit(self, record):
        self.port.set_result(record.args[0])


@dataclass
class RunningSn:
    endpoint: str
    task: asyncio.Task = field(repr=False)

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()


class Swarm:
    """Starts SNs and makes clients; stops everything at the end."""

    def __init__(self, folder: Path, under: dict) -> None:
        self.folder = folder
        self.under = under
        self.pki = Pki(folder)
        self._sns = []
        self._clients = []

    def settings(self, name: str = "1", **changes) -> SnSettings:
        files = {
            variable.lower(): value for variable, value in self.pki.files(NodeKind.SN, name).items()
        }
        given = {
            "this_node_ip": "127.0.0.1", "swarm_bind_ip": "127.0.0.1", "sn_api_server_port": 0,
            "sn_p2p_listen_port": 0, "sn_data_dir": self.folder / f"chain-{name}",
            "sn_i_am_sentinel": True, **self.under,
        }  # fmt: skip
        return SnSettings(**{**files, **given, **changes})

    async def sn(self, name: str = "1", *, pace: Pace = PACE, **changes) -> RunningSn:
        logger, ports = logging.getLogger("swarm.blCnt"), _Ports()
        logger.setLevel(logging.INFO)
        logger.addHandler(ports)
        try:
            task = asyncio.create_task(serve(self.settings(name, **changes), pace))
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([task, ports.port], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            logger.removeHandler(ports)
        running = RunningSn(f"127.0.0.1:{ports.port.result()}", task)
        self._sns.append(running)
        return running

    def client(self, sn: RunningSn, name: str = "1", kind: NodeKind = NodeKind.SL) -> SnClient:
        client = SnClient(self.pki.identity(kind, name), [sn.endpoint], patience=0.0)
        self._clients.append(client)
        return client

    async def peer(self, sn: RunningSn, name: str = "1", kind: NodeKind = NodeKind.SL) -> "Peer":
        peer = Peer(self.client(sn, name, kind), name, kind)
        await peer.register()
        return peer

    async def close(self):
        for client in self._clients:
            await client.close()
        for sn in self._sns:
            await sn.stop()


class Peer:
    """A registered SL node and its part in the default contract."""

    def __init__(self, client: SnClient, name: str, kind: NodeKind) -> None:
        self.client = client
        self.uid = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex
        self.me = api.NodeRegistration(
            kind=kind, endpoint=f"sl-{name}:30305", container=f"sl{name}"
        )
        self.contract = DEFAULT_CONTRACT

    async def register(self):
        return await self.client.register(self.uid, self.me)

    async def write(self, verb, body):
        return await self.client.peer(self.contract, self.uid, verb, body)

    async def enrol(self, min_peers=2, **changes):
        return await self.write("enrol", api.Enrol(min_peers=min_peers, **changes))

    async def check_in(self, number=1, base=NO_DIGEST, digit="a", **changes):
        given = {
            "generation": 1, "round": number, "base": base, "digest": digit * 64, "size": 1000,
            "weightage": 1, "state": api.PeerState.TRAINING,
        }  # fmt: skip
        return await self.write("checkin", api.CheckIn(**{**given, **changes}))

    async def state(self):
        return await self.client.state(self.contract)


@pytest.fixture(scope="session")
def anvil():
    """The client of this kind, started on first use and shared by all tests."""
    running = {}

    def start(kind: str) -> Anvil:
        if kind not in running:
            running[kind] = Anvil(*OPTIONS[kind]).start()
        return running[kind]

    yield start
    for each in running.values():
        each.stop()


@pytest.fixture
def under(request, anvil):
    """Settings of the chain under the SNs: the embedded one, if the test does not say."""
    kind = getattr(request, "param", EMBEDDED)
    if kind == EMBEDDED:
        return {}
    return {"sn_chain": "rpc", "sn_eth_rpc_url": anvil(kind).url}


@pytest.fixture
async def swarm(tmp_path, under):
    made = Swarm(tmp_path, under)
    yield made
    await made.close()
