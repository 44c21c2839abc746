"""Routes that install, list and remove licenses."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, status
from starlette.concurrency import run_in_threadpool

from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.common.license_api import LicenseReport
from services.common.rest import caller
from services.common.tls import PeerCertificate
from services.license.adapters.office import Office
from services.license.core.license_file import License

Caller = Annotated[PeerCertificate, Depends(caller)]


def routes(office: Office) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["licenses"])

    @router.post("/licenses", status_code=status.HTTP_201_CREATED)
    async def install(request: Request, who: Caller) -> LicenseReport:
        """Install a license (SWCI or LIC): the signed document is the body, as it is."""
        who.require(NodeKind.SWCI, NodeKind.LICENSE)
        try:
            text = (await request.body()).decode()
        except UnicodeDecodeError as exc:
            raise ConfigError("bad license: not UTF-8 text", "bad-license") from exc
        return _report(await run_in_threadpool(office.install, text, who.common_name))

    @router.get("/licenses")
    def installed() -> list[LicenseReport]:
        """The installed licenses."""
        return [_report(document) for document in office.licenses()]

    @router.delete("/licenses/{serial}", status_code=status.HTTP_204_NO_CONTENT)
    def remove(serial: str, who: Caller) -> Response:
        """Remove a license (SWCI or LIC); leases that it allowed go on."""
        who.require(NodeKind.SWCI, NodeKind.LICENSE)
        office.remove(serial, who.common_name)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    return router


def _report(document: License) -> LicenseReport:
    end = document.not_after
    return LicenseReport(
        serial=document.serial, issuer=document.issuer, licensee=document.licensee,
        product=document.product, not_before=document.not_before.isoformat(),
        not_after=end.isoformat() if end is not None else "perpetual",
        features={item.feature_id: item.capacity for item in document.features},
    )  # fmt: skip
