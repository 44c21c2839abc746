"""The license server's REST API.

Nodes call with a certificate of the swarm, people with a session, scripts with either a certificate
or a name and password (HTTP Basic). :mod:`.access` says who may do what.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from services.common.license_api import MOST_HOLDERS, Holder
from services.common.rest import AsciiJson, make_app, problem
from services.license.adapters.accounts import TooManyTriesError
from services.license.adapters.desk import Desk
from services.license.api import (
    description,
    history,
    leases,
    licenses,
    reports,
    sessions,
    users,
)
from services.license.api.access import Access
from services.license.api.headers import SafeHeaders
from services.license.core.leases import Lease, NoCapacityError

PREFIX = "/api/v1"


def license_app(desk: Desk, pages: Iterable[APIRouter] = ()) -> FastAPI:
    """The application.

    Args:
        desk: carries out what is asked.
        pages: routes of the web pages.
    """
    app = make_app("Swarm Learning license server", max_body=licenses.LARGEST_UPLOAD)
    access = Access(desk.accounts)
    for router in (
        sessions.routes(desk.accounts, access), users.routes(desk.accounts, access),
        leases.routes(desk.office, access), licenses.routes(desk.shelf, access),
        reports.routes(desk, access), history.routes(desk, access),
    ):  # fmt: skip
        app.include_router(router, prefix=PREFIX)
    for router in pages:
        app.include_router(router)
    app.add_middleware(SafeHeaders)

    @app.exception_handler(TooManyTriesError)
    async def on_too_many_tries(_request: Request, exc: TooManyTriesError) -> JSONResponse:
        answer = problem(exc.http_status, exc.code, str(exc))
        answer.headers["retry-after"] = str(exc.wait_s)
        return answer

    @app.exception_handler(NoCapacityError)
    async def on_no_capacity(_request: Request, exc: NoCapacityError) -> JSONResponse:
        holders = [_holder(lease).model_dump() for lease in exc.holders[:MOST_HOLDERS]]
        body = {"type": "about:blank", "title": "Conflict", "status": exc.http_status}
        return AsciiJson(
            {**body, "detail": str(exc), "code": exc.code, "holders": holders}, exc.http_status,
            media_type="application/problem+json",
        )  # fmt: skip

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(description.page(app.openapi()), headers=description.HEADERS)

    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    made = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = description.complete(made())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _holder(lease: Lease) -> Holder:
    client = lease.client
    return Holder(
        component=client.component, host=client.host, container=client.container,
        since=datetime.fromtimestamp(lease.since, UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
