"""``/v1/network``: what another SN needs to join."""

from fastapi import APIRouter

from services.common.ids import NodeKind
from services.sn.adapters.entry import Network, genesis_of
from services.sn.api.access import Sn, Who


def router(sn: Sn) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["network"])

    @routes.get("/v1/network")
    async def network(who: Who) -> Network:
        who.require(NodeKind.SN)
        return Network(p2p=sn.p2p(), genesis=await genesis_of(sn.rpc))

    return routes
