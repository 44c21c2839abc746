"""One account's transactions: numbers, signs and sends them, and sees that none gets lost.

An Ethereum client may forget what it took (it restarts, its pool is full), and other programs may
sign with the same key, so that two transactions want one number (nonce) and only one gets it. What
is under way is therefore sent again, the same bytes, while the client does not know it; and a
transaction whose number another one took for good is reported as lost, so that its call can be
sent anew. Nothing is ever sent under a new number before that.
"""

import asyncio
import logging
import random
import secrets
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from services.common.errors import ChainUnavailableError
from services.sn.adapters.engine import Engine
from services.sn.adapters.requests import RpcError, ask

log = logging.getLogger("swarm.chain")

GAS = 15_000_000
"""Gas allowed to each transaction; none of ours needs half of it, and it costs nothing."""
GAS_SPREAD = 1 << 16
"""Each process allows a little less, its own number: no two make the same transaction."""
RECHECK_S = 1.0
"""Seconds between two looks at what is under way."""
REFUSALS = 5
"""How often one number may be refused, while no other is free, until sending fails."""
PAUSE_S = 0.05
"""After the first of these; twice as long after each further one."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction on its way."""

    hash: str
    """64 hex digits."""
    to: str | None
    """None: it deploys a contract."""
    data: bytes
    nonce: int


class Outbox:
    """See the module.

    Args:
        engine: the chain, and the account that signs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._gas = GAS - secrets.randbelow(GAS_SPREAD)
        self._sending = asyncio.Lock()
        self._nonce: int | None = None
        self._under_way: dict[int, tuple[Sent, str]] = {}
        """By nonce; with the bytes to send again."""
        self._used = 0
        """Numbers below this one are taken for good."""
        self._checked = float("-inf")

    async def send(self, *transactions: tuple[str | None, bytes]) -> list[Sent]:
        """Sign and submit transactions, in order, with nonces that follow each other.

        While the engine does not answer they count as sent; :meth:`recheck` sends them again.

        Args:
            transactions: pairs of the contract's address (None deploys one) and the data.

        Raises:
            RpcError: the engine refuses one.
            ChainUnavailableError: it does not answer, and the next nonce is not known.
        """
        if self._engine.orderly:
            return await self._send_together(*transactions)
        async with self._sending:
            return [await self._send(to, data) for to, data in transactions]

    async def _send_together(self, *transactions: tuple[str | None, bytes]) -> list[Sent]:
        """Submit without waiting for each other's answer, so that many get into one block.

        Requests are served in the order in which they are made, so numbers arrive in order.
        """
        async with self._sending:
            asked = []
            for to, data in transactions:
                if self._nonce is None:
                    self._nonce = await self._count("pending")
                sent, raw = self.signed(to, data, self._nonce)
                self._under_way[self._nonce] = (sent, raw)
                self._nonce += 1
                asked.append((sent, asyncio.ensure_future(self._refusal(sent, raw))))
            await asyncio.sleep(0)  # the requests are on their way; the next ones go behind them
        return [
            sent if await refusal is None else await self._anew(sent) for sent, refusal in asked
        ]

    async def _anew(self, refused: Sent) -> Sent:
        async with self._sending:
            if self._under_way.get(refused.nonce, (None,))[0] is refused:
                del self._under_way[refused.nonce]
            self._nonce = None
            return await self._send(refused.to, refused.data)

    async def resynchronise(self) -> None:
        """Forget the local nonce: a transaction was lost or another one took its place."""
        async with self._sending:
            self._nonce = None

    async def recheck(self) -> None:
        """Send again what the engine no longer knows; at most once in ``RECHECK_S``.

        Raises:
            ChainUnavailableError: the engine does not answer.
        """
        async with self._sending:
            now = asyncio.get_running_loop().time()
            if now - self._checked < RECHECK_S:
                return
            self._checked = now
            self._used = await self._count(self._engine.final)
            self._forget_below(self._used)
            for _, (sent, raw) in sorted(self._under_way.items()):
                if await self._is_known(sent):
                    return
                await self._repeat(sent, raw)

    async def is_lost(self, sent: Sent) -> bool:
        """Whether another transaction took this one's number for good; as of the last recheck.

        Raises:
            ChainUnavailableError: the engine does not answer.
        """
        return sent.nonce < self._used and await self._request(
            "eth_getTransactionReceipt", f"0x{sent.hash}"
        ) is None  # fmt: skip

    def settled(self, sent: Sent) -> None:
        """This one is in the chain, or given up: it is not sent again, nor what goes before it."""
        self._forget_below(sent.nonce + 1)

    def _forget_below(self, nonce: int) -> None:
        for old in [number for number in self._under_way if number < nonce]:
            del self._under_way[old]

    async def _repeat(self, sent: Sent, raw: str) -> None:
        try:
            await self._request("eth_sendRawTransaction", raw)
            log.info("sent transaction %s again: the chain did not know it", sent.hash[:16])
        except RpcError as exc:
            log.debug("sending transaction %s again: %s", sent.hash[:16], exc)

    async def _send(self, to: str | None, data: bytes) -> Sent:
        refusals = 0
        while True:
            if self._nonce is None:
                self._nonce = await self._count("pending")
            nonce = self._nonce
            sent, raw = self.signed(to, data, nonce)
            refusal = await self._refusal(sent, raw)
            if refusal is None:
                self._under_way[nonce] = (sent, raw)
                self._nonce = nonce + 1
                return sent
            self._nonce = None
            again = await self._count("pending")
            if again == nonce:
                refusals += 1
                if refusals == REFUSALS:
                    raise refusal
                await asyncio.sleep(PAUSE_S * 2**refusals * random.uniform(0.5, 1))  # noqa: S311
            self._nonce = again

    async def _refusal(self, sent: Sent, raw: str) -> RpcError | None:
        """Submit a transaction; the engine's error, if it has not got it."""
        try:
            await self._request("eth_sendRawTransaction", raw)
        except RpcError as exc:
            return None if await self._is_known(sent) else exc
        except ChainUnavailableError as exc:
            log.debug("transaction %s may not have arrived: %s", sent.hash[:16], exc)
        return None

    def signed(self, to: str | None, data: bytes, nonce: int) -> tuple[Sent, str]:
        """A transaction and its bytes as ``0x`` hex."""
        raw = self._engine.account.signed(
            chain_id=self._engine.chain_id, nonce=nonce, gas=self._gas, to=to, data=data
        )
        return Sent(keccak(raw).hex(), to, data, nonce), f"0x{raw.hex()}"

    async def _is_known(self, sent: Sent) -> bool:
        return await self._request("eth_getTransactionByHash", f"0x{sent.hash}") is not None

    async def _count(self, tag: str) -> int:
        account = self._engine.account.address
        return int(await self._request("eth_getTransactionCount", account, tag), 16)

    async def _request(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        return await ask(self._engine.provider, method, *params)
