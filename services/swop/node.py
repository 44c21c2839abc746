"""A SWOP that is set up: registered, alive, listening to its taskrunner, then goodbye."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from services.common import logs
from services.common import sn_api as api
from services.common import task_api as tasks_api
from services.common.errors import NotFoundError, RemoteError, SwarmError
from services.common.ids import NodeId
from services.common.presence import Presence
from services.common.process import until_cancelled
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from services.swop.adapters.executor import Executor
from services.swop.adapters.jobs import Jobs
from services.swop.adapters.work import Tools
from services.swop.core import events as ev
from services.swop.core.agent import Agent, Job
from services.swop.core.outcome import Outcome

log = logging.getLogger("swarm.swop")

WATCH_SECONDS = 30.0
"""Length of one long poll."""
AWAY_SECONDS = 2.0
"""Pause before an SN that does not know the taskrunner is asked again."""
GOODBYE_SECONDS = 2.0
STOP_SECONDS = 6.0
"""How long a SWOP that takes its containers with it may need for that; with the goodbye, and with
giving its licence back, it stays below the 10 s after which `docker stop` kills it."""
CONTAINER_SECONDS = 2.0
"""How long one of these containers may take to end by itself."""
STOPPED = "SWOP was stopped"


class Node:
    """A SWOP whose parts are all there.

    Args:
        tools: what its work needs.
        sn: state API.
        me: as LIST NODES shows it.
        on_stop: ``keep`` or ``stop``: what happens to running containers when we are told to end.
    """

    def __init__(self, tools: Tools, sn: SnClient, me: api.NodeRegistration, on_stop: str) -> None:
        self.uid: NodeId = tools.around.swop
        self._tools, self._sn, self._tasks = tools, sn, TaskClient(sn)
        self._on_stop = on_stop
        self._agent = Agent(self.uid, len(tools.profile.nodes), lambda: NodeId(uuid4().hex))
        self._jobs: Jobs | None = None
        self._presence = Presence(sn, self.uid, me, log, endures=True)
        self._events: asyncio.Queue[ev.Event] = asyncio.Queue()

    async def live(self) -> None:
        """Register and work until cancelled; the work goes on or ends as SWOP_ON_STOP says."""
        logs.bind(node=self.uid[:8])
        await self._presence.register()
        self._sn.patience = float("inf")
        try:
            async with asyncio.TaskGroup() as group:
                self._jobs = Jobs(self._tools, group, self._events.put_nowait)
                executor = Executor(
                    self._tools.runner, self.uid, self._tasks, self._jobs, self._events.put_nowait,
                    self._presence.register_again, group, self._tools.grace,
                )  # fmt: skip
                group.create_task(self._presence.heartbeats())
                group.create_task(self._watch())
                await self._decide(executor.start)
        finally:
            self._sn.patience = 0.0
            if self._on_stop == "stop":
                await until_cancelled(self._take_everything_down, STOP_SECONDS)
            await until_cancelled(self._say_goodbye, GOODBYE_SECONDS)

    async def _decide(self, start: Callable[[ev.Command], None]) -> None:
        while True:
            had = self._agent.job
            for command in self._agent.handle(await self._events.get()):
                start(command)
            if self._agent.job is not had:
                self._tell(self._agent.job or had)

    def _tell(self, job: Job | None) -> None:
        if job is not None:
            now = self._agent.job
            log.info("SWOPExecutor: Total Tasks: %d , Current Task : %s , opId : %s%s", job.run,
                     now.task if now else None, now.run if now else None,
                     "" if now else " Done")  # fmt: skip
            logs.bind(run=f"run {job.run}" if now else "")

    # --- the SN

    async def _watch(self) -> None:
        cursor = ""
        while True:
            try:
                state = await self._tasks.watch(self._tools.runner, cursor, WATCH_SECONDS)
            except NotFoundError:
                log.warning("there is no taskrunner %s yet: asking again", self._tools.runner)
                await asyncio.sleep(AWAY_SECONDS)
                continue
            except RemoteError as exc:
                log.warning("cannot see taskrunner %s: %s. Trying again", self._tools.runner, exc)
                await asyncio.sleep(AWAY_SECONDS)
                continue
            cursor = state.cursor
            self._events.put_nowait(ev.RunnerSeen(state.view, cursor))

    # --- the end

    async def _take_everything_down(self) -> None:
        job = self._agent.job
        if job is None or self._jobs is None:
            return
        await self._jobs.drop(job.run, 0.0, CONTAINER_SECONDS)
        late = [peer for peer in job.peers if job.enrolled and peer not in job.reported]
        await asyncio.gather(*(self._report(job, peer) for peer in late))

    async def _report(self, job: Job, peer: NodeId) -> None:
        said = job.outcomes.get(peer, Outcome.error(STOPPED))
        body = tasks_api.PeerReport(
            run=job.run, peer=peer, state=said.state, description=said.description
        )
        with suppress(SwarmError):
            await self._tasks.swop(self._tools.runner, self.uid, "report", body)

    async def _say_goodbye(self) -> None:
        job = self._agent.job
        working = job is not None and any(peer not in job.reported for peer in job.peers)
        if working and self._on_stop == "keep":
            log.info("leaving containers of task %s to a SWOP that is started again within the "
                     "SN's patience", job.task if job else "")  # fmt: skip
            return
        body = tasks_api.Quit(reason="stopped")
        await self._tasks.swop(self._tools.runner, self.uid, "quit", body)
        await self._sn.leave_network(self.uid, "stopped")
