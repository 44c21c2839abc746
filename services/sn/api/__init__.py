"""The state API (30304): what it needs of the SN, and the application made of its routes."""

from fastapi import FastAPI

from services.common.rest import make_app
from services.sn.api import (
    contracts,
    json_rpc,
    metrics,
    network,
    nodes,
    taskrunners,
    tasks,
    version,
)
from services.sn.api.access import Sn

__all__ = ["Sn", "make_api"]


def make_api(sn: Sn) -> FastAPI:
    """The application that serves ``sn``."""
    app = make_app("Swarm Network node: state API")
    for routes in (nodes, contracts, tasks, taskrunners, network, version, json_rpc, metrics):
        app.include_router(routes.router(sn))
    return app
