"""The license server's REST API. Every call needs a certificate of the swarm; calls that change
licenses or other nodes' leases need one of role SWCI or LIC."""  # noqa: D205, D209

from fastapi import FastAPI

from services.common.rest import make_app
from services.license.adapters.office import Office
from services.license.api import leases, licenses, reports


def license_app(office: Office) -> FastAPI:
    """The application.

    Args:
        office: carries out what is asked.
    """
    app = make_app("Swarm Learning license server")
    for routes in (leases, licenses, reports):
        app.include_router(routes.routes(office), prefix="/api/v1")
    return app
