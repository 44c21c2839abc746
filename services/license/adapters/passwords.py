"""Slow hashes of passwords; the good ones stay known for a while."""

import hmac
import secrets
import time
from collections.abc import Callable

from services.license.core import users as law
from services.license.core.users import User

FRESH_S = 60.0
"""A script that sends its password with each request pays for the hash once in so long."""
MOST_FRESH = 200
SALT = 16


class Passwords:
    """Thread-safe.

    Args:
        hashed: password and salt -> what is kept.
        matches: password and what is kept -> whether they fit.
        nobody: what is looked at instead where nothing is kept; takes as long.
    """

    def __init__(
        self,
        hashed: Callable[[str, bytes], str] = law.hashed,
        matches: Callable[[str, str], bool] = law.matches,
        nobody: str = "",
    ) -> None:
        self._hashed = hashed
        self._matches = matches
        self._key = secrets.token_bytes(32)
        self._fresh: dict[bytes, float] = {}
        self._nobody = nobody or law.nobody()

    def hashed(self, password: str) -> str:
        """What is kept of a password."""
        return self._hashed(password, secrets.token_bytes(SALT))

    def matches(self, password: str, kept: str) -> bool:
        """Whether a password is right; takes as long where nothing is kept."""
        right = self._matches(password, kept or self._nobody)
        return right and bool(kept)

    def remember(self, user: User, password: str) -> None:
        """Keep in mind for a while that this password is right."""
        if len(self._fresh) >= MOST_FRESH:
            self._fresh.clear()
        self._fresh[self._mark(user, password)] = time.monotonic() + FRESH_S

    def is_fresh(self, user: User, password: str) -> bool:
        """Whether this password was right a moment ago; no right one is found out by this."""
        return not user.disabled and (
            self._fresh.get(self._mark(user, password), 0.0) > time.monotonic()
        )

    def _mark(self, user: User, password: str) -> bytes:
        text = f"{user.name}\0{user.password}\0{password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
