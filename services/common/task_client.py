"""Client of the SN's state API about tasks and taskrunners; how SWCI and SWOP reach them."""

from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from services.common import task_api as api
from services.common.errors import NotFoundError, ProtocolError
from services.common.ids import NodeId
from services.common.sn_client import POLL_SLACK_SECONDS, SnClient

_Found = TypeVar("_Found")


class TaskClient:
    """Async client; errors as :class:`SnClient` raises them.

    An SN may fail after it wrote and before it answered; then another one is asked to write the
    same once more. So where a write is not harmless to repeat by itself, it is looked at first
    what is so, and a refusal is an error only if it is one of the first try.

    Args:
        sn: carries the requests; it stays the caller's.
    """

    def __init__(self, sn: SnClient) -> None:
        self._sn = sn

    # --- tasks

    async def create_task(self, header: api.TaskHeader) -> api.TaskSummary:
        """CREATE TASK; repeating it with the same ``request`` is harmless."""
        return await self._sn.ask("POST", "/v1/tasks", api.TaskSummary, header)

    async def append(self, name: str, body: api.BodyLines) -> api.TaskSummary:
        """APPEND TASK BODY."""
        return await self._sn.ask("PUT", f"{_task(name)}/body", api.TaskSummary, body)

    async def finalize(self, name: str) -> api.TaskSummary:
        """FINALIZE TASK."""
        return await self._sn.ask("POST", f"{_task(name)}/finalize", api.TaskSummary)

    async def delete(self, name: str) -> api.TaskSummary:
        """DELETE TASK; the answer is the task as it was."""
        before = await self._found(self.task(name))
        try:
            return await self._sn.ask("DELETE", _task(name), api.TaskSummary)
        except (ProtocolError, NotFoundError) as exc:
            if exc.code not in {"unknown-task", NotFoundError.code} or before is None:
                raise
            return before  # it was there when we began

    async def tasks(self) -> list[api.TaskSummary]:
        """All tasks, in the order of their creation."""
        return await self._sn.ask("GET", "/v1/tasks", list[api.TaskSummary])

    async def task(self, name: str) -> api.TaskInfo:
        """A task with its body."""
        return await self._sn.ask("GET", _task(name), api.TaskInfo)

    # --- taskrunners

    async def create_runner(self, name: str) -> api.TaskRunnerState:
        """CREATE TASKRUNNER."""
        body = api.CreateTaskRunner(name=name)
        before = await self._found(self.runner(name))
        try:
            return await self._sn.ask("POST", "/v1/taskrunners", api.TaskRunnerState, body)
        except ProtocolError as exc:
            made = None
            if exc.code == "name-taken" and before is None:
                made = await self._found(self.runner(name))  # since we began
            if made is None:
                raise
            return made

    async def runners(self) -> list[api.TaskRunnerSummary]:
        """All taskrunners, sorted by name."""
        return await self._sn.ask("GET", "/v1/taskrunners", list[api.TaskRunnerSummary])

    async def runner(self, name: str) -> api.TaskRunnerState:
        """A taskrunner as it is now."""
        return await self._sn.ask("GET", _runner(name), api.TaskRunnerState)

    async def watch(self, name: str, after: str, wait: float) -> api.TaskRunnerState:
        """Wait until the taskrunner differs from cursor ``after``, at most ``wait`` seconds."""
        path = f"{_runner(name)}/events?after={quote(after)}&wait={wait}"
        return await self._sn.ask(
            "GET", path, api.TaskRunnerState, timeout=wait + POLL_SLACK_SECONDS
        )

    async def assign(self, name: str, body: api.Assign) -> api.TaskRunnerState:
        """ASSIGN TASK; repeating it with the same ``request`` is harmless."""
        return await self._write(name, "assign", body)

    async def reset(self, name: str, reason: str, run: int | None = None) -> api.TaskRunnerState:
        """RESET TASKRUNNER.

        Args:
            name: of the taskrunner.
            reason: for the ledger.
            run: only if this is the present run; None: the run that is present now, never one
                that begins while this is repeated.
        """
        if run is None:
            run = (await self.runner(name)).view.run
        return await self._write(name, f"reset?reason={quote(reason)}&run={run}")

    async def swop(self, name: str, uid: NodeId, verb: str, body: BaseModel) -> api.TaskRunnerState:
        """One write of a SWOP: ``listen``, ``enrol``, ``report`` or ``quit``."""
        return await self._write(name, f"swops/{uid}/{verb}", body)

    async def _found(self, asked: Awaitable[_Found]) -> _Found | None:
        try:
            return await asked
        except NotFoundError:
            return None

    async def _write(
        self, name: str, what: str, body: BaseModel | None = None
    ) -> api.TaskRunnerState:
        return await self._sn.ask("POST", f"{_runner(name)}/{what}", api.TaskRunnerState, body)


def _task(name: str) -> str:
    return f"/v1/tasks/{quote(name, safe='')}"


def _runner(name: str) -> str:
    return f"/v1/taskrunners/{quote(name, safe='')}"
