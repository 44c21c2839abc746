"""Users, sign-in and sessions: joins the rules, the database, the clock and randomness."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.common.errors import ForbiddenError, NotFoundError, ProtocolError, SwarmError
from services.common.license_api import Role
from services.license.adapters.history_table import USER
from services.license.adapters.passwords import Passwords
from services.license.adapters.setup_code import SetupCode
from services.license.adapters.store import Store
from services.license.core import sessions as rules
from services.license.core import users as law
from services.license.core.sessions import Session
from services.license.core.throttle import Throttle
from services.license.core.users import User

log = logging.getLogger("swarm.license")

KINDS = frozenset(
    {
        "signed-in", "sign-in-failed", "signed-out", "password-changed", "password-reset",
        "user-added", "user-changed", "user-removed", "set-up",
    }
)  # fmt: skip
"""Kinds of history that only administrators see."""


class NotSignedInError(SwarmError):
    """Nobody has signed in, or the session has ended."""

    http_status = 401
    code = "not-signed-in"


class TooManyTriesError(SwarmError):
    """Too many wrong passwords or codes.

    Args:
        wait_s: seconds until the next try.
    """

    http_status = 429
    code = "too-many-tries"

    def __init__(self, wait_s: float) -> None:
        self.wait_s = int(wait_s) + 1
        super().__init__(f"too many tries: wait {self.wait_s} seconds, then try again")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user's session, with the token that only the browser keeps."""

    user: User
    token: str
    csrf: str
    left_s: float


class Accounts:
    """All operations on users. Thread-safe; other processes may change the database, too.

    Args:
        store: the database.
        setup: the first sign-in's code.
        clock: Unix seconds, steady.
        passwords: hashes; slow on purpose.
    """

    def __init__(
        self,
        store: Store,
        setup: SetupCode,
        clock: Callable[[], float],
        passwords: Passwords | None = None,
    ) -> None:
        self._store = store
        self._setup = setup
        self._clock = clock
        self._passwords = passwords or Passwords()
        self._throttle = Throttle()

    def open(self) -> None:
        """Where there is no user yet, make the code with which the first one is made, and tell."""
        with self._store.transaction():
            if self._store.users.all():
                self._setup.remove()
                return
        self._setup.make()
        log.warning(
            "Nobody can sign in yet: open this server's page and enter the setup code %s (also in "
            "%s)",
            self._setup.read(), self._setup.path,
        )  # fmt: skip

    # --- first sign-in

    def setup_needed(self) -> tuple[bool, bool]:
        """Whether there is no user yet, and whether a user waits with a code for a new password."""
        with self._store.transaction():
            users = self._store.users
            return not users.all(), users.has_code(self._clock())

    def set_up(self, code: str, name: str, password: str, address: str) -> SignedIn:
        """Make the first user, an administrator; or give a user with a code a new password.

        Raises:
            ConfigError: name or password are not good.
            ProtocolError: ``already-set-up``.
            ForbiddenError: ``bad-setup-code``.
            TooManyTriesError: wrong codes before.
        """
        first, reset = self.setup_needed()
        if not first and not reset:
            raise ProtocolError("there are users already: sign in", "already-set-up")
        law.require_name(name)
        law.require_password(password, name)
        self._try("setup code of " + name, address)
        with self._store.transaction():
            known = self._store.users.get(name)
            kept = self._store.users.code(name, self._clock())
        if not (self._setup.is_it(code) if first else SetupCode.matches(code, kept)):
            raise ForbiddenError(
                "that setup code is not good (any more): the newest stands in the server's log, in "
                "the file setup-code, or comes from `python -m services.license.users`",
                "bad-setup-code",
            )
        self._throttle.succeeded("setup code of " + name, address)
        digest = self._passwords.hashed(password)
        with self._store.transaction():
            self._use_code(known, name, digest, kept)
            signed_in = self._begin(name, address)
        self._setup.remove()
        log.warning("user %s was set up from %s", name, address)
        return signed_in

    def _use_code(self, known: User | None, name: str, digest: str, kept: str | None) -> None:
        """Inside a transaction: what was true before must still be."""
        users, now = self._store.users, self._clock()
        if known is None:
            if users.all():
                raise ProtocolError("there are users already: sign in", "already-set-up")
            users.put(User(name, Role.ADMINISTRATOR, digest))
            self._note("set-up", name, "first user")
            return
        if kept is None or users.code(name, now) != kept:
            raise ForbiddenError("that setup code was used already", "bad-setup-code")
        users.put(replace(known, password=digest, disabled=False))
        users.delete_code(name)
        users.end_sessions(name)
        self._note("password-reset", known.name, "by setup code")

    # --- sessions

    def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """Begin a session.

        Raises:
            NotSignedInError: ``bad-credentials``; the same for a wrong name, a wrong password and
                a disabled user.
            TooManyTriesError: wrong ones before.
        """
        user = self.verify(name, password, address)
        with self._store.transaction():
            return self._begin(user.name, address)

    def verify(self, name: str, password: str, address: str) -> User:
        """Who has this name and password; takes as long where there is no such user.

        Raises:
            NotSignedInError, TooManyTriesError: as of :meth:`sign_in`.
        """
        with self._store.transaction():
            user = self._store.users.get(name)
        if user is not None and self._passwords.is_fresh(user, password):
            return user
        self._try(name, address)
        good = self._passwords.matches(password, user.password if user is not None else "")
        if not good or user is None or user.disabled:
            with self._store.transaction():
                self._note("sign-in-failed", name[:64], f"from {address}")
            log.warning("sign-in of %.64s from %s failed", name, address)
            raise NotSignedInError("name or password are wrong", "bad-credentials")
        self._throttle.succeeded(name, address)
        if law.is_outdated(user.password):
            user = replace(user, password=self._passwords.hashed(password))
            with self._store.transaction():
                self._store.users.put(user)
        self._passwords.remember(user, password)
        return user

    def session(self, token: str, *, used: bool = True) -> SignedIn:
        """The session of a token.

        Args:
            token: the browser's.
            used: whether this counts as use of the session.

        Raises:
            NotSignedInError: there is none, or it has ended.
        """
        now = self._clock()
        with self._store.transaction():
            users = self._store.users
            session = users.session(rules.hash_of(token))
            user = users.get(session.user) if session is not None else None
            if session is None or user is None or user.disabled or rules.left_s(session, now) <= 0:
                raise NotSignedInError("not signed in, or not any more: sign in")
            if used and now - session.seen >= rules.SEEN_EVERY_S:
                session = users.see(session, now)
        return SignedIn(user, token, rules.csrf_of(token), rules.left_s(session, now))

    def sign_out(self, signed_in: SignedIn) -> None:
        """End a session."""
        with self._store.transaction():
            self._store.users.end_session(rules.hash_of(signed_in.token))
            self._note("signed-out", signed_in.user.name)

    def forget(self, token: str) -> None:
        """End the session that a browser had before it signed in anew."""
        with self._store.transaction():
            self._store.users.end_session(rules.hash_of(token))

    def change_password(self, who: User, old: str, new: str, address: str) -> SignedIn:
        """Choose a new password; all sessions of the user end, and a new one begins.

        Raises:
            NotSignedInError: the old one is wrong.
            ConfigError: the new one is not good.
        """
        law.require_password(new, who.name)
        self.verify(who.name, old, address)
        digest = self._passwords.hashed(new)
        with self._store.transaction():
            self._store.users.put(replace(self._existing(who.name), password=digest))
            self._store.users.end_sessions(who.name)
            self._note("password-changed", who.name)
            return self._begin(who.name, address)

    def sweep(self) -> None:
        """Remove the sessions that have ended."""
        now = self._clock()
        with self._store.transaction():
            self._store.users.end_old_sessions(
                now - rules.IDLE_S, now - rules.LONGEST_S, now + rules.SEEN_EVERY_S
            )

    # --- users

    def users(self) -> list[User]:
        """Users by name."""
        with self._store.transaction():
            return self._store.users.all()

    def add(self, name: str, role: Role, password: str, by: str) -> User:
        """Add a user.

        Raises:
            ConfigError: name or password are not good.
            ProtocolError: ``user-exists`` or ``too-many-users``.
        """
        law.require_name(name)
        law.require_password(password, name)
        user = User(name, role, self._passwords.hashed(password))
        with self._store.transaction():
            present = self._store.users.all()
            if self._store.users.get(name) is not None:
                raise ProtocolError(f"there is a user {name} already", "user-exists")
            if len(present) >= law.MOST_USERS:
                raise ProtocolError(f"there are {law.MOST_USERS} users", "too-many-users")
            self._store.users.put(user)
            self._note("user-added", by, f"{name}, {role}")
        log.warning("%s added user %s, %s", by, name, role)
        return user

    def change(
        self,
        name: str,
        by: str,
        role: Role | None = None,
        disabled: bool | None = None,
        password: str | None = None,
    ) -> User:
        """Change a user; what is None stays. A new password, or disabling, ends all sessions.

        It ends the code with which the user might choose another password, too.

        Raises:
            NotFoundError: no such user.
            ConfigError: the password is not good.
            ProtocolError: ``last-administrator``.
        """
        digest = None
        if password is not None:
            law.require_password(password, name)
            digest = self._passwords.hashed(password)
        with self._store.transaction():
            before = self._existing(name)
            after = replace(
                before, role=role or before.role, password=digest or before.password,
                disabled=before.disabled if disabled is None else disabled,
            )  # fmt: skip
            self._require_an_administrator(after, name)
            self._store.users.put(after)
            if after.disabled or digest:
                self._store.users.end_sessions(name)
                self._store.users.delete_code(name)
            state = "disabled" if after.disabled else "enabled"
            changed = f"{before.name}, {after.role}, {state}{', new password' * bool(digest)}"
            self._note("user-changed", by, changed)
        log.warning("%s changed user %s", by, changed)
        return after

    def remove(self, name: str, by: str) -> None:
        """Remove a user and all sessions.

        Raises:
            NotFoundError: no such user.
            ProtocolError: ``last-administrator``.
        """
        with self._store.transaction():
            user = self._existing(name)
            self._require_an_administrator(None, name)
            self._store.users.delete(name)
            self._note("user-removed", by, user.name)
        log.warning("%s removed user %s", by, name)

    # --- inside a transaction

    def _existing(self, name: str) -> User:
        user = self._store.users.get(name)
        if user is None:
            raise NotFoundError(f"there is no user {name}")
        return user

    def _require_an_administrator(self, after: User | None, name: str) -> None:
        others = [u for u in self._store.users.all() if u.name.lower() != name.lower()]
        law.require_an_administrator([*others, after] if after is not None else others)

    def _begin(self, name: str, address: str) -> SignedIn:
        """A new session, with a token that nobody had before."""
        now, token, users = self._clock(), secrets.token_urlsafe(32), self._store.users
        for old in rules.surplus(users.sessions(name)):
            users.end_session(old.token_hash)
        user = replace(self._existing(name), last_sign_in=int(now))
        session = Session(rules.hash_of(token), user.name, now, now)
        users.put(user)
        users.put_session(session)
        self._note("signed-in", user.name, f"from {address}")
        return SignedIn(user, token, rules.csrf_of(token), rules.left_s(session, now))

    def _note(self, kind: str, name: str, note: str = "") -> None:
        by = name if name.startswith(USER) or not name else f"{USER}{name}"
        self._store.book.record(self._clock(), kind, common_name=by, note=note)

    # --- tries

    def _try(self, name: str, address: str) -> None:
        wait = self._throttle.begin(name, address, self._clock())
        if wait > 0:
            raise TooManyTriesError(wait)
