"""Who calls, and what that allows: a session, a name with password, or a certificate.

A script in a browser is only whom its user signed in as: browsers send certificates and remembered
passwords along with any site's requests, so neither counts where the browser says that a page asks.
Calls by session that change something need the session's word besides (CSRF).
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from services.common.door import source_of
from services.common.errors import BusyError, ForbiddenError
from services.common.license_api import Role
from services.common.rest import certificate_of
from services.common.tls import PeerCertificate
from services.license.adapters.accounts import Accounts, NotSignedInError, SignedIn
from services.license.adapters.history_table import USER
from services.license.core.sessions import is_csrf
from services.license.core.users import Right, User, require_right, role_of

COOKIE = "__Host-swarm_license"
"""Browsers take a cookie of such a name from this host over TLS only: neither another host of the
domain nor a page without TLS can put a session of its own there."""
CSRF_HEADER = "X-CSRF-Token"
REFRESH_HEADER = "X-Refresh"
"""Marks calls that a page makes by itself: they do not count as use of the session."""
SAFE = ("GET", "HEAD", "OPTIONS")
SLOW_AT_ONCE, SLOW_WAITING = 2, 40
"""Passwords checked at the same time (32 MiB each), and those that wait for it: so that guesses
cannot keep nodes from their leases."""

T = TypeVar("T")


class CertificateNeededError(ForbiddenError):
    """Leases are for nodes."""

    http_status = 401
    code = "certificate-needed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls."""

    name: str
    """For the history: a certificate's CN, or ``user:`` and the name."""
    role: Role
    user: User | None = None
    signed_in: SignedIn | None = None

    def may_see_users(self) -> bool:
        """Whether names of users are for this caller: not for just any node."""
        return self.user is not None or self.role is not Role.VIEW_ONLY


class Access:
    """Finds out who calls.

    Args:
        accounts: users and sessions.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._turns: anyio.CapacityLimiter | None = None
        self._waiting = 0

    def needs(self, right: Right) -> Callable[[Request], Awaitable[Caller]]:
        """A dependency: who calls, provided that it may.

        Args:
            right: what is needed.
        """

        async def allowed(request: Request) -> Caller:
            caller = await self.caller(request)
            require_right(caller.role, right)
            return caller

        return allowed

    async def caller(self, request: Request) -> Caller:
        """Who calls.

        Raises:
            NotSignedInError: nobody whom we know.
            ForbiddenError: a certificate without a role, or the session's word is missing.
        """
        if not by_page(request):
            name_and_password = _basic(request)
            if name_and_password is not None:
                verify, address = self._accounts.verify, address_of(request)
                user = await self.slowly(lambda: verify(*name_and_password, address))
                return Caller(USER + user.name, user.role, user)
        if COOKIE in request.cookies:
            return await self.session(request)
        certificate = certificate_of(request.scope)
        if certificate is None or by_page(request):
            raise NotSignedInError("not signed in: sign in, or call with a swarm certificate")
        return _by_certificate(certificate)

    async def session(self, request: Request) -> Caller:
        """Who calls by a session.

        Raises:
            NotSignedInError: there is no session.
            ForbiddenError: ``csrf``.
        """
        token = request.cookies.get(COOKIE, "")
        used = REFRESH_HEADER not in request.headers
        signed_in = await run_in_threadpool(self._accounts.session, token, used=used)
        if request.method not in SAFE and not is_csrf(token, request.headers.get(CSRF_HEADER, "")):
            raise ForbiddenError(
                f"the header {CSRF_HEADER} is missing or of another session: load the page again",
                "csrf",
            )
        user = signed_in.user
        return Caller(USER + user.name, user.role, user, signed_in)

    async def slowly(self, work: Callable[[], T]) -> T:
        """Carry out what computes slow hashes, few at a time.

        Raises:
            BusyError: too many wait already.
        """
        if self._turns is None:
            self._turns = anyio.CapacityLimiter(SLOW_AT_ONCE)
        if self._waiting >= SLOW_WAITING:
            raise BusyError("too many sign-ins at once: try again in a minute")
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._turns)
        finally:
            self._waiting -= 1


def node(request: Request) -> PeerCertificate:
    """The certificate of a node that asks for a lease; use with ``fastapi.Depends``.

    Raises:
        CertificateNeededError: there is none.
        ForbiddenError: a page in a browser asks.
    """
    certificate = certificate_of(request.scope)
    if certificate is None:
        raise CertificateNeededError(
            "leases are for nodes: call with a client certificate of the swarm"
        )
    if by_page(request):
        raise ForbiddenError("leases are for nodes, not for pages in a browser", "cross-site")
    return certificate


def by_page(request: Request) -> bool:
    """Whether a browser says that a page makes this request, not its user by hand."""
    site = request.headers.get("sec-fetch-site", "none")
    return site != "none" or "origin" in request.headers


def require_same_site(request: Request) -> None:
    """Check that no other site's page makes this request, e.g. a sign-in as somebody else.

    Raises:
        ForbiddenError: ``cross-site``.
    """
    origin = request.headers.get("origin")
    ours = f"https://{request.headers.get('host', '')}"
    site = request.headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") or (origin is not None and origin != ours):
        raise ForbiddenError("a page of another site makes this request", "cross-site")


def address_of(request: Request) -> str:
    """Where a request comes from; one network's IPv6 addresses count as one."""
    return source_of(request.client.host) if request.client is not None else "unknown"


def _by_certificate(certificate: PeerCertificate) -> Caller:
    role = role_of(certificate.role)
    if role is None:
        raise ForbiddenError(
            f"certificate {certificate.common_name!r} names no role: its CN must begin with one "
            "like SL-, or its OU be one"
        )
    name = certificate.common_name
    return Caller(f"certificate {name}" if name.startswith(USER) else name, role)


def _basic(request: Request) -> tuple[str, str] | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = name = password = ""
    if not colon or not name.isprintable():
        raise NotSignedInError("the header Authorization is not good", "bad-credentials")
    return name[:200], password[:1000]
