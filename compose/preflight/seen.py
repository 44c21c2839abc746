"""What can be seen of an address from outside; pure."""

import contextlib
import json
from dataclasses import dataclass, field

from services.common.tls import PeerCertificate


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an address; each field is empty until it was got so far."""

    addresses: tuple[str, ...] = ()
    connected: bool = False
    error: str = ""
    """Why it went no further."""
    distrust: str = ""
    """Why we do not trust the certificate that it showed."""
    refusal: str = ""
    """Why it does not accept ours."""
    certificate: PeerCertificate | None = None
    issuer: str = ""
    status: int = 0
    body: str = ""
    ahead: float | None = None
    """Seconds that its clock is ahead of ours."""
    sure: float = field(default=0.0)
    """Seconds by which that may be wrong."""


def features(body: str) -> list[dict[str, object]] | None:
    """The features of a license server's answer; None where it is another's."""
    with contextlib.suppress(ValueError):
        told = json.loads(body)
        if isinstance(told, list) and all(isinstance(each, dict) for each in told):
            return told
    return None


def detail(body: str) -> str:
    """What an answer says is wrong: the sentence of a problem+json, else its beginning."""
    with contextlib.suppress(ValueError):
        told = json.loads(body)
        if isinstance(told, dict) and isinstance(told.get("detail"), str):
            return str(told["detail"])[:300]
    return repr(body[:80])
