"""``/v1/tasks``: operators write tasks, anybody reads them.

Every write answers with the task as it is once the write is applied.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from services.common import task_api as api
from services.common.ids import NodeKind
from services.common.tls import PeerCertificate
from services.sn.api.access import NOBODY, Member, Sn, Who, as_json
from services.sn.api.told import told
from services.sn.core.tasks import info_of, summary_of


def router(sn: Sn) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/tasks", tags=["tasks"])

    @routes.get("")
    async def listed(_who: Member) -> list[api.TaskSummary]:
        return [summary_of(task) for task in sn.projection.now.tasks.all()]

    @routes.post("")
    async def create(body: api.TaskHeader, who: Who) -> Response:
        await _write(sn, body.name, who, lambda: sn.tasks.create(body))
        return _summary(sn, body.name, 201)

    @routes.get("/{name}")
    async def task(name: api.TaskNameField, _who: Member) -> Response:
        return as_json(info_of(sn.projection.task(name)))

    @routes.put("/{name}/body")
    async def append(name: api.TaskNameField, body: api.BodyLines, who: Who) -> Response:
        await _write(sn, name, who, lambda: sn.tasks.append(name, body))
        return _summary(sn, name)

    @routes.post("/{name}/finalize")
    async def finalize(name: api.TaskNameField, who: Who) -> Response:
        await _write(sn, name, who, lambda: sn.tasks.finalize(name))
        return _summary(sn, name)

    @routes.delete("/{name}")
    async def delete(name: api.TaskNameField, who: Who) -> Response:
        before = sn.projection.now.tasks.get(name)
        await _write(sn, name, who, lambda: sn.tasks.remove(name))
        return as_json(summary_of(before)) if before is not None else _summary(sn, name)

    return routes


async def _write(
    sn: Sn, name: str, who: PeerCertificate, act: Callable[[], Awaitable[None]]
) -> None:
    async with sn.recording(name, NOBODY, who):
        who.require(NodeKind.SWCI)
        with told(f"task {name}"):
            await act()


def _summary(sn: Sn, name: str, status: int = 200) -> Response:
    return as_json(summary_of(sn.projection.task(name)), status)
