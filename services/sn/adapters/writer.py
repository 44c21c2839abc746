"""Writes to the contracts: many at a time, each answered once its effect can be read here."""

import asyncio
from collections.abc import Sequence

from services.common.errors import ChainUnavailableError
from services.sn.adapters.chain import Call, Chain, Sent
from services.sn.adapters.projection import Projection

PATIENCE = 20.0
"""Seconds until a write that no block takes is given up; less than an SN client waits for us."""


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

    async def write(self, *calls: Call) -> None:
        """Make the calls, in order, and wait until they are applied to the read model.

        Raises:
            ProtocolError: a contract refused one.
            ChainUnavailableError: no block took them in time.
        """
        started = asyncio.get_running_loop().time()
        sent = await self.chain.send(*((call.at, call.data()) for call in calls))
        await self._settle(sent, started)

    async def deploy(self, *creations: bytes) -> None:
        """Deploy contracts, in order; errors as in :meth:`write`."""
        started = asyncio.get_running_loop().time()
        sent = await self.chain.send(*((None, creation) for creation in creations))
        await self._settle(sent, started)

    async def deploy_and_name(
        self, contract: str, args: Sequence[object], registry: str, name: str, kind: int
    ) -> None:
        """Deploy a contract and name it; errors as in :meth:`write`."""
        started = asyncio.get_running_loop().time()
        sent = await self.chain.deploy_and_name(contract, args, registry, name, kind)
        await self._settle(sent, started)

    async def tell(self, call: Call) -> None:
        """Make a call whose outcome nobody waits for.

        Raises:
            ChainUnavailableError: it could not even be sent.
        """
        await self.chain.send((call.at, call.data()))

    async def _settle(self, sent: list[Sent], started: float) -> None:
        try:
            async with asyncio.timeout(self._patience):
                outcomes = await asyncio.gather(
                    *(self._projection.settled(item) for item in sent), return_exceptions=True
                )
        except TimeoutError as exc:
            await self.chain.resynchronise()
            raise ChainUnavailableError(
                f"no block took the write in {self._patience:.0f} s: the SNs that seal blocks are "
                "not in contact, or overloaded. The write may still happen; repeating it is safe"
            ) from exc
        self.confirmed += len(sent)
        self.seconds += (asyncio.get_running_loop().time() - started) * len(sent)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
