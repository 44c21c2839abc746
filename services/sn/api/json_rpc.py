"""``/eth``: read-only JSON-RPC 2.0, so that standard Ethereum tools can inspect the chain."""

from typing import Any

from fastapi import APIRouter, Request

from services.common.ids import NodeKind
from services.common.rest import AsciiJson
from services.sn.api.access import Sn, Who

AUDITORS = (NodeKind.SN, NodeKind.SWCI, NodeKind.SWOP)
"""Who may ask: operators and other SNs; SLs have the state API."""
MOST = 50
"""Calls in one batch."""
PARSE_ERROR, INVALID_REQUEST = -32700, -32600


def router(sn: Sn) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["chain"])

    @routes.post("/eth")
    async def answer(request: Request, who: Who) -> AsciiJson:
        who.require(*AUDITORS)
        try:
            asked = await request.json()
        except ValueError:
            return AsciiJson(_error(None, PARSE_ERROR, "not JSON"))
        if isinstance(asked, list) and 0 < len(asked) <= MOST:
            return AsciiJson([await _one(sn, item) for item in asked])
        return AsciiJson(await _one(sn, asked))

    return routes


async def _one(sn: Sn, asked: object) -> dict[str, Any]:
    if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
        return _error(None, INVALID_REQUEST, f"not a request, or a batch of none or over {MOST}")
    if not isinstance(asked.get("id"), str | int | None):
        return _error(None, INVALID_REQUEST, "id must be a text, a whole number or null")
    params = asked.get("params", [])
    if not isinstance(params, list):
        return _error(asked.get("id"), INVALID_REQUEST, "params must be a list")
    found = await sn.rpc(asked["method"], params)
    return {**found, "jsonrpc": "2.0", "id": asked.get("id")}


def _error(number: object, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
