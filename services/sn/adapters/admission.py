"""How an SN on an external chain becomes a writer: it proves its account to an SN that is one.

On a chain of our own the links between SNs do this (HELLO). Here the SN signs a statement that
names its certificate and the swarm's registry with its account's key, and shows it, over TLS with
that certificate, to another SN's API, which then calls ``addWriter``.
"""

import httpx
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import ForbiddenError, RemoteError
from services.common.tls import Identity, PeerCertificate
from services.sn.adapters.account import SwarmAccount
from services.sn.adapters.site import Account, Site

PATH = "/v1/network/writers"
TIMEOUT_S = 30.0
"""More than the other SN waits for its write."""


class Admission(BaseModel):
    """Body of ``POST /v1/network/writers``."""

    model_config = ConfigDict(frozen=True)

    account: Account
    """That asks to be a writer."""
    proof: str = Field(pattern="^[0-9a-f]{130}$")
    """Its signature over the statement."""


def prove(account: SwarmAccount, site: Site, fingerprint: str) -> Admission:
    """What the SN with this account and this certificate shows."""
    signature = account.key.sign_msg_hash(_statement(site, fingerprint))
    return Admission(account=account.address, proof=signature.to_bytes().hex())


def proven(asked: Admission, site: Site, who: PeerCertificate) -> str:
    """The account, if it is the own one of the SN with this certificate.

    Raises:
        ForbiddenError: it is not.
    """
    try:
        signature = Signature(bytes.fromhex(asked.proof))
        signer = signature.recover_public_key_from_msg_hash(_statement(site, who.fingerprint))
    except (BadSignature, ValidationError, ValueError) as exc:
        raise ForbiddenError(f"{who.common_name} proves no account: {exc}") from exc
    if signer.to_checksum_address() != to_checksum_address(asked.account):
        raise ForbiddenError(
            f"{who.common_name} claims an account that is not its own, or proves it for another "
            "certificate or swarm"
        )
    return signer.to_checksum_address()


async def ask(identity: Identity, sn: str, admission: Admission) -> None:
    """Ask the SN at ``host:port`` to let the account write.

    Raises:
        RemoteError: it does not answer, or refuses.
    """
    async with httpx.AsyncClient(
        verify=identity.client_context(), timeout=TIMEOUT_S, trust_env=False
    ) as http:
        try:
            answer = await http.post(f"https://{sn}{PATH}", json=admission.model_dump())
        except httpx.HTTPError as exc:
            raise RemoteError(f"{sn} does not answer: {str(exc) or type(exc).__name__}") from exc
    if not answer.is_success:
        raise RemoteError(f"{sn} answers {answer.status_code}: {answer.text[:300]}")


def _statement(site: Site, fingerprint: str) -> bytes:
    registry, _ = site.addresses()
    words = ("swarm/writer", str(site.chain_id), site.genesis, registry.lower(), fingerprint)
    return keccak(text="|".join(words))
