"""JSON-RPC requests through a provider, and their errors.

web3's formatters are left out: they cost more time than the embedded engine's answers.
"""

from collections.abc import Mapping
from typing import Any

from services.common.errors import ChainUnavailableError
from services.sn.adapters.engine import Provider


class RpcError(ChainUnavailableError):
    """The engine answered a request with an error."""

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message)
        self.data = data


async def ask(provider: Provider, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
    """The result of one request.

    Raises:
        RpcError: the engine answered with an error.
        ChainUnavailableError: it did not answer.
    """
    answer = await provider.make_request(method, list(params))
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, Mapping):
        raise RpcError(f"{method}: {error}")
    raise RpcError(f"{method}: {error.get('message')}", error.get("data"))


def plain_hex(value: Any) -> str:  # noqa: ANN401 - JSON or bytes, as the provider likes
    """Hex digits without ``0x``."""
    return value.removeprefix("0x") if isinstance(value, str) else bytes(value).hex()


def plain_int(value: Any) -> int:  # noqa: ANN401 - JSON or a number, as the provider likes
    """A number."""
    return int(value, 16) if isinstance(value, str) else int(value)
