"""Published rounds by page: the latest out of memory, earlier ones read again from the chain."""

import asyncio

from services.common import sn_api as api
from services.common.errors import ChainUnavailableError, NotFoundError
from services.sn.adapters import abi
from services.sn.adapters.chain import Chain
from services.sn.core import ledger, rounds
from services.sn.core.perfs import perf_records
from services.sn.core.training import Training

BLOCKS_AT_A_TIME = 500
"""Blocks whose events are read at once, so that nobody waits long behind a reader of history."""
AT_ONCE = 2
"""Pages read from the chain at a time; further readers wait for their turn."""

Found = list[tuple[ledger.TrainingEvent, ledger.Block]]


class RoundHistory:
    """Reads the ledger's rounds.

    Args:
        chain: where they are.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def page(
        self, training: Training, generation: int, after: int, limit: int
    ) -> api.RoundsPage:
        """At most ``limit`` published rounds after round ``after``, oldest first.

        Args:
            training: the contract.
            generation: of the rounds; 0: the present one.
            after: number of a round; 0: from the first on.
            limit: most rounds of the page.

        Raises:
            NotFoundError: that generation has not begun.
            ChainUnavailableError: the chain cannot be read now.
        """
        generation = _begun(training, generation)
        history, total = training.history, training.history.published(generation)
        last = min(after + limit, total)
        records = history.in_memory(generation, after + 1, last)
        if records is None:
            async with self._turn:
                blocks = history.chapters[generation].blocks(after + 1, last)
                found = await self._events(training.address, *blocks)
            records = rounds.records(found, generation, after + 1, last)
            if [record.round for record in records] != list(range(after + 1, last + 1)):
                raise ChainUnavailableError("the chain changed while it was read: ask again")
        return api.RoundsPage(
            generation=generation, total=total, rounds=records,
            more_after=last if last < total else None,
        )  # fmt: skip

    async def perf_page(
        self, training: Training, generation: int, after: int, limit: int
    ) -> api.PerfPage:
        """What peers measured of at most ``limit`` merged models after round ``after``.

        Arguments and errors as for :meth:`page`.
        """
        generation = _begun(training, generation)
        total = training.history.published(generation)
        last = min(after + limit, total)
        known: list[api.PerfRecord] = []
        if generation == training.generation:
            known = [r for r in training.perfs.in_memory(after + 1) if r.round <= last]
        missing = (known[0].round if known else last + 1) - 1
        if after < missing:
            async with self._turn:
                chapter = training.history.chapters[generation]
                found = await self._events(
                    training.address, *chapter.blocks_after(after + 1, missing)
                )
            events = [event for event, _ in found]
            known = [*perf_records(events, generation, after + 1, missing), *known]
            if [record.round for record in known] != list(range(after + 1, last + 1)):
                raise ChainUnavailableError("the chain changed while it was read: ask again")
        return api.PerfPage(
            generation=generation, total=total, rounds=known,
            more_after=last if last < total else None,
        )  # fmt: skip

    async def _events(self, address: str, first: int, last: int) -> Found:
        found: Found = []
        for start in range(first, last + 1, BLOCKS_AT_A_TIME):
            end = min(last, start + BLOCKS_AT_A_TIME - 1)
            logs = await self._chain.logs(start, end, address)
            blocks = await self._chain.blocks_of(logs)
            if blocks is None:
                raise ChainUnavailableError("the chain changed while it was read: ask again")
            for entry in logs:
                event = abi.abi(abi.TRAINING).event(entry.topics, entry.data)
                if isinstance(event, ledger.TrainingEvent):
                    found.append((event, blocks[entry.block]))
        return found


def _begun(training: Training, generation: int) -> int:
    """The generation asked for; 0 stands for the present one.

    Raises:
        NotFoundError: it has not begun.
    """
    if generation > training.generation:
        raise NotFoundError(
            f"generation {generation} of {training.name} has not begun: it is in generation "
            f"{training.generation}"
        )
    return generation or training.generation
