"""How an SN finds the swarm: it asks the API of a running SN for addresses to link to."""

import asyncio
import logging

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import ForbiddenError, RemoteError, SnUnavailableError
from services.common.retrying import Notices
from services.common.tls import Identity
from services.sn.adapters.site import Site

log = logging.getLogger("swarm.SN")

RETRY_SECONDS = 1.0


class Network(BaseModel):
    """Answer to ``GET /v1/network``."""

    model_config = ConfigDict(frozen=True)

    p2p: list[str]
    """``host:port`` of SNs to link to; none on an external chain."""
    site: Site | None = None
    """Where the swarm is on an external chain; None: it has a chain of its own."""
    genesis: str = ""
    """Hash of block 0 of the swarm's own chain, ``0x`` hex: what tells it from others."""


async def find_network(identity: Identity, entry: str, patience: float) -> Network:
    """Wait until the SN at ``entry`` is up and ask it for the network.

    Args:
        identity: our certificate.
        entry: ``host:port`` of its API.
        patience: seconds to wait for it.

    Raises:
        SnUnavailableError: it did not come up, or TLS refused one of the certificates.
        ForbiddenError: it does not accept our certificate as an SN's.
        RemoteError: it answered something else.
    """
    url = f"https://{entry}"
    log.info("Using URL : %s/is_up", url)
    loop = asyncio.get_running_loop()
    began = loop.time()
    give_up, notices = began + patience, Notices(patience)
    async with httpx.AsyncClient(
        verify=identity.client_context(), timeout=10.0, trust_env=False
    ) as http:
        while True:
            try:
                if (await http.get(f"{url}/is_up")).text == "OK":
                    log.info("Sentinel Node is UP!")
                    return _parse(await http.get(f"{url}/v1/network"))
                problem = "its /is_up does not answer OK"
            except httpx.HTTPError as exc:
                problem = str(exc) or type(exc).__name__
            if loop.time() >= give_up or "CERTIFICATE_VERIFY_FAILED" in problem:
                raise SnUnavailableError(
                    f"the SN to join does not answer at {entry}: {problem}. Check that it is up, "
                    "SENTINEL_NODE_IP, the port, the firewall and the certificates"
                )
            if line := notices.due(loop.time() - began, f"{entry}: {problem}"):
                log.warning(line)
            await asyncio.sleep(RETRY_SECONDS)


def _parse(answer: httpx.Response) -> Network:
    if answer.status_code == ForbiddenError.http_status:
        raise ForbiddenError(f"the SN to join refuses us: {answer.text[:300]}")
    try:
        return Network.model_validate_json(answer.content)
    except ValidationError as exc:
        raise RemoteError(f"the SN to join answered {answer.status_code}: {exc}") from exc
