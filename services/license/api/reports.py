"""Routes that tell what there is, who holds it and what happened."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query

from services.common.license_api import FeatureReport, HistoryReport, LeaseReport, ServerReport
from services.license.adapters.office import Office
from services.license.core.leases import Lease

PAGE = 1000
"""Most rows of history in one answer."""
_FOREVER = 2**62

Time = Annotated[float, Query(ge=0, le=_FOREVER)]


def routes(office: Office) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["reports"])

    @router.get("/server")
    def server() -> ServerReport:
        """Who this license server is."""
        return ServerReport(server_id=office.server_id, lease_s=office.lease_s)

    @router.get("/features")
    def features() -> list[FeatureReport]:
        """Capacity and use of each licensed feature."""
        _, offers, leases = office.usage()
        used = Counter(lease.feature for lease in leases)
        return [
            FeatureReport(
                feature=feature, version="1", name=offer.name, capacity=offer.capacity,
                in_use=used[feature], free=max(0, offer.capacity - used[feature]),
                usable=offer.capacity > 0,
            )
            for feature, offer in sorted(offers.items())
        ]  # fmt: skip

    @router.get("/leases")
    def leases(feature: str | None = None) -> list[LeaseReport]:
        """Leases in force, oldest first."""
        now, _, held = office.usage()
        return [_report(lease, now) for lease in held if feature in (None, lease.feature)]

    @router.get("/history")
    def history(
        start: Annotated[Time, Query(alias="from")] = 0,
        end: Annotated[Time, Query(alias="to")] = _FOREVER,
        after: Annotated[int, Query(ge=0, le=_FOREVER)] = 0,
    ) -> list[HistoryReport]:
        """What happened in a time span (Unix seconds), oldest first, 1000 rows at most; ask again
        with ``after`` = the last ``seq`` for more."""  # noqa: D205, D209
        return office.history(start, end, after, PAGE)

    return router


def _report(lease: Lease, now: float) -> LeaseReport:
    client = lease.client
    return LeaseReport(
        lease_id=lease.lease_id, feature=lease.feature, uid=client.uid, host=client.host,
        container=client.container, component=client.component,
        product_version=client.product_version, common_name=lease.common_name,
        since=int(lease.since), left_s=max(0, int(lease.expires - now)),
    )  # fmt: skip
