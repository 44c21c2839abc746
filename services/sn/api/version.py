"""``/v1/version``: which software this is."""

from fastapi import APIRouter

from services.common.sn_api import Version
from services.sn import VERSION
from services.sn.api.access import Member, Sn


def router(_sn: Sn) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["version"])

    @routes.get("/v1/version")
    async def version(_who: Member) -> Version:
        return Version(version=VERSION)

    return routes
