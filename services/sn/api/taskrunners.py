"""``/v1/taskrunners``: operators assign tasks, SWOPs write their part of the runs, anybody reads.

Every write answers with the taskrunner as it is once the write is applied.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.common import task_api as api
from services.common.ids import ContractNameField, NodeId, NodeIdField, NodeKind
from services.sn.adapters.tasks import TaskRunners
from services.sn.api.access import NOBODY, Member, Sn, Who, add_events, as_json, by
from services.sn.api.told import check_free, told
from services.sn.core.runner_views import summary_of
from services.sn.core.taskrunners import TaskRunner

SwopWrite = Callable[[TaskRunners, TaskRunner, NodeId, Any], Awaitable[None]]

SWOP_WRITES: dict[str, tuple[type[BaseModel], SwopWrite]] = {
    "listen": (api.Listen, TaskRunners.listen),
    "enrol": (api.EnrolInRun, TaskRunners.enrol),
    "report": (api.PeerReport, TaskRunners.report),
    "quit": (api.Quit, TaskRunners.quit),
}
"""``POST /v1/taskrunners/{name}/swops/{uid}/{verb}``: what it takes and what it does."""


def router(sn: Sn) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/taskrunners", tags=["taskrunners"])
    _add_reads(sn, routes)
    _add_operators_writes(sn, routes)
    for verb, (body, act) in SWOP_WRITES.items():
        _add_swop_write(sn, routes, verb, body, act)
    return routes


def _add_reads(sn: Sn, routes: APIRouter) -> None:
    @routes.get("")
    async def listed(_who: Member) -> list[api.TaskRunnerSummary]:
        return [summary_of(runner) for _, runner in sorted(sn.projection.now.runners.items())]

    @routes.get("/{name}")
    async def state(name: ContractNameField, _who: Member) -> Response:
        return as_json(sn.projection.runner_state(name))

    add_events(sn, routes, sn.projection.watch_runner)


def _add_operators_writes(sn: Sn, routes: APIRouter) -> None:
    @routes.post("")
    async def create(body: api.CreateTaskRunner, who: Who) -> Response:
        async with sn.recording(body.name, NOBODY, who):
            who.require(NodeKind.SWCI)
            check_free(sn.projection.now.directory, "taskrunner", body.name)
            with told(f"taskrunner {body.name}"):
                await sn.runners.create(body.name)
        return as_json(sn.projection.runner_state(body.name), 201)

    @routes.post("/{name}/assign")
    async def assign(name: ContractNameField, body: api.Assign, who: Who) -> Response:
        runner = sn.projection.runner(name)
        async with sn.recording(runner, NOBODY, who):
            who.require(NodeKind.SWCI)
            with told(f"task {body.task}"):
                await sn.runners.assign(runner, body)
        return as_json(sn.projection.runner_state(name))

    @routes.post("/{name}/reset")
    async def reset(
        name: ContractNameField,
        who: Who,
        reason: Annotated[str, Query(max_length=200)] = "",
        run: Annotated[int | None, Query(ge=0, lt=2**32)] = None,
    ) -> Response:
        runner = sn.projection.runner(name)
        async with sn.recording(runner, NOBODY, who):
            who.require(NodeKind.SWCI)
            await sn.runners.reset(runner, runner.run if run is None else run, by(who, reason))
        return as_json(sn.projection.runner_state(name))


def _add_swop_write(
    sn: Sn, routes: APIRouter, verb: str, schema: type[BaseModel], act: SwopWrite
) -> None:
    async def write(
        name: ContractNameField, uid: NodeIdField, body: BaseModel, who: Who
    ) -> Response:
        runner, swop = sn.projection.runner(name), NodeId(uid)
        async with sn.recording(runner, uid, who):
            sn.as_node(NodeKind.SWOP, swop, who)
            sn.spend_write(who)
            await sn.membership.revived(swop)
            await act(sn.runners, runner, swop, body)
        return as_json(sn.projection.runner_state(name))

    write.__annotations__["body"] = schema
    routes.post(f"/{{name}}/swops/{{uid}}/{verb}", name=verb)(write)
