"""Who may do what, and what passwords and names are good for.

A password needs length, not kinds of characters: rules of composition make people write passwords
down, and guessing is slow anyway (:mod:`.throttle`).
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from services.common.errors import ConfigError, ForbiddenError, ProtocolError
from services.common.ids import NodeKind
from services.common.license_api import Role

MOST_USERS = 200
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

SCRYPT = {"n": 1 << 15, "r": 8, "p": 3}
"""32 MiB and about 0.2 s for each try (OWASP's choice for that memory)."""
_MEMORY = 128 << 20
_DIGEST, _PARTS = 32, 6


class Right(Enum):
    """What a route may demand."""

    VIEW = auto()
    """See features, leases, licenses, history."""
    MANAGE = auto()
    """Install, archive, restore and delete licenses; revoke leases."""
    ADMINISTER = auto()
    """Users and settings."""


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.ADMINISTRATOR: frozenset(Right),
    Role.PRODUCT_ADMIN: frozenset({Right.VIEW, Right.MANAGE}),
    Role.VIEW_ONLY: frozenset({Right.VIEW}),
}


@dataclass(frozen=True, slots=True)
class User:
    """A local user."""

    name: str
    role: Role
    password: str
    """:func:`hashed`; empty where a code must be used first."""
    disabled: bool = False
    last_sign_in: int | None = None
    """Unix seconds."""


def role_of(kind: NodeKind | None) -> Role | None:
    """What a certificate's holder is here; None where the certificate names no kind of node."""
    if kind is None:
        return None
    return Role.PRODUCT_ADMIN if kind in (NodeKind.SWCI, NodeKind.LICENSE) else Role.VIEW_ONLY


def require_right(role: Role, right: Right) -> None:
    """Check what a role may do.

    Raises:
        ForbiddenError: it may not.
    """
    if right not in RIGHTS[role]:
        able = " or ".join(other for other in Role if right in RIGHTS[other])
        raise ForbiddenError(f"this needs the role {able}, you have {role}: ask an administrator")


def require_name(name: str) -> None:
    """Check a new user's name.

    Raises:
        ConfigError: ``bad-name``.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "a user's name has 1 to 64 letters (a-z), digits, '.', '_', '@' or '-', and begins "
            "with a letter or digit",
            "bad-name",
        )


def require_password(password: str, name: str) -> None:
    """Check a new password.

    Raises:
        ConfigError: ``bad-password``.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ConfigError(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters: a few words in "
            "a row are easy to keep in mind",
            "bad-password",
        )
    if password.casefold().strip() == name.casefold() or len(set(password)) == 1:
        raise ConfigError(
            "a password must not be the user's name or one character again and again",
            "bad-password",
        )


def require_an_administrator(users: Iterable[User]) -> None:
    """Check that somebody can still administer after a change.

    Raises:
        ProtocolError: ``last-administrator``.
    """
    able = (user for user in users if user.password and not user.disabled)
    if not any(user.role is Role.ADMINISTRATOR for user in able):
        raise ProtocolError(
            "this is the last administrator: make somebody else one first", "last-administrator"
        )


def hashed(password: str, salt: bytes) -> str:
    """A password's slow hash with its parameters: ``scrypt$n$r$p$salt$hash``."""
    return _kept(salt, _scrypt(password, salt, **SCRYPT))


def nobody() -> str:
    """What looks like a hash, and is no password's; as slow to look at."""
    return _kept(bytes(16), bytes(_DIGEST))


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one behind a hash; False for what is no hash."""
    parts = kept.split("$")
    if len(parts) != _PARTS or parts[0] != "scrypt":
        return False
    n, r, p = (int(part) for part in parts[1:4])
    digest = _scrypt(password, b64decode(parts[4]), n=n, r=r, p=p)
    return hmac.compare_digest(digest, b64decode(parts[5]))


def is_outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return kept.split("$")[1:4] != [str(SCRYPT[name]) for name in "nrp"]


def _kept(salt: bytes, digest: bytes) -> str:
    numbers = "$".join(str(SCRYPT[name]) for name in "nrp")
    return f"scrypt${numbers}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def _scrypt(password: str, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_DIGEST)
