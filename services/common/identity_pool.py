"""HTTP connections that show the present certificate: a renewed one means new connections."""

import ssl

import httpx

from services.common.renewed import HEADER
from services.common.tls import Identity
from services.common.tls_context import BoundContext, Present


class IdentityPool:
    """Sends requests; those that began before a renewal end on the connections they began on.

    Args:
        identity: ours.
        timeout: of requests that bring none.
    """

    def __init__(self, identity: Identity, timeout: httpx.Timeout) -> None:
        self._identity, self._timeout = identity, timeout
        self._of = identity.now()
        self._http = self._make(self._of)
        self._under_way: dict[httpx.AsyncClient, int] = {}

    @property
    def generation(self) -> int:
        """Of our identity."""
        return self._identity.generation

    async def request(
        self, method: str, url: str, content: bytes | None, timeout: httpx.Timeout
    ) -> httpx.Response:
        """One request with JSON.

        Raises:
            httpx.HTTPError: no answer; ``ssl.SSLError`` where httpx lets one pass.
        """
        headers = {"content-type": "application/json"} if content else {}
        http = await self._present()
        if self._of.renewed:
            headers[HEADER] = self._of.renewed
        self._under_way[http] = self._under_way.get(http, 0) + 1
        try:
            return await http.request(
                method, url, content=content, headers=headers, timeout=timeout
            )
        finally:
            self._under_way[http] -= 1
            if not self._under_way[http]:
                del self._under_way[http]
                if http is not self._http:
                    await http.aclose()

    async def close(self) -> None:
        """Close all connections."""
        for http in {self._http, *self._under_way}:
            await http.aclose()

    def _make(self, present: Present) -> httpx.AsyncClient:
        """Connections of one identity only: the header and the certificate must fit together."""
        context = BoundContext(ssl.PROTOCOL_TLS_CLIENT, present)
        return httpx.AsyncClient(verify=context, timeout=self._timeout, trust_env=False)

    async def _present(self) -> httpx.AsyncClient:
        present = self._identity.now()
        if present is not self._of:
            old, self._http, self._of = self._http, self._make(present), present
            if old not in self._under_way:
                await old.aclose()
        return self._http
