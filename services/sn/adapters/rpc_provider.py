"""The way to an Ethereum client: web3's HTTP provider, with errors in words and secrets kept.

User and password of the URL travel in a header, and messages name scheme, host and port only:
paths and queries may hold keys, too.
"""

import asyncio
import base64
import logging
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp
from web3.exceptions import Web3Exception
from web3.providers.rpc import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from services.common.errors import ChainUnavailableError, ConfigError

TIMEOUT_S = 10.0
"""Seconds for one request."""
SEND = "eth_sendRawTransaction"
CONNECTIONS = 32
"""At once; clients limit them (Besu: 80, of all its users together)."""
SERVER_ERROR = 500

logging.getLogger("web3").setLevel(logging.WARNING)  # at DEBUG it logs whole URLs and answers


class NotEthereumError(ChainUnavailableError):
    """Something answers, but not as an Ethereum client that we may use."""


class RpcProvider(AsyncHTTPProvider):
    """Answers JSON-RPC from an Ethereum client.

    Args:
        url: ``http`` or ``https``, as the operator set it.

    Raises:
        ConfigError: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        parts = _parts(url)
        self.name = f"{parts.scheme}://{_place(parts)}"
        """The client, for people."""
        self.sending = asyncio.Event()
        """Set when a transaction is sent."""
        headers = {"Content-Type": "application/json", **_authorization(parts)}
        super().__init__(
            parts._replace(netloc=_place(parts)).geturl(),
            request_kwargs={
                "headers": headers, "timeout": aiohttp.ClientTimeout(TIMEOUT_S),
                "allow_redirects": False,
            },
            exception_retry_configuration=None,
        )  # fmt: skip
        self._session: aiohttp.ClientSession | None = None

    async def make_request(self, method: str, params: Sequence[Any]) -> RPCResponse:
        """Answer one call.

        Raises:
            NotEthereumError: what answers is no Ethereum client.
            ChainUnavailableError: nothing answers.
        """
        if self._session is None:
            context = ssl.create_default_context()
            connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector)
            await self.cache_async_session(self._session)  # web3's own makes a connection a call
        if method == SEND:
            self.sending.set()
        try:
            return await self._asked(method, params)
        except aiohttp.ClientResponseError as exc:
            raise self._refused(exc.status) from exc
        except aiohttp.ClientConnectorCertificateError as exc:
            raise NotEthereumError(
                f"the certificate of {self.name} is not accepted ({exc.certificate_error}): name "
                "the CA's file in SSL_CERT_FILE, or check SN_ETH_RPC_URL"
            ) from exc
        except (aiohttp.ClientError, Web3Exception, OSError) as exc:
            raise ChainUnavailableError(
                f"the Ethereum client at {self.name} does not answer: {_words(exc)}"
            ) from exc
        except (ValueError, TypeError) as exc:
            raise NotEthereumError(
                f"what answers at {self.name} does not speak JSON-RPC: check SN_ETH_RPC_URL"
            ) from exc

    async def _asked(self, method: str, params: Sequence[Any]) -> RPCResponse:
        """The answer; once more where a connection kept from before had been closed."""
        try:
            answer = await super().make_request(RPCEndpoint(method), params)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            answer = await super().make_request(RPCEndpoint(method), params)
        if not isinstance(answer, dict):
            raise TypeError("not an object")
        return answer

    def _refused(self, status: int) -> ChainUnavailableError:
        if status >= SERVER_ERROR:
            return ChainUnavailableError(
                f"the Ethereum client at {self.name} does not answer: HTTP status {status}"
            )
        return NotEthereumError(
            f"what answers at {self.name} refuses our requests (HTTP status {status}): check path, "
            "user and password of SN_ETH_RPC_URL, and what hosts the client admits"
        )


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good:
        raise ConfigError("SN_ETH_RPC_URL must be http://HOST:PORT or https://HOST:PORT/PATH")
    return parts


def _place(parts: SplitResult) -> str:
    """Host and port, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _words(exc: Exception) -> str:
    """What went wrong, without the URL."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error.strerror or str(exc.os_error)
    if isinstance(exc, TimeoutError):
        return f"nothing within {TIMEOUT_S:.0f} s"
    return type(exc).__name__
