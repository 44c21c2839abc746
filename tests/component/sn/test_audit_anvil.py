"""An audit of a chain that another Ethereum client made: anvil."""

import httpx
import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3

from services.common.errors import ConfigError
from services.sn.adapters import abi
from services.sn.core.ledger import TRAINING_KIND
from tests.component.sn import tape

NAME, A, B = "mine", b"\x0a" * 16, b"\x0b" * 16
GAS = 15_000_000


class Client:
    """Deploys and calls our contracts from anvil's first account."""

    def __init__(self, url):
        self.w3 = AsyncWeb3(AsyncHTTPProvider(url))
        self.account = None

    async def send(self, data, to=None):
        self.account = self.account or (await self.w3.eth.accounts)[0]
        fields = {"from": self.account, "data": "0x" + data.hex(), "gas": GAS}
        sent = await self.w3.eth.send_transaction({**fields, "to": to} if to else fields)
        receipt = await self.w3.eth.wait_for_transaction_receipt(sent)
        assert receipt["status"] == 1
        return receipt["contractAddress"]

    async def call(self, kind, to, function, *args):
        await self.send(abi.abi(kind).call(function, *args), to)


@pytest.fixture
async def chain(anvil):
    """URL of a chain with one round on it, and the registry's address."""
    client = Client(anvil("anvil").url)
    yield anvil("anvil").url, await one_round(client)
    await client.w3.provider.disconnect()


async def one_round(client):
    await client.send(b"", client.account or (await client.w3.eth.accounts)[1])  # nothing of ours
    registry = await client.send(abi.abi(abi.REGISTRY).creation())
    nodes = await client.send(abi.abi(abi.NODES).creation(registry))
    training = await client.send(abi.abi(abi.TRAINING).creation(registry, nodes))
    await client.call(abi.REGISTRY, registry, "register", NAME, TRAINING_KIND, training)
    for uid in (A, B):
        await client.call(
            abi.NODES, nodes, "register", uid, 2, False, "h:1", "sl", "1", uid, bytes(32)
        )
    for uid in (A, B):
        await client.call(
            abi.TRAINING, training, "enrol", 0, uid, 2, abi.method_bytes("mean"), False,
            uid == A, 600, 0,
        )  # fmt: skip
    for uid in (A, B):
        await client.call(
            abi.TRAINING, training, "checkIn", 1, uid, 1, bytes(32), uid * 2, 1000, 1, 0,
            abi.perf_tuple(None),
        )  # fmt: skip
    await client.call(abi.TRAINING, training, "freeze", 1, 1, 1, A)
    await client.call(abi.TRAINING, training, "publish", 1, 1, 1, A, b"\x0d" * 32, 1000, [A, B], 0)
    return registry


async def audited(url, *arguments):
    return await tape.audited(
        httpx.AsyncHTTPTransport(), "--sn", url, "--contract", NAME, *arguments
    )


async def test_a_chain_of_another_client(chain):
    url, registry = chain
    found = await audited(url, "--registry", registry)
    (record,) = found.events.chronicle.rounds
    assert [item.peer for item in record.contributors] == [A.hex(), B.hex()]
    assert found.verdict.engine == "external"
    assert found.verdict.line().endswith(
        "the same on 1 SN; seals not checked: another client makes these blocks"
    )
    believed = await audited(url, "--registry", registry, "--no-verify")
    assert believed.events.chronicle.rounds == [record]
    assert believed.events.nodes.all() == found.events.nodes.all()


async def test_the_registry_must_be_named(chain):
    url, _ = chain
    with pytest.raises(ConfigError, match="name the SwarmRegistry with --registry"):
        await audited(url)
