"""Routes that acquire, renew, release and revoke leases."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status

from services.common.ids import NodeKind
from services.common.license_api import LeaseGrant, LeaseRequest
from services.common.rest import caller
from services.common.tls import PeerCertificate
from services.license.adapters.office import Office
from services.license.core.leases import Lease

Caller = Annotated[PeerCertificate, Depends(caller)]
RENEWALS_PER_LEASE = 3


def routes(office: Office) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["leases"])

    def granted(lease: Lease) -> LeaseGrant:
        return LeaseGrant(
            lease_id=lease.lease_id, lease_s=office.lease_s,
            renew_after_s=office.lease_s / RENEWALS_PER_LEASE, server_id=office.server_id,
        )  # fmt: skip

    @router.post("/leases", status_code=status.HTTP_201_CREATED)
    def acquire(request: LeaseRequest, who: Caller) -> LeaseGrant:
        """Acquire one unit of a feature. 409 no-capacity or license-expired, 404 not installed."""
        return granted(office.acquire(request, who))

    @router.put("/leases/{lease_id}")
    def renew(lease_id: str, who: Caller) -> LeaseGrant:
        """Prolong a lease. 410 when it is not in force any more."""
        return granted(office.renew(lease_id, who))

    @router.delete("/leases/{lease_id}", status_code=status.HTTP_204_NO_CONTENT)
    def release(lease_id: str, who: Caller) -> Response:
        """Give a lease back."""
        office.release(lease_id, who)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    @router.post("/leases/{lease_id}/revoke", status_code=status.HTTP_202_ACCEPTED)
    def revoke(lease_id: str, who: Caller) -> dict[str, str]:
        """Take a lease away (SWCI or LIC); its holder learns of it at its next renewal."""
        who.require(NodeKind.SWCI, NodeKind.LICENSE)
        office.revoke(lease_id, who.common_name)
        return {"revoked": lease_id}

    return router
