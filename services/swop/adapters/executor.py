"""Carries out what the agent asks for, and tells it when that is done or refused."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import assert_never

from services.common import task_api as api
from services.common.errors import NotFoundError, ProtocolError, RemoteError
from services.common.ids import NodeId
from services.common.task_client import TaskClient
from services.swop.adapters.jobs import Jobs
from services.swop.core import events as ev
from services.swop.core.engine import EngineError

log = logging.getLogger("swarm.swop")

PAUSE_SECONDS = 2.0
"""Between two tries of something that may work later."""
LONGEST_PAUSE = 30.0
"""What an SN refuses again and again stays on the ledger each time: so ever more seldom."""
ENGINE_TRIES = 5
"""How often removing containers is tried before they are left to the next start."""


class Executor:
    """Runs each command as a task of ``group``.

    Args:
        runner: name of the taskrunner.
        me: the SWOP's uid.
        tasks: the ledger.
        jobs: the work.
        emit: takes the events.
        register: registers this node with the SN once more.
        group: owns the tasks.
        grace: seconds that ML programs have after a reset.
    """

    def __init__(
        self, runner: str, me: NodeId, tasks: TaskClient, jobs: Jobs,
        emit: Callable[[ev.Event], None], register: Callable[[], Awaitable[None]],
        group: asyncio.TaskGroup, grace: float,
    ) -> None:  # fmt: skip
        self._runner, self._me, self._tasks, self._jobs = runner, me, tasks, jobs
        self._emit, self._register, self._group, self._grace = emit, register, group, grace

    def start(self, command: ev.Command) -> None:
        """Begin; the outcome is emitted."""
        log.debug("command %s", command)
        self._group.create_task(self._run(command))

    async def _run(self, command: ev.Command) -> None:
        match command:
            case ev.Start():
                self._jobs.start(command)
                self._emit(ev.Done(command))
            case ev.Clear() | ev.Drop() | ev.Sweep():
                await self._engine(command)
            case ev.Listen() | ev.Enrol() | ev.Report():
                await self._write(command)
            case _:
                assert_never(command)

    # --- the engine

    async def _engine(self, command: ev.Clear | ev.Drop | ev.Sweep) -> None:
        """What cannot be removed is tried again, then left: the next task matters more."""
        for _ in range(ENGINE_TRIES):
            try:
                await self._remove(command)
            except (EngineError, OSError) as exc:
                log.warning("%s is not done: %s", type(command).__name__, exc)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                break
        self._emit(ev.Done(command))

    async def _remove(self, command: ev.Clear | ev.Drop | ev.Sweep) -> None:
        match command:
            case ev.Clear(run, peer):
                await self._jobs.clear(run, peer)
            case ev.Drop(run):
                log.info("run %d was reset: removing what is left of it", run)
                await self._jobs.drop(run, self._grace)
            case ev.Sweep(keep):
                await self._jobs.sweep(keep)
            case _:
                assert_never(command)

    # --- the ledger

    async def _write(self, command: ev.Listen | ev.Enrol | ev.Report) -> None:
        if isinstance(command, ev.Enrol):
            log.info("SWOPExecutor: ENROLL TO Task : %s , opId : %d - Begins",
                     command.task, command.run)  # fmt: skip
        pause = PAUSE_SECONDS
        while True:
            try:
                await self._call(command)
            except NotFoundError as exc:  # an SN that does not know us, or not yet the taskrunner
                log.warning("%s: trying again", exc)
                await self._register()
            except ProtocolError as exc:
                log.warning("%s was refused: %s", type(command).__name__, exc)
                if not isinstance(command, ev.Listen):
                    self._emit(ev.Refused(command, exc.code))
                    return
                await self._register()  # only a registered node may listen
            except RemoteError as exc:
                log.warning("%s is not done: %s", type(command).__name__, exc)
            else:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._tell(command)
        self._emit(ev.Done(command))

    async def _call(self, command: ev.Listen | ev.Enrol | ev.Report) -> None:
        verb: str
        body: api.Listen | api.EnrolInRun | api.PeerReport
        match command:
            case ev.Listen(nodes):
                verb, body = "listen", api.Listen(nodes=nodes)
            case ev.Enrol(run, _, peers):
                verb, body = "enrol", api.EnrolInRun(run=run, peers=list(peers))
            case ev.Report(run, peer, outcome):
                verb, body = "report", api.PeerReport(
                    run=run, peer=peer, state=outcome.state, description=outcome.description
                )  # fmt: skip
            case _:
                assert_never(command)
        await self._tasks.swop(self._runner, self._me, verb, body)

    def _tell(self, command: ev.Listen | ev.Enrol | ev.Report) -> None:
        match command:
            case ev.Listen(nodes):
                log.info("listening to taskrunner %s, SL/ML pairs: %d", self._runner, nodes)
            case ev.Enrol(run, task, _):
                log.info("SWOPExecutor: ENROLL TO Task : %s , opId : %d - Ends", task, run)
            case ev.Report():
                pass
            case _:
                assert_never(command)
