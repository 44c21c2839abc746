"""``/v1/network``: what another SN needs to join."""

from fastapi import APIRouter

from services.common.ids import NodeKind
from services.sn.adapters.admission import PATH, Admission
from services.sn.adapters.entry import Network
from services.sn.api.access import Sn, Who


def router(sn: Sn) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["network"])

    @routes.get("/v1/network")
    async def network(who: Who) -> Network:
        who.require(NodeKind.SN)
        return sn.network()

    @routes.post(PATH, status_code=204)
    async def admit(body: Admission, who: Who) -> None:
        who.require(NodeKind.SN)
        await sn.admit(body, who)

    return routes
