"""Routes that acquire, renew, release and revoke leases."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status

from services.common.license_api import LeaseGrant, LeaseRequest
from services.common.tls import PeerCertificate
from services.license.adapters.office import Office
from services.license.api.access import Access, Caller, node
from services.license.api.answers import BY_ANY, BY_NODE, refusals
from services.license.core.leases import Lease
from services.license.core.users import Right

Node = Annotated[PeerCertificate, Depends(node)]
RENEWALS_PER_LEASE = 3


def routes(office: Office, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["leases"])
    manager = Depends(access.needs(Right.MANAGE))

    def granted(lease: Lease) -> LeaseGrant:
        return LeaseGrant(
            lease_id=lease.lease_id, lease_s=office.lease_s,
            renew_after_s=office.lease_s / RENEWALS_PER_LEASE, server_id=office.server_id,
        )  # fmt: skip

    @router.post(
        "/leases",
        status_code=status.HTTP_201_CREATED,
        openapi_extra=BY_NODE,
        responses=refusals(400, 401, 403, 404, 409),
    )
    def acquire(request: LeaseRequest, who: Node) -> LeaseGrant:
        """Acquire one unit of a feature. 409 no-capacity names the holders."""
        return granted(office.acquire(request, who))

    @router.put("/leases/{lease_id}", openapi_extra=BY_NODE, responses=refusals(401, 403, 410))
    def renew(lease_id: str, who: Node) -> LeaseGrant:
        """Prolong a lease. 410 when it is not in force any more."""
        return granted(office.renew(lease_id, who))

    @router.delete(
        "/leases/{lease_id}",
        status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=BY_NODE,
        responses=refusals(401, 403),
    )
    def release(lease_id: str, who: Node) -> Response:
        """Give a lease back; harmless when it is gone."""
        office.release(lease_id, who)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    @router.post(
        "/leases/{lease_id}/revoke",
        status_code=status.HTTP_202_ACCEPTED,
        openapi_extra=BY_ANY,
        responses=refusals(401, 403, 404),
    )
    def revoke(lease_id: str, who: Annotated[Caller, manager]) -> dict[str, str]:
        """Take a lease away; its holder learns of it at its next renewal, and runs on."""
        office.revoke(lease_id, who.name)
        return {"revoked": lease_id}

    return router
