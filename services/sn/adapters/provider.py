"""JSON-RPC on the embedded chain: no sockets and no JSON, and no web3, which takes 18 MB."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Dispatch = Callable[[str, Sequence[Any]], Awaitable[dict[str, Any]]]


class EmbeddedProvider:
    """Hands each call to the dispatcher (:class:`services.sn.adapters.json_rpc.JsonRpc`)."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def make_request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """Answer one call."""
        return {"id": 0, **await self._dispatch(method, params)}
