"""Real SN engines on loopback, and a tiny contract to exercise them."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from services.common.ids import NodeKind
from services.sn.adapters.embedded_chain import EmbeddedChain
from tests.pki import Pki

DEADLINE_S = 30

COUNTER = bytes.fromhex("60005460010180600055600052600760206000a100")
"""Adds 1 to its slot 0 and emits the new value under TOPIC."""
REVERTER = bytes.fromhex("602a60005260206000fd")
"""Reverts with the word 42."""
TOPIC = (7).to_bytes(32, "big")


def creation(runtime: bytes) -> bytes:
    """Init code that deploys ``runtime``."""
    size = len(runtime).to_bytes(1, "big")
    return bytes.fromhex("60") + size + bytes.fromhex("600c60003960") + size + bytes.fromhex(
        "6000f3"
    ) + runtime  # fmt: skip


def bound() -> socket.socket:
    """A listening socket on a free loopback port."""
    return socket.create_server(("127.0.0.1", 0))


@dataclass
class Sn:
    """A running engine and its counter of nonces."""

    chain: EmbeddedChain
    endpoint: str
    task: asyncio.Task[None]

    @property
    def node(self):
        return self.chain._node

    def sign(self, *, to=None, data=b"", nonce=0, **changes):
        fields = {
            "nonce": nonce,
            "gasPrice": 0,
            "gas": 300_000,
            "value": 0,
            "data": data,
            "chainId": self.chain.chain_id,
            "to": to if to is not None else "",
        }
        return bytes(
            Account.sign_transaction(
                fields | changes, self.chain.account.key.to_bytes()
            ).raw_transaction
        )

    async def call(self, method, *params):
        answer = await self.chain.provider.make_request(method, list(params))
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["result"]

    async def nonce(self):
        count = await self.call("eth_getTransactionCount", self.chain.account.address, "pending")
        return int(count, 16)

    async def submit(self, *, to=None, data=b"", nonce=None, **changes):
        if nonce is None:
            nonce = await self.nonce()
        raw = self.sign(to=to, data=data, nonce=nonce, **changes)
        return await self.call("eth_sendRawTransaction", "0x" + raw.hex())

    async def receipt(self, transaction):
        """Wait until the transaction is on this SN's chain."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                head = self.chain.head
                found = await self.call("eth_getTransactionReceipt", transaction)
                if found is not None:
                    return found
                await self.chain.wait_for_head(head)

    async def send(self, **fields):
        return await self.receipt(await self.submit(**fields))

    async def deploy(self, runtime=COUNTER):
        receipt = await self.send(data=creation(runtime))
        assert receipt["status"] == "0x1"
        return receipt["contractAddress"]

    async def until(self, condition):
        """Wait until ``await condition()`` holds, looking again at every change of the head."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                head = self.chain.head
                if await condition():
                    return
                await self.chain.wait_for_head(head)

    async def signers(self):
        node = self.node
        return await node.do(lambda: node.chain.signers_after(node.chain.head).get_sorted_signers())

    async def until_signers(self, count):
        async def enough():
            return len(await self.signers()) == count

        await self.until(enough)

    async def propose(self, *, even_empty=True):
        """Propose a block now, whoever is linked."""

        def seal():
            chain = self.node.chain
            ready = self.node.pool.ready(self.node._nonces())
            return chain.seal(
                self.node.key, ready, timestamp=0, even_empty=even_empty, refuse=print
            )

        outcome = await self.node._effect(lambda: self.node.decisions.propose(seal))
        assert outcome.failure is None
        return outcome

    async def until_same_head(self, other):
        async def same():
            return self.chain.head == other.chain.head

        await self.until(same)

    async def stop(self):
        """Cut all links and end, as SIGTERM does."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self.chain.close()


class Swarm:
    """Starts engines that share a CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = Pki(folder)
        self.running: list[Sn] = []

    async def open(
        self, name, *, join=(), sentinel=False, sock=None, mine=True, pki=None, certificate=None
    ):
        return await EmbeddedChain.open(
            self.folder / f"sn{name}",
            sentinel=sentinel,
            identity=(pki or self.pki).identity(NodeKind.SN, certificate or name),
            p2p_sock=sock,
            join=list(join),
            mine=mine,
        )

    async def start(self, name, *, port=0, ready=True, **how):
        sock = socket.create_server(("127.0.0.1", port))
        chain = await self.open(name, sock=sock, **how)
        endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
        sn = Sn(chain, endpoint, asyncio.create_task(chain.run()))
        self.running.append(sn)
        if ready:
            await self.ready(sn)
        return sn

    async def ready(self, sn):
        waiting = asyncio.create_task(sn.chain.ready.wait())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait([waiting, sn.task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if sn.task.done():
            await sn.task

    async def stop(self, sn):
        self.running.remove(sn)
        await sn.stop()


@asynccontextmanager
async def swarm(folder: Path):
    """A swarm whose engines are all stopped at the end."""
    made = Swarm(folder)
    try:
        yield made
    finally:
        for sn in list(made.running):
            await made.stop(sn)
