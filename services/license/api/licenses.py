"""Routes that check, install, list, archive, restore and delete licenses."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, status
from starlette.concurrency import run_in_threadpool

from services.common.errors import ConfigError
from services.common.license_api import LicenseReport
from services.license.adapters.history_table import USER
from services.license.adapters.shelf import Kept, Shelf
from services.license.api.access import Access, Caller
from services.license.api.answers import BY_ANY, refusals
from services.license.core.license_file import state
from services.license.core.users import Right

LARGEST_UPLOAD = 4 << 20
"""Bytes of an uploaded file (HPE's limit)."""
_FILE: dict[str, Any] = {
    **BY_ANY,
    "requestBody": {
        "required": True,
        "description": "a signed document as it is, or a JSON array of up to 16; 4 MiB at most",
        "content": {"application/json": {"schema": {}}},
    },
}


def reports(shelf: Shelf, *, with_users: bool) -> list[LicenseReport]:
    """All licenses as they stand now.

    Args:
        shelf: the licenses.
        with_users: whether names of users who installed them are for who asks.
    """
    now = shelf.now()
    told = [_report(kept, now) for kept in shelf.licenses()]
    if with_users:
        return told
    hidden = {"installed_by": ""}
    return [
        row.model_copy(update=hidden) if row.installed_by.startswith(USER) else row for row in told
    ]


def routes(shelf: Shelf, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["licenses"])
    manager, viewer = (Depends(access.needs(right)) for right in (Right.MANAGE, Right.VIEW))

    @router.post(
        "/licenses",
        status_code=status.HTTP_201_CREATED,
        openapi_extra=_FILE,
        responses=refusals(400, 401, 403, 413),
    )
    async def install(
        request: Request, who: Annotated[Caller, manager]
    ) -> LicenseReport | list[LicenseReport]:
        """Install a file's licenses, all or none; an array is answered with an array."""
        text = await _text(request)
        return _answer(text, await run_in_threadpool(shelf.install, text, who.name), shelf.now())

    @router.post(
        "/licenses/check",
        openapi_extra=_FILE,
        responses=refusals(400, 401, 403, 413),
        dependencies=[manager],
    )
    async def check(request: Request) -> LicenseReport | list[LicenseReport]:
        """What installing a file would do, without doing it; ``installed``: it is there already."""
        text = await _text(request)
        return _answer(text, await run_in_threadpool(shelf.check, text), shelf.now())

    @router.get("/licenses", openapi_extra=BY_ANY, responses=refusals(401, 403))
    def installed(who: Annotated[Caller, viewer]) -> list[LicenseReport]:
        """The licenses, archived ones too."""
        return reports(shelf, with_users=who.may_see_users())

    @router.post(
        "/licenses/{serial}/archive",
        openapi_extra=BY_ANY,
        responses=refusals(401, 403, 404, 409),
    )
    def archive(serial: str, who: Annotated[Caller, manager]) -> LicenseReport:
        """Let a license count no more. 409 license-in-use while nodes need it."""
        return _report(shelf.archive(serial, who.name), shelf.now())

    @router.post(
        "/licenses/{serial}/restore", openapi_extra=BY_ANY, responses=refusals(401, 403, 404)
    )
    def restore(serial: str, who: Annotated[Caller, manager]) -> LicenseReport:
        """Let an archived license count again."""
        return _report(shelf.restore(serial, who.name), shelf.now())

    @router.delete(
        "/licenses/{serial}",
        status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=BY_ANY,
        responses=refusals(401, 403, 404, 409),
    )
    def remove(serial: str, who: Annotated[Caller, manager]) -> Response:
        """Delete a license. 409 license-in-use while nodes need it."""
        shelf.remove(serial, who.name)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    return router


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError("bad license: not UTF-8 text", "bad-license") from exc


def _answer(text: str, found: list[Kept], now: float) -> LicenseReport | list[LicenseReport]:
    told = [_report(kept, now) for kept in found]
    return told if text.lstrip().startswith("[") else told[0]


def _report(kept: Kept, now: float) -> LicenseReport:
    document = kept.license
    end = document.not_after
    return LicenseReport(
        serial=document.serial, issuer=document.issuer, licensee=document.licensee,
        product=document.product, not_before=document.not_before.isoformat(),
        not_after=end.isoformat() if end is not None else "perpetual",
        features={item.feature_id: item.capacity for item in document.features},
        names={item.feature_id: item.name for item in document.features},
        state=state(document, now, archived=kept.archived), lock=document.lock,
        installed_at=kept.installed_at, installed_by=kept.installed_by,
        installed=kept.installed_at > 0,
    )  # fmt: skip
