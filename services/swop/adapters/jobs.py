"""The work of runs: begin it, break it off, clear up after it."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from services.common.errors import SwarmError
from services.common.ids import NodeId
from services.common.task_definition import TaskDefinition
from services.swop.adapters import content
from services.swop.adapters.kept_logs import remove_old, save_logs
from services.swop.adapters.threads import in_thread
from services.swop.adapters.work import Tools, Work
from services.swop.core import events as ev
from services.swop.core.engine import (
    LABEL_ROLE,
    LABEL_RUN,
    LABEL_SWOP,
    ContainerState,
    Found,
    Role,
)
from services.swop.core.outcome import Outcome
from services.swop.core.plan import prefix_of

log = logging.getLogger("swarm.swop")

STOP_SECONDS = 10.0
"""How long a container that is told to end may take."""


class Jobs:
    """Runs the work of one run at a time, each peer as a task of a group.

    Args:
        tools: shared.
        group: owns the tasks.
        ended: is told how a peer ended.
    """

    def __init__(
        self, tools: Tools, group: asyncio.TaskGroup, ended: Callable[[ev.PeerEnded], None]
    ) -> None:
        self._tools, self._group, self._ended = tools, group, ended
        self._engine, self._working = tools.engine, Work(tools)
        self._running: dict[int, set[asyncio.Task[None]]] = {}

    def start(self, command: ev.Start) -> None:
        """Begin the work of some peers; each one's end is told."""
        tasks = self._running.setdefault(command.run, set())
        task = self._group.create_task(self._work(command))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _work(self, command: ev.Start) -> None:
        try:
            definition, image = await self._tools.task(command.task)
            self._working.check(definition)
        except Exception as exc:  # noqa: BLE001 - one task must not end the SWOP, again and again
            outcome = _failure(command.task, exc)
            for peer in command.peers:
                self._tell(command, peer, outcome)
            return
        async with asyncio.TaskGroup() as group:
            for peer in command.peers:
                group.create_task(self._one(command, peer, definition, image))

    async def _one(
        self, command: ev.Start, peer: ev.Peer, definition: TaskDefinition, image: str
    ) -> None:
        try:
            outcome = await self._working.outcome(command, peer, definition, image)
        except Exception as exc:  # noqa: BLE001 - as above
            outcome = _failure(command.task, exc)
        self._tell(command, peer, outcome)

    def _tell(self, command: ev.Start, peer: ev.Peer, outcome: Outcome) -> None:
        said = f": {outcome.description}" if outcome.description else ""
        log.info("peer %.8s of task %s is %s%s", peer.uid, command.task, outcome.state, said)
        self._ended(ev.PeerEnded(command.run, peer.uid, outcome))

    # --- the end

    async def clear(self, run: int, peer: NodeId) -> None:
        """Remove the containers of a peer that ended."""
        await self._remove(await self._engine.find(self._tools.labels(run, peer)))

    async def drop(self, run: int, grace: float, patience: float = STOP_SECONDS) -> None:
        """Break off the work of a run and remove it.

        Args:
            run: which one.
            grace: seconds that ML programs have to end by themselves.
            patience: seconds that a container has after it was told to end.
        """
        tasks = self._running.pop(run, set())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        found = await self._engine.find(self._tools.labels(run))
        programs = [each for each in found if each.labels.get(LABEL_ROLE) == Role.ML]
        alive = [each for each in programs if each.state is ContainerState.RUNNING]
        if alive and grace:
            log.info("%d ML programs run still: %g s to end by themselves", len(alive), grace)
            await asyncio.gather(*(self._ends(each, grace) for each in alive))
        await self._remove(found, patience)

    async def sweep(self, keep: int) -> None:
        """Remove what a SWOP before us left of other runs than this; nothing works yet."""
        await in_thread(lambda: content.remove(self._tools.scratch))
        found = await self._engine.find({LABEL_SWOP: self._tools.around.swop})
        label = self._tools.label(keep)
        old = [each for each in found if each.labels.get(LABEL_RUN) != label]
        if self._tools.keep_containers:
            old = [each for each in old if each.state is ContainerState.RUNNING]
        if old:
            log.warning("removing %d containers that were left of an earlier run", len(old))
        await self._remove(old)

    async def _ends(self, container: Found, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._engine.wait(container.id)
        except TimeoutError:
            log.warning(
                "%s did not end by itself within %g s: stopping it", container.name, seconds
            )

    async def _remove(self, found: Sequence[Found], patience: float = STOP_SECONDS) -> None:
        """Stop what runs, keep all logs, remove all."""
        running = [each.id for each in found if each.state is ContainerState.RUNNING]
        await asyncio.gather(*(self._engine.stop(each, patience) for each in running))
        await self._save_logs(found)
        if not self._tools.keep_containers:
            for each in found:
                await self._engine.remove(each.id)

    async def _save_logs(self, found: Sequence[Found]) -> None:
        folder = self._tools.usr_dir / "logs"
        await save_logs(self._engine, {each.id: each.name for each in found}, folder)
        prefix = prefix_of(self._tools.profile)
        if removed := await in_thread(lambda: remove_old(folder, prefix)):
            log.info("removed the %d oldest logs in %s", removed, folder)


def _failure(task: str, error: Exception) -> Outcome:
    """What the ledger gets of a failure; the log gets all of it."""
    if isinstance(error, SwarmError | OSError):
        log.warning("task %s failed: %s", task, error)
        return Outcome.error(str(error))
    log.error("task %s failed: this is a bug of SWOP", task, exc_info=error)
    return Outcome.error(f"SWOP failed, see its log: {type(error).__name__}: {error}")
