"""``AsyncWeb3(EmbeddedProvider(...))``: web3 on the embedded chain, no sockets and no JSON."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

Dispatch = Callable[[str, Sequence[Any]], Awaitable[dict[str, Any]]]


class EmbeddedProvider(AsyncBaseProvider):
    """Hands each call to the dispatcher (:class:`services.sn.adapters.json_rpc.JsonRpc`)."""

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__()
        self._dispatch = dispatch

    async def make_request(self, method: RPCEndpoint, params: Sequence[Any]) -> RPCResponse:
        """Answer one call."""
        answer = await self._dispatch(method, params)
        return cast("RPCResponse", {"id": 0, **answer})

    async def make_batch_request(
        self, requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        """Answer several calls, in order."""
        return [await self.make_request(method, params) for method, params in requests]

    async def is_connected(self, show_traceback: bool = False) -> bool:
        """Always: the chain is in this process."""
        return True
