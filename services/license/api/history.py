"""Routes that tell what happened, and reports as CSV for spreadsheets."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from services.common.license_api import HistoryReport, LeaseReport, LicenseReport
from services.license.adapters.accounts import KINDS
from services.license.adapters.desk import Desk
from services.license.adapters.history_table import FOREVER, Asked
from services.license.adapters.journal import Journal
from services.license.api.access import Access, Caller
from services.license.api.answers import BY_ANY, refusals
from services.license.api.licenses import reports as license_reports
from services.license.api.reports import Word, lease_reports
from services.license.core.tables import csv_lines
from services.license.core.users import RIGHTS, Right

PAGE = 1000
"""Most rows of history in one answer."""

Time = Annotated[float, Query(ge=0, le=FOREVER)]
_TOLD: dict[str, Any] = {"openapi_extra": BY_ANY, "responses": refusals(400, 401, 403)}


def routes(desk: Desk, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["history"])
    viewer = Depends(access.needs(Right.VIEW))

    def asked(
        who: Annotated[Caller, viewer],
        start: Annotated[Time, Query(alias="from")] = 0,
        end: Annotated[Time, Query(alias="to")] = FOREVER,
        after: Annotated[int, Query(ge=0, le=FOREVER)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
        order: Literal["asc", "desc"] = "asc",
        feature: Word = "",
        kind: Word = "",
        text: Word = "",
    ) -> Asked:
        hidden = () if Right.ADMINISTER in RIGHTS[who.role] else tuple(sorted(KINDS))
        return Asked(
            start, end, after, limit, order == "desc", feature, kind, text, hidden,
            without_users=not who.may_see_users(),
        )  # fmt: skip

    @router.get("/history", **_TOLD)
    def history(rows: Annotated[Asked, Depends(asked)]) -> list[HistoryReport]:
        """What happened in a time span (Unix seconds), 1000 rows at most; ask again with ``after``
        = the last ``seq`` for more. Rows about users are for administrators."""  # noqa: D205, D209
        return desk.journal.history(rows)

    @router.get("/history.csv", **_TOLD, response_class=StreamingResponse)
    def history_csv(rows: Annotated[Asked, Depends(asked)]) -> StreamingResponse:
        """The history as CSV, all pages; the same filters (``limit`` does not count)."""
        return _csv("history", _pages(desk.journal, rows))

    @router.get("/leases.csv", **_TOLD, response_class=StreamingResponse, dependencies=[viewer])
    def leases_csv(feature: Word = "") -> StreamingResponse:
        """Leases in force as CSV."""
        head = list(LeaseReport.model_fields)
        rows = [list(row.model_dump().values()) for row in lease_reports(desk.office, feature)]
        return _csv("leases", iter([csv_lines([head, *rows])]))

    @router.get("/licenses.csv", **_TOLD, response_class=StreamingResponse)
    def licenses_csv(who: Annotated[Caller, viewer]) -> StreamingResponse:
        """Licenses as CSV, a line for each feature."""
        told = license_reports(desk.shelf, with_users=who.may_see_users())
        lines = [line for row in told for line in _license_lines(row)]
        return _csv("licenses", iter([csv_lines([_LICENSE_HEAD, *lines])]))

    return router


_LICENSE_HEAD = [
    "serial", "issuer", "licensee", "product", "not_before", "not_after", "state", "lock",
    "installed_at", "installed_by", "feature", "name", "capacity",
]  # fmt: skip


def _license_lines(row: LicenseReport) -> Iterator[list[object]]:
    for feature, capacity in row.features.items():
        fields = [getattr(row, name) for name in _LICENSE_HEAD[:-3]]
        yield [*fields, feature, row.names[feature], capacity]


def _pages(journal: Journal, asked: Asked) -> Iterator[str]:
    yield csv_lines([list(HistoryReport.model_fields)])
    asked = replace(asked, limit=PAGE)
    while rows := journal.history(asked):
        yield csv_lines(list(row.model_dump().values()) for row in rows)
        asked = replace(asked, after=rows[-1].seq)


def _csv(name: str, parts: Iterator[str]) -> StreamingResponse:
    return StreamingResponse(
        parts, media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )  # fmt: skip
