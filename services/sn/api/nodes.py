"""``/v1/nodes``: nodes register, send heartbeats, sign off; anybody lists them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.common import sn_api as api
from services.common.ids import NodeId, NodeIdField
from services.sn.api.access import Member, Sn, Who, as_json
from services.sn.core.nodes import info_of


def router(sn: Sn) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/nodes", tags=["nodes"])

    @routes.get("")
    async def listed(_who: Member) -> list[api.NodeInfo]:
        return [info_of(node) for node in sn.projection.now.nodes.all()]

    @routes.put("/{uid}")
    async def register(uid: NodeIdField, body: api.NodeRegistration, who: Who) -> Response:
        sn.spend_write(who)
        return as_json(await sn.membership.register(NodeId(uid), who, body))

    @routes.post("/{uid}/alive")
    async def alive(uid: NodeIdField, who: Who) -> Response:
        return as_json(sn.membership.heard(NodeId(uid), who))

    @routes.delete("/{uid}", status_code=204)
    async def leave(
        uid: NodeIdField, who: Who, reason: Annotated[str, Query(max_length=200)] = ""
    ) -> None:
        sn.spend_write(who)
        await sn.membership.leave(NodeId(uid), who, reason)

    return routes
