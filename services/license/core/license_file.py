"""The license document: JSON, signed with Ed25519 by an issuer.

A document is signed over its canonical form: all members but ``signature``, keys sorted, no
white space, UTF-8. It holds no fractions, so that the form is unambiguous. HPE's ``.dat`` files
are a closed format and are not read.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.errors import ConfigError
from services.common.license_api import Feature, FeatureId, LicenseState
from services.common.nesting import is_too_deep

MAX_DOCUMENT = 1 << 18
"""Largest license document in characters."""
MOST_DOCUMENTS = 16
"""Documents in one uploaded file."""
COMMUNITY_PRODUCT = "SWARM-CMT"
PRODUCT = "SWARM"
COMMUNITY_CAPACITY = 1000

NAMES: dict[str, str] = {
    Feature.SL: "Swarm Learning Node",
    Feature.SN: "Swarm Network Node",
    Feature.SWCI: "Swarm Command Interface E-LTU",
    Feature.SWOP: "Swarm Workload Orchestrator Process E-LTU",
    Feature.MULTI_CONTRACT: "Multi-Training-Contract-Support E-LTU",
    Feature.MULTI_TASKRUNNER: "Multi-TaskRunner-Contract-Support E-LTU",
}
"""Feature names, HPE's."""

_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LicensedFeature(_Part):
    """Capacity of one feature."""

    feature_id: FeatureId
    version: Literal["1"] = "1"
    name: _Text
    capacity: Annotated[int, Field(ge=1, le=1_000_000)]


class License(_Part):
    """A license; the fields of the document but its signature."""

    issuer: _Text
    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Which key signed it, see :func:`key_id`."""
    licensee: _Text
    product: _Text
    serial: Annotated[str, Field(pattern=r"^[0-9A-Za-z._-]{1,64}$")]
    not_before: Annotated[AwareDatetime, Field(strict=False)]
    not_after: Annotated[AwareDatetime, Field(strict=False)] | None
    """None: perpetual."""
    lock: Annotated[str, Field(pattern=r"^(any|[0-9a-f]{32})$")] = "any"
    """The only server that may use it, by server id, or ``any``."""
    features: Annotated[list[LicensedFeature], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.not_after is not None and self.not_after <= self.not_before:
            raise ValueError("it ends before it begins")
        if len({item.feature_id for item in self.features}) < len(self.features):
            raise ValueError("a feature is named twice")
        return self


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a public key: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def mistake_in(exc: ValidationError) -> str:
    """The first mistake in a license's fields, for a person."""
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def sign(document: License, key: Ed25519PrivateKey) -> str:
    """The signed document, as text to store or send.

    Raises:
        ConfigError: ``document`` names another key than ``key``.
    """
    if document.key_id != key_id(key.public_key()):
        raise ConfigError(f"license {document.serial} names key {document.key_id}, not this one")
    fields = document.model_dump(mode="json")
    signature = base64.b64encode(key.sign(_canonical(fields))).decode("ascii")
    return json.dumps({**fields, "signature": signature}, indent=1, ensure_ascii=False)


def verify(text: str, trusted: Mapping[str, Ed25519PublicKey], server_id: str) -> License:
    """Read a signed document and check everything but its dates.

    Args:
        text: the document.
        trusted: issuers' keys by :func:`key_id`.
        server_id: of this server, for the lock.

    Raises:
        ConfigError: with code ``bad-license`` (malformed), ``unknown-issuer``, ``bad-signature``
            or ``other-server``.
    """
    fields = _parse(text)
    signature = fields.pop("signature", None)
    try:
        document = License.model_validate(fields)
    except ValidationError as exc:
        raise ConfigError(f"bad license: {mistake_in(exc)}", "bad-license") from exc
    issuer = trusted.get(document.key_id)
    if issuer is None:
        raise ConfigError(
            f"license {document.serial} is signed by key {document.key_id}, which this server does "
            "not trust: put the issuer's public key (PEM) into the folder issuers/",
            "unknown-issuer",
        )
    try:
        issuer.verify(base64.b64decode(str(signature), validate=True), _canonical(fields))
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        raise ConfigError(
            f"license {document.serial}: the signature does not match, the text was changed",
            "bad-signature",
        ) from exc
    if document.lock not in ("any", server_id):
        raise ConfigError(
            f"license {document.serial} is for server {document.lock}, this is {server_id}",
            "other-server",
        )
    return document


def community(issuer: Ed25519PublicKey, now: float) -> License:
    """The perpetual license that a server gives itself, so that nothing blocks a newcomer.

    Args:
        issuer: the server's own public key.
        now: Unix seconds.
    """
    own = key_id(issuer)
    return License(
        issuer="this server", key_id=own, licensee="community", product=COMMUNITY_PRODUCT,
        serial=f"community-{own[:8]}", not_before=datetime.fromtimestamp(now, UTC),
        not_after=None, lock=own,
        features=[
            LicensedFeature(feature_id=feature, name=name, capacity=COMMUNITY_CAPACITY)
            for feature, name in NAMES.items()
        ],
    )  # fmt: skip


def in_force(document: License, now: float) -> bool:
    """Whether ``now`` (Unix seconds) lies within the license's dates."""
    moment = datetime.fromtimestamp(now, UTC)
    return document.not_before <= moment and (
        document.not_after is None or moment < document.not_after
    )


def state(document: License, now: float, *, archived: bool) -> LicenseState:
    """Whether a license counts at ``now`` (Unix seconds), and if not, why."""
    if archived:
        return LicenseState.ARCHIVED
    if in_force(document, now):
        return LicenseState.ACTIVE
    begun = document.not_before <= datetime.fromtimestamp(now, UTC)
    return LicenseState.EXPIRED if begun else LicenseState.FUTURE


def documents_in(text: str) -> list[str]:
    """The documents of an uploaded file: one, or a JSON array of several, each as text.

    Raises:
        ConfigError: ``bad-license``.
    """
    if not text.lstrip().startswith("["):
        return [text]
    parsed = _json(text, MOST_DOCUMENTS * MAX_DOCUMENT)
    if not isinstance(parsed, list) or not 0 < len(parsed) <= MOST_DOCUMENTS:
        raise ConfigError(f"bad license: 1 to {MOST_DOCUMENTS} documents in a file", "bad-license")
    return [json.dumps(document, ensure_ascii=False) for document in parsed]


def _parse(text: str) -> dict[str, Any]:
    fields = _json(text, MAX_DOCUMENT)
    if not isinstance(fields, dict):
        raise ConfigError("bad license: not a JSON object", "bad-license")
    return fields


def _json(text: str, longest: int) -> Any:  # noqa: ANN401 - whatever it is
    if len(text) > longest:
        raise ConfigError(f"bad license: over {longest} characters", "bad-license")
    if is_too_deep(text.encode("utf-8", "surrogatepass")):
        raise ConfigError("bad license: nested too deep", "bad-license")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_float=_none, parse_constant=_none)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"bad license: not JSON as expected: {exc}", "bad-license") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member appears twice")
    return found


def _none(number: str) -> None:
    raise ValueError(f"{number}: only whole numbers are allowed")


def _canonical(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")
