"""Keeps the read models up to date with the canonical chain and wakes who waits for a change.

One loop follows the head. A head that continues the chain we know brings its own logs; after a
reorganisation everything is folded again from the logs of the new canonical chain, beside the old
state, which readers keep seeing until the new one is complete. At a start, and then too, the fold
goes on from the latest snapshot, if its block is part of this chain.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from services.common import sn_api as api
from services.common import task_api
from services.common.errors import ChainUnavailableError, NotFoundError
from services.sn.adapters import abi
from services.sn.adapters.chain import Chain, Head, Sent
from services.sn.adapters.decoding import Decoder, Entry
from services.sn.adapters.settling import Settling
from services.sn.adapters.snapshots import NoSnapshots, Snapshots, restored
from services.sn.core import ledger, read_model, runner_views, views
from services.sn.core.read_model import ReadModel
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.tasks import Task
from services.sn.core.training import Training

log = logging.getLogger("swarm.projection")

BLOCKS_AT_A_TIME = 500
"""Blocks of a long history that are read and folded before the next ones are read."""
SAVE_EVERY = 20_000
"""Events after which the read model is saved: what a restart after a crash folds again at most."""
RETRY_SECONDS = 1.0
"""Pause after the chain did not answer."""


_View = TypeVar("_View", api.ContractView, task_api.TaskRunnerView)


class _Reorganised(Exception):  # noqa: N818 - never leaves this module
    """The chain changed while we read it."""


class Projection:
    """The read model of the canonical chain, and what waits for it.

    Args:
        chain: where to read.
        registry: address of the SwarmRegistry.
        nodes: address of the NodeRegistry.
        snapshots: where the read model is kept between two runs; None: nowhere.
    """

    def __init__(
        self, chain: Chain, registry: str, nodes: str, snapshots: Snapshots | None = None
    ) -> None:
        self._chain = chain
        self._snapshots = snapshots or NoSnapshots()
        self._unsaved = 0
        self._decoder = Decoder({registry: abi.REGISTRY, nodes: abi.NODES})
        self._settling = Settling(chain, self._applied)
        self._changed: dict[str, asyncio.Event] = {}
        self._runner_views: dict[str, tuple[str, int, task_api.TaskRunnerView]] = {}
        """By taskrunner: what was told last, of which cursor, after how many rebuilds."""
        self._advanced = asyncio.Event()
        self._closed = False
        self._seen_at = 0.0
        self.now = ReadModel()
        self.rebuilds = -1
        """How often a reorganisation made us fold everything again."""

    # --- reading

    def training(self, name: str) -> Training:
        """The training contract called ``name``.

        Raises:
            NotFoundError: there is none.
        """
        training = self.now.trainings.get(name)
        if training is None:
            raise NotFoundError(
                f"no training contract named {name!r}: create it with CREATE CONTRACT {name}, or "
                f"use one of {', '.join(sorted(self.now.trainings)) or 'none so far'}"
            )
        return training

    def state(self, name: str, after: str = "") -> api.ContractState:
        """A contract's view, its cursor, and the events since cursor ``after``.

        Raises:
            NotFoundError: there is no such contract.
        """
        training, nodes = self.training(name), self.now.nodes
        age = None if training.elected is None else max(0.0, self.chain_now() - training.elected)
        view = views.view_of(training, nodes, age)
        return api.ContractState(
            cursor=views.cursor_of(training, nodes), view=self._of_chain(view),
            events=training.events_after(after),
        )  # fmt: skip

    async def watch(self, name: str, after: str, wait: float) -> api.ContractState:
        """The state as soon as its cursor is another than ``after``, at the latest in ``wait`` s.

        Raises:
            NotFoundError: there is no such contract.
        """
        await self._changes(name, self._cursor, after, wait)
        return self.state(name, after)

    def task(self, name: str) -> Task:
        """The task called ``name``.

        Raises:
            NotFoundError: there is none.
        """
        task = self.now.tasks.get(name)
        if task is None:
            raise NotFoundError(f"no task named {name!r}: LIST TASKS tells which there are")
        return task

    def runner(self, name: str) -> TaskRunner:
        """The taskrunner called ``name``.

        Raises:
            NotFoundError: there is none.
        """
        runner = self.now.runners.get(name)
        if runner is None:
            raise NotFoundError(
                f"no taskrunner named {name!r}: create it with CREATE TASKRUNNER {name}, or use "
                f"one of {', '.join(sorted(self.now.runners)) or 'none so far'}"
            )
        return runner

    def runner_state(self, name: str) -> task_api.TaskRunnerState:
        """A taskrunner's view and its cursor.

        Raises:
            NotFoundError: there is no such taskrunner.
        """
        runner, nodes = self.runner(name), self.now.nodes
        cursor = runner_views.cursor_of(runner, nodes)
        known = self._runner_views.get(name)
        if known is None or known[:2] != (cursor, self.rebuilds):
            # made once for all that watch: with 64 SWOPs it takes longer than the answer itself
            known = (cursor, self.rebuilds, runner_views.view_of(runner, nodes))
            self._runner_views[name] = known
        return task_api.TaskRunnerState(cursor=cursor, view=self._of_chain(known[2]))

    async def watch_runner(self, name: str, after: str, wait: float) -> task_api.TaskRunnerState:
        """As :meth:`watch`, of a taskrunner.

        Raises:
            NotFoundError: there is no such taskrunner.
        """
        await self._changes(name, self._runner_cursor, after, wait)
        return self.runner_state(name)

    async def _changes(
        self, name: str, cursor: Callable[[str], str], after: str, wait: float
    ) -> None:
        """Return once the cursor is another than ``after``, at the latest in ``wait`` s."""
        try:
            async with asyncio.timeout(wait):
                while not self._closed and cursor(name) == after:
                    await self._changed.setdefault(name, asyncio.Event()).wait()
        except TimeoutError:
            pass

    def _of_chain(self, view: _View) -> _View:
        """The view; it waits first of all for the chain, where that takes no writes."""
        if not (view.waiting_for and self.is_stalled()):
            return view
        words = f"waiting for the chain ({self._chain.status()}), then {view.waiting_for}"
        return view.model_copy(update={"waiting_for": words})

    def chain_now(self) -> float:
        """Present chain time in seconds: the head's, and how long we have known it.

        Never compares this machine's clock with another's.
        """
        head = self.now.head
        return (head.time if head else 0) + self.head_age()

    def head_age(self) -> float:
        """Seconds since the head last changed, or since we began to follow it."""
        return asyncio.get_running_loop().time() - self._seen_at

    async def until(self, condition: Callable[[ReadModel], bool]) -> None:
        """Return once ``condition`` holds for the read model."""
        while not condition(self.now):
            await self._advanced.wait()

    def _applied(self) -> int:
        return self.now.head.number if self.now.head else -1

    def _cursor(self, name: str) -> str:
        return views.cursor_of(self.training(name), self.now.nodes)

    def _runner_cursor(self, name: str) -> str:
        return runner_views.cursor_of(self.runner(name), self.now.nodes)

    # --- writes under way

    @property
    def pending(self) -> int:
        """How many of our transactions are not in a block yet."""
        return self._settling.pending

    def is_stalled(self) -> bool:
        """Whether no block takes writes here: none can, or none did for a while already."""
        return self._settling.is_stalled()

    async def settled(self, sent: Sent) -> ledger.Block:
        """The block with this transaction, once that block is applied here.

        Raises:
            ProtocolError: the contract refused it.
        """
        return await self._settling.settled(sent)

    # --- following

    def close(self) -> None:
        """Answer all long polls now: the SN stops."""
        self._closed = True
        self._wake(set(self._changed))

    async def follow(self) -> None:
        """Follow the chain until cancelled; then save what is known."""
        try:
            while True:
                try:
                    head = await self._chain.head()
                    await self._advance(head)
                    await self._chain.wait_for_head(head.hash)
                except _Reorganised:
                    continue
                except ChainUnavailableError as exc:
                    log.warning("cannot follow the chain: %s", exc)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._unsaved and self.now.head is not None:
                self._snapshots.save(read_model.save(self.now))

    async def _advance(self, head: Head) -> None:
        model, known = self.now, self.now.head
        if known is not None and known.hash == head.hash:
            await self._settling.settle(head, set(), everything=True)
            return
        if known is None or not await self._continues(known, head):
            model = await self._saved(head) or ReadModel()
            self.rebuilds += 1
        logged = await self._fold(model, head)
        self._seen_at = asyncio.get_running_loop().time()
        with self._waking():
            self.now = model
        one_more = known is not None and known.hash == head.parent
        await self._settling.settle(head, logged, everything=not one_more)

    async def _saved(self, head: Head) -> ReadModel | None:
        """The read model of the latest snapshot, where ``head`` continues its block."""
        text = await asyncio.to_thread(self._snapshots.load)
        model = restored(text) if text is not None else None
        if model is None or model.head is None:
            return None
        block = await self._chain.block(model.head.number)
        if block is None or block.hash != model.head.hash or block.number > head.number:
            log.info("the saved read model is of another chain: reading the whole history")
            return None
        log.info("going on from block %d, of %d", block.number, head.number)
        model.head = block
        return model

    async def _fold(self, model: ReadModel, head: Head) -> set[str]:
        """Apply the blocks up to ``head`` that ``model`` does not know, some at a time.

        Returns:
            The transactions with events in the last of them.
        """
        logged: set[str] = set()
        while model.head is None or model.head.hash != head.hash:
            first = model.head.number + 1 if model.head else 0
            last = await self._end_of_piece(first, head)
            entries = await self._read(model, first, last, head)
            with self._waking():
                for event, entry, block in entries:
                    model.apply(event, entry.address, block)
                model.head = last
            logged = {entry.transaction for _, entry, _ in entries}
            await self._save_now_and_then(model, len(entries))
        return logged

    async def _end_of_piece(self, first: int, head: Head) -> Head:
        number = first + BLOCKS_AT_A_TIME - 1
        if number >= head.number:
            return head
        block = await self._chain.block(number)
        if block is None:
            raise _Reorganised
        return block

    async def _save_now_and_then(self, model: ReadModel, events: int) -> None:
        self._unsaved += events
        if self._unsaved >= SAVE_EVERY:
            self._unsaved = 0
            await asyncio.to_thread(self._snapshots.save, read_model.save(model))

    async def _continues(self, known: ledger.Block, head: Head) -> bool:
        if head.parent == known.hash:
            return True
        still = await self._chain.block(known.number) if head.number > known.number else None
        return still is not None and still.hash == known.hash

    async def _read(self, model: ReadModel, first: int, last: Head, head: Head) -> list[Entry]:
        """The events of blocks ``first`` to ``last``, decoded.

        Raises:
            _Reorganised: ``head``, which continues ``last``, is no longer canonical.
        """
        if first == head.number:
            logs = await self._chain.logs_of(head.hash)
            return await self._decoder.entries(model.directory.contracts, logs, {head.number: head})
        logs = await self._chain.logs(first, last.number)
        blocks = await self._chain.blocks_of(logs)
        still = await self._chain.block(head.number)
        if blocks is None or still is None or still.hash != head.hash:
            raise _Reorganised
        return await self._decoder.entries(model.directory.contracts, logs, blocks)

    def _cursors(self) -> dict[str, str]:
        """By name, which no two contracts share."""
        found = {name: self._cursor(name) for name in self.now.trainings}
        return found | {name: self._runner_cursor(name) for name in self.now.runners}

    @contextmanager
    def _waking(self) -> Iterator[None]:
        """Wake those whose contract is another one after what is done inside."""
        before = self._cursors()
        yield
        after = self._cursors()
        self._wake({n for n in before.keys() | after.keys() if after.get(n) != before.get(n)})

    def _wake(self, names: set[str]) -> None:
        for name in names:
            self._changed.pop(name, asyncio.Event()).set()
        self._advanced.set()
        self._advanced = asyncio.Event()
