"""Sessions of people in browsers: how long they last, and the secrets that belong to them.

The browser holds a random token; we keep only its hash. The word against forged requests (CSRF)
follows from the token, so it is as secret and needs no keeping.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

IDLE_S = 30 * 60.0
"""A session ends when it is not used for so long."""
LONGEST_S = 12 * 3600.0
"""A session ends after so long, used or not."""
PER_USER = 10
"""Sessions of one user; the oldest ends where one more begins."""
SEEN_EVERY_S = 30.0
"""How exactly the last use is stored; not each request need write."""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in."""

    token_hash: str
    user: str
    began: float
    seen: float


def left_s(session: Session, now: float) -> float:
    """Seconds until a session ends; 0 or less where it has."""
    if session.seen > now + SEEN_EVERY_S:  # the clock was set back
        return 0
    return min(session.seen + IDLE_S, session.began + LONGEST_S) - now


def surplus(sessions: Sequence[Session]) -> Sequence[Session]:
    """Which of a user's sessions, oldest first, end so that one more may begin."""
    return sessions[: max(0, len(sessions) - PER_USER + 1)]


def hash_of(secret: str) -> str:
    """What is kept of a random secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_of(token: str) -> str:
    """The word that a page sends along, which another site's page cannot know."""
    return hmac.new(token.encode("utf-8", "surrogatepass"), b"csrf", "sha256").hexdigest()


def is_csrf(token: str, word: str) -> bool:
    """Whether ``word`` is the token's."""
    return hmac.compare_digest(csrf_of(token).encode(), word.encode("utf-8", "surrogatepass"))
