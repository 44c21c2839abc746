"""Our transactions under way: each is told once the block with it is applied to the read model."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.common.errors import SwarmError
from services.sn.adapters.chain import Chain, Head, Sent, refusal_in
from services.sn.core import ledger

STALLED_AFTER = 3.0
"""Seconds without a block for one of our writes after which the chain counts as stalled."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    sent: Sent
    settled: asyncio.Future[ledger.Block]
    since: float
    """Time of the event loop."""


class Settling:
    """Who waits for which transaction.

    Args:
        chain: where to look.
        applied: number of the newest block that is applied; -1: none is.
    """

    def __init__(self, chain: Chain, applied: Callable[[], int]) -> None:
        self._chain = chain
        self._applied = applied
        self._waiting: dict[str, _Waiter] = {}

    @property
    def pending(self) -> int:
        """How many of our transactions are not in a block yet."""
        return len(self._waiting)

    def is_stalled(self) -> bool:
        """Whether no block takes writes here: none can, or none did for a while already."""
        now = asyncio.get_running_loop().time()
        return self._chain.is_cut_off() or any(
            now - waiter.since > STALLED_AFTER for waiter in self._waiting.values()
        )

    async def settled(self, sent: Sent) -> ledger.Block:
        """The block with this transaction, once that block is applied here.

        Raises:
            ProtocolError: the contract refused it.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(sent, loop.create_future(), loop.time())
        self._waiting[sent.hash] = waiter
        try:
            await self._look_up(waiter)  # it may have been sealed while we were being told its hash
            return await waiter.settled
        finally:
            del self._waiting[sent.hash]

    async def settle(self, head: Head, logged: set[str], *, everything: bool) -> None:
        """Tell those whose transactions are in the chain now.

        Args:
            head: the block just applied.
            logged: transactions with events in it: they succeeded, no receipt needed.
            everything: look for transactions in earlier blocks, too.
        """
        for waiter in list(self._waiting.values()):
            if waiter.sent.hash in logged:
                _answer(waiter, head)
            elif everything or waiter.sent.hash in head.transactions:
                await self._look_up(waiter)

    async def _look_up(self, waiter: _Waiter) -> None:
        receipt = await self._chain.receipt(waiter.sent.hash)
        if receipt is None:
            return
        number = int(receipt["blockNumber"], 16)
        if number > self._applied():
            return
        if int(receipt["status"], 16):
            block = await self._chain.block(number)
            if block is not None:
                _answer(waiter, block)
            return
        error = refusal_in(receipt) or await self._chain.reason(waiter.sent, number)
        _answer(waiter, error)


def _answer(waiter: _Waiter, outcome: ledger.Block | SwarmError) -> None:
    if waiter.settled.done():
        return
    if isinstance(outcome, SwarmError):
        waiter.settled.set_exception(outcome)
    else:
        waiter.settled.set_result(outcome)
