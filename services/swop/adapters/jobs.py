"""The work of runs: begin it, break it off, clear up after it."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from services.common.errors import SwarmError
from services.common.ids import NodeId
from services.common.task_definition import TaskDefinition
from services.swop.adapters.pair_shell import save_logs
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
        except (SwarmError, OSError) as exc:
            log.warning("task %s is not executed: %s", command.task, exc)
            for peer in command.peers:
                self._tell(command, peer, Outcome.error(str(exc)))
            return
        async with asyncio.TaskGroup() as group:
            for peer in command.peers:
                group.create_task(self._one(command, peer, definition, image))

    async def _one(
        self, command: ev.Start, peer: ev.Peer, definition: TaskDefinition, image: str
    ) -> None:
        try:
            outcome = await self._working.outcome(command, peer, definition, image)
        except (SwarmError, OSError) as exc:
            log.warning("task %s failed: %s", command.task, exc)
            outcome = Outcome.error(str(exc))
        self._tell(command, peer, outcome)

    def _tell(self, command: ev.Start, peer: ev.Peer, outcome: Outcome) -> None:
        said = f": {outcome.description}" if outcome.description else ""
        log.info("peer %.8s of task %s is %s%s", peer.uid, command.task, outcome.state, said)
        self._ended(ev.PeerEnded(command.run, peer.uid, outcome))

    # --- the end

    async def clear(self, run: int, peer: NodeId) -> None:
        """Remove the containers of a peer that ended."""
        await self._remove(await self._engine.find(self._tools.labels(run, peer)))

    async def drop(self, run: int, grace: float) -> None:
        """Break off the work of a run; ML programs have some seconds to end by themselves."""
        tasks = self._running.pop(run, set())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        found = await self._engine.find(self._tools.labels(run))
        programs = [each for each in found if each.labels.get(LABEL_ROLE) == Role.ML]
        alive = [each for each in programs if each.state is ContainerState.RUNNING]
        if alive:
            log.info("%d ML programs run still: %g s to end by themselves", len(alive), grace)
            await asyncio.gather(*(self._ends(each, grace) for each in alive))
        await self._remove(found)

    async def sweep(self, keep: int) -> None:
        """Remove what a SWOP before us left of other runs than this."""
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

    async def _remove(self, found: Sequence[Found]) -> None:
        """Stop what runs, keep all logs, remove all."""
        running = [each.id for each in found if each.state is ContainerState.RUNNING]
        await asyncio.gather(*(self._engine.stop(each, STOP_SECONDS) for each in running))
        names = {each.id: each.name for each in found}
        await save_logs(self._engine, names, self._tools.usr_dir / "logs")
        if not self._tools.keep_containers:
            for each in found:
                await self._engine.remove(each.id)
