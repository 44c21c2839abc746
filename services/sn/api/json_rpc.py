"""``/eth``: read-only JSON-RPC 2.0, so that standard Ethereum tools can inspect the chain."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from services.common.rest import AsciiJson
from services.sn.adapters.json_params import AUDITORS
from services.sn.api.access import Sn, Who

MOST = 50
"""Calls in one batch."""
MOST_BYTES = 16 << 20
"""Answers of one batch together; more are refused."""
TOO_MUCH = -32005
"""EIP-1474: limit exceeded."""
PARSE_ERROR, INVALID_REQUEST = -32700, -32600


def router(sn: Sn) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["chain"])

    @routes.post("/eth")
    async def answer(request: Request, who: Who) -> Response:
        who.require(*AUDITORS)
        try:
            asked = await request.json()
        except ValueError:
            return AsciiJson(_error(None, PARSE_ERROR, "not JSON"))
        if isinstance(asked, list) and 0 < len(asked) <= MOST:
            return _as_json(b"[" + b",".join(await _batch(sn, asked)) + b"]")
        return _as_json(_text(await _one(sn, asked)))

    return routes


async def _batch(sn: Sn, asked: list[object]) -> list[bytes]:
    """The answers, in order; once they are too many bytes together, the rest is refused."""
    answers: list[bytes] = []
    size = 0
    for item in asked:
        if size > MOST_BYTES:
            number = item.get("id") if isinstance(item, dict) else None
            number = number if isinstance(number, str | int) else None
            words = f"the answers before are over {MOST_BYTES >> 20} MiB: ask for less in a batch"
            answers.append(_text(_error(number, TOO_MUCH, words)))
            continue
        answers.append(_text(await _one(sn, item)))
        size += len(answers[-1])
    return answers


def _text(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


def _as_json(text: bytes) -> Response:
    return Response(text, media_type="application/json")


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
