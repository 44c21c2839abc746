"""Routes that tell what there is and who holds it, and the server's settings."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from services.common.license_api import (
    FeatureReport,
    LeaseReport,
    ServerReport,
    ServerSettings,
)
from services.common.presence import VERSION
from services.license.adapters.desk import Desk
from services.license.adapters.office import Office
from services.license.api.access import Access, Caller
from services.license.api.answers import BY_ANY, BY_USER, refusals
from services.license.core.leases import Lease, Offer
from services.license.core.users import Right

Word = Annotated[str, Query(max_length=100)]
_TOLD: dict[str, Any] = {"openapi_extra": BY_ANY, "responses": refusals(400, 401, 403)}


def routes(desk: Desk, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["reports"])
    office, journal = desk.office, desk.journal
    viewer, administrator = (
        Depends(access.needs(right)) for right in (Right.VIEW, Right.ADMINISTER)
    )

    @router.get("/server", **_TOLD, dependencies=[viewer])
    def server() -> ServerReport:
        """Who this license server is, and what somebody should look after."""
        return ServerReport(
            server_id=office.server_id, lease_s=office.lease_s, version=VERSION,
            time=int(office.usage()[0]), started=journal.started, warnings=journal.warnings(),
        )  # fmt: skip

    @router.get("/features", **_TOLD, dependencies=[viewer])
    def features() -> list[FeatureReport]:
        """Capacity and use of each licensed feature."""
        _, offers, leases = office.usage()
        used = Counter(lease.feature for lease in leases)
        return [_feature(key, offer, used[key]) for key, offer in sorted(offers.items())]

    @router.get("/leases", **_TOLD, dependencies=[viewer])
    def leases(feature: Word = "") -> list[LeaseReport]:
        """Leases in force, oldest first."""
        return lease_reports(office, feature)

    @router.get("/settings", **_TOLD, dependencies=[viewer])
    def settings() -> ServerSettings:
        """The server's settings."""
        return journal.settings()

    @router.put("/settings", openapi_extra=BY_USER, responses=refusals(400, 401, 403))
    def change_settings(
        body: ServerSettings, who: Annotated[Caller, administrator]
    ) -> ServerSettings:
        """Change the server's settings."""
        return journal.change(body, who.name)

    return router


def _feature(feature: str, offer: Offer, used: int) -> FeatureReport:
    perpetual = "perpetual" if offer.capacity else ""
    return FeatureReport(
        feature=feature, version="1", name=offer.name, capacity=offer.capacity, in_use=used,
        free=max(0, offer.capacity - used), usable=offer.capacity > 0,
        expires=offer.until.isoformat() if offer.until is not None else perpetual, holders=used,
    )  # fmt: skip


def lease_reports(office: Office, feature: str) -> list[LeaseReport]:
    """Leases in force, of a feature or (``""``) of all, oldest first."""
    now, _, held = office.usage()
    return [_lease(lease, now) for lease in held if feature in ("", lease.feature)]


def _lease(lease: Lease, now: float) -> LeaseReport:
    client = lease.client
    return LeaseReport(
        lease_id=lease.lease_id, feature=lease.feature, uid=client.uid, host=client.host,
        container=client.container, component=client.component,
        product_version=client.product_version, common_name=lease.common_name,
        since=int(lease.since), left_s=max(0, int(lease.expires - now)),
    )  # fmt: skip
