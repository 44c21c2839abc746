"""What a node of the chain works with: the thread that touches the chain, and the other SNs."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from services.sn.adapters.evm_outcome import Proposal
from services.sn.adapters.evm_votes import Vote

T = TypeVar("T")


class Gossip(Protocol):
    """Tells the other SNs; must not block."""

    def transactions(self, raws: list[bytes]) -> None:
        """Pass transactions on."""

    def proposal(self, proposal: Proposal) -> None:
        """Propose a block."""

    def votes(self, votes: Sequence[Vote]) -> None:
        """Pass votes on."""

    def prepare(self, number: int, ballot: int) -> None:
        """Ask for promises."""


class ChainThread:
    """The one thread that touches the chain."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="chain")

    async def __call__(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` there; calls run one after another in the order of arrival."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def stop(self) -> None:
        """End the thread after the work that it has."""
        self._executor.shutdown(wait=False)
