"""``/v1/contracts``: training contracts; peers write their part of the rounds, anybody reads.

Every write answers with the contract as it is once the write is applied.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from services.common import sn_api as api
from services.common.ids import ContractNameField, NodeId, NodeIdField, NodeKind
from services.sn.adapters.trainings import Trainings
from services.sn.api.access import NOBODY, Member, Sn, Who, add_events, as_json, by
from services.sn.api.told import check_free, told
from services.sn.core.training import Training
from services.sn.core.views import summary_of

ROUNDS_AT_ONCE = 200
"""Rounds on a page, unless the reader says how many."""
MOST_ROUNDS = 1000
"""Most rounds on a page."""

PeerWrite = Callable[[Trainings, Training, NodeId, Any], Awaitable[None]]

PEER_WRITES: dict[str, tuple[type[BaseModel], PeerWrite]] = {
    "enrol": (api.Enrol, Trainings.enrol),
    "checkin": (api.CheckIn, Trainings.check_in),
    "freeze": (api.OfTerm, Trainings.freeze),
    "drop": (api.Drop, Trainings.drop),
    "outlier": (api.Outlier, Trainings.outlier),
    "publish": (api.Publish, Trainings.publish),
    "attest": (api.Attest, Trainings.attest),
    "report-leader": (api.OfTerm, Trainings.report_leader),
    "perf": (api.PerfReport, Trainings.perf),
    "leave": (api.Leave, Trainings.leave),
}
"""``POST /v1/contracts/{name}/peers/{uid}/{verb}``: what it takes and what it does."""


def router(sn: Sn) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/contracts", tags=["contracts"])

    @routes.get("")
    async def listed(_who: Member) -> list[api.ContractSummary]:
        return [summary_of(t) for _, t in sorted(sn.projection.now.trainings.items())]

    @routes.post("")
    async def create(body: api.CreateContract, who: Who) -> Response:
        who.require(NodeKind.SWCI)
        check_free(sn.projection.now.directory, "training contract", body.name)
        with told(f"training contract {body.name}"):
            await sn.trainings.create(body.name)
        return as_json(summary_of(sn.projection.training(body.name)), 201)

    @routes.post("/{name}/reset")
    async def reset(
        name: ContractNameField,
        who: Who,
        reason: Annotated[str, Query(max_length=200)] = "",
        generation: Annotated[int | None, Query(ge=1, lt=2**32)] = None,
    ) -> Response:
        training = sn.projection.training(name)
        async with sn.recording(training, NOBODY, who):
            who.require(NodeKind.SWCI)
            if generation is None or generation >= training.generation:  # else it is reset
                await sn.trainings.reset(
                    training, training.generation if generation is None else generation,
                    by(who, reason),
                )  # fmt: skip
        return as_json(sn.projection.state(name))

    _add_reads(sn, routes)
    for verb, (body, act) in PEER_WRITES.items():
        _add_peer_write(sn, routes, verb, body, act)
    return routes


def _add_reads(sn: Sn, routes: APIRouter) -> None:
    @routes.get("/{name}")
    async def state(name: ContractNameField, _who: Member) -> Response:
        return as_json(sn.projection.state(name))

    add_events(sn, routes, sn.projection.watch)

    @routes.get("/{name}/rounds")
    async def rounds(
        name: ContractNameField,
        _who: Member,
        after: Annotated[int, Query(ge=0, lt=2**32)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ROUNDS)] = ROUNDS_AT_ONCE,
        generation: Annotated[int, Query(ge=0, lt=2**32)] = 0,
    ) -> Response:
        training = sn.projection.training(name)
        return as_json(await sn.rounds.page(training, generation, after, limit))

    @routes.get("/{name}/perf")
    async def perf(
        name: ContractNameField,
        _who: Member,
        after: Annotated[int, Query(ge=0, lt=2**32)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ROUNDS)] = ROUNDS_AT_ONCE,
        generation: Annotated[int, Query(ge=0, lt=2**32)] = 0,
    ) -> Response:
        training = sn.projection.training(name)
        return as_json(await sn.rounds.perf_page(training, generation, after, limit))


def _add_peer_write(
    sn: Sn, routes: APIRouter, verb: str, schema: type[BaseModel], act: PeerWrite
) -> None:
    async def write(
        name: ContractNameField, uid: NodeIdField, body: BaseModel, who: Who
    ) -> Response:
        training, peer = sn.projection.training(name), NodeId(uid)
        async with sn.recording(training, uid, who):
            sn.as_node(NodeKind.SL, peer, who)
            await act(sn.trainings, training, peer, body)
        return as_json(sn.projection.state(name))

    write.__annotations__["body"] = schema
    routes.post(f"/{{name}}/peers/{{uid}}/{verb}", name=verb)(write)
