"""Writes to the contracts: many at a time, each answered once its effect can be read here."""

import asyncio
import contextlib
from collections.abc import Sequence

from services.common.errors import ChainUnavailableError
from services.sn.adapters import abi
from services.sn.adapters.chain import Call, Chain, Sent
from services.sn.adapters.outbox import RECHECK_S
from services.sn.adapters.projection import Projection
from services.sn.adapters.requests import RpcError
from services.sn.adapters.site import deployed_at

PATIENCE = 20.0
"""Seconds until a write that no block takes is given up; less than an SN client waits for us."""
CUT_OFF_PATIENCE = 3.0
"""The same where no block can come: the SN is cut off, and its client may know another one."""
RETRY_S = 0.5
"""Pause while the chain does not even take a write."""

Transaction = tuple[str | None, bytes]


class Writer:
    """Sends calls and waits for their blocks.

    Sending is one after another, waiting is not: writes of many peers share a block.

    Args:
        chain: where to send.
        projection: says when a block with the write is applied.
        patience: seconds to wait for that block.
    """

    def __init__(self, chain: Chain, projection: Projection, patience: float = PATIENCE) -> None:
        self.chain = chain
        self._projection = projection
        self._patience = patience
        self.confirmed = 0
        """Transactions that got into a block, refused ones included."""
        self.seconds = 0.0
        """From sending to reading, summed over :attr:`confirmed`."""

    async def write(self, call: Call) -> None:
        """Make the call and wait until it is applied to the read model.

        Raises:
            ProtocolError: the contract refused it.
            ChainUnavailableError: no block took it in time.
        """
        await self._settle((call.at, call.data()))

    async def deploy(self, *creations: bytes) -> list[str]:
        """Deploy contracts; errors as in :meth:`write`.

        Returns:
            Their addresses.
        """
        sent = await self._settle(*((None, creation) for creation in creations))
        return [deployed_at(self.chain.account, item.nonce) for item in sent]

    async def deploy_and_name(
        self, contract: str, args: Sequence[object], registry: str, name: str, kind: int
    ) -> None:
        """Deploy a contract and name it; errors as in :meth:`write`.

        Names are for ever, so nothing is named before it is there: with another number its
        transaction would have made another address.
        """
        (at,) = await self.deploy(abi.abi(contract).creation(*args))
        await self.write(Call(abi.REGISTRY, registry, "register", (name, kind, at)))

    async def tell(self, call: Call) -> None:
        """Make a call whose outcome nobody waits for.

        Raises:
            ChainUnavailableError: it could not even be sent.
        """
        await self.chain.outbox.send((call.at, call.data()))

    async def _settle(self, *transactions: Transaction) -> list[Sent]:
        started = asyncio.get_running_loop().time()
        patience = self._patience
        if self.chain.is_cut_off():
            patience = min(patience, CUT_OFF_PATIENCE)
        try:
            async with asyncio.timeout(patience):
                sent = await self._send(*transactions)
                outcomes = await asyncio.gather(
                    *(self._settled(item) for item in sent), return_exceptions=True
                )
        except TimeoutError as exc:
            await self.chain.outbox.resynchronise()
            raise ChainUnavailableError(
                f"no block took the write in {patience:.0f} s ({self.chain.status()}): the "
                "nodes that seal blocks are not in contact, or overloaded. The write may still "
                "happen; repeating it is safe"
            ) from exc
        self.confirmed += len(sent)
        self.seconds += (asyncio.get_running_loop().time() - started) * len(sent)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Sent)]

    async def _send(self, *transactions: Transaction) -> list[Sent]:
        while True:
            try:
                return await self.chain.outbox.send(*transactions)
            except RpcError:
                raise
            except ChainUnavailableError:
                await asyncio.sleep(RETRY_S)

    async def _settled(self, sent: Sent) -> Sent:
        """Wait for the block, sending anew what lost its number to another transaction.

        Returns:
            What is in the block.
        """
        try:
            while not await self._is_in(sent):
                self.chain.outbox.settled(sent)
                (sent,) = await self._send((sent.to, sent.data))
            return sent
        finally:
            self.chain.outbox.settled(sent)

    async def _is_in(self, sent: Sent) -> bool:
        """Wait for the block; False: another transaction took its number for good."""
        while True:
            waiting = asyncio.ensure_future(self._projection.settled(sent))
            try:
                while not (await asyncio.wait({waiting}, timeout=RECHECK_S))[0]:
                    if await self._is_lost(sent):
                        return False
                await waiting
            except ChainUnavailableError:  # it could not be looked up
                await asyncio.sleep(RETRY_S)
            else:
                return True
            finally:
                waiting.cancel()

    async def _is_lost(self, sent: Sent) -> bool:
        with contextlib.suppress(ChainUnavailableError):
            await self.chain.outbox.recheck()
            return await self.chain.outbox.is_lost(sent)
        return False
