"""FastAPI over mutual TLS: who calls, errors as problem+json, sockets, orderly start and stop.

uvicorn does not show an application the client's certificate; :class:`TlsProtocol` puts it into
the ASGI scope under the TLS extension's names, and :func:`caller` reads it there. What clients may
cost is bounded: :class:`services.common.door.Limits`, :data:`MAX_BODY`, :data:`MAX_BODIES`.
"""

import asyncio
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.door import BACKLOG, Door, Limits
from services.common.errors import BusyError, ConfigError, ForbiddenError, SwarmError
from services.common.nesting import is_too_deep
from services.common.renewed import HEADER, IsRevoked, confirmed
from services.common.rest_protocol import TlsProtocol
from services.common.tls import Identity, PeerCertificate

log = logging.getLogger("swarm.rest")

MAX_BODY = 1 << 20
"""Largest request body in bytes; our requests carry metadata, never models."""
SHORT_BODY = 64 << 10
"""Bytes of a body that is looked through at once."""
MAX_BODIES = 64 << 20
"""Bytes of all request bodies that wait to be whole; further ones are answered "busy"."""
MAX_STRANGE_BODIES = MAX_BODIES // 4
"""The same for clients without a certificate, so that they cannot keep nodes out."""
MAX_REQUESTS = 256
"""Requests of one certificate under way, also those whose client went away."""
MOST_ERRORS, LONGEST_ERROR = 10, 2000
"""Mistakes in a request that its sender is told of, and characters of that."""
STOP_SECONDS = 2
"""How long a stopping server waits for requests under way."""

T = TypeVar("T")


class Crowd:
    """Counts what each certificate has under way, and lets nobody have too much.

    Args:
        most: for one certificate.
        what: for the message, e.g. ``requests``.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._now: Counter[str] = Counter()

    @contextmanager
    def one_more(self, fingerprint: str) -> Iterator[None]:
        """Count what happens inside.

        Raises:
            BusyError: the certificate has too much under way already.
        """
        if self._now[fingerprint] >= self._most:
            raise BusyError(
                f"{self._most} {self._what} of your certificate are under way: ask again later"
            )
        self._now[fingerprint] += 1
        try:
            yield
        finally:
            self._now[fingerprint] -= 1
            if not self._now[fingerprint]:
                del self._now[fingerprint]


class _CrowdLimit:
    """Refuses requests of a certificate that has :data:`MAX_REQUESTS` under way."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._crowd = Crowd(MAX_REQUESTS, "requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        certificate = certificate_of(scope)
        try:
            with self._crowd.one_more(certificate.fingerprint if certificate else ""):
                await self.app(scope, receive, send)
        except BusyError as exc:
            await problem(exc.http_status, exc.code, str(exc))(scope, receive, send)


class _BodyLimit:
    """Refuses request bodies that are larger than ``max_body``, or nested too deep."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self.app = app
        self._max_body = max_body
        self._held: Counter[bool] = Counter()
        """Bytes of all bodies under way, without and with a certificate."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = bytearray()
        known = certificate_of(scope) is not None
        try:
            refusal = await self._read(body, receive, known)
        finally:
            self._held[known] -= len(body)
        if refusal is None:
            await self.app(scope, _replay(bytes(body), receive), send)
        else:
            await refusal(scope, receive, send)

    async def _read(self, body: bytearray, receive: Receive, known: bool) -> JSONResponse | None:
        """Read into ``body``; the answer where it is not taken."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":  # nobody reads this
                return problem(400, "bad-request", "the body is not whole")
            chunk = message.get("body", b"")
            body += chunk
            self._held[known] += len(chunk)
            more = message.get("more_body", False)
            if len(body) > self._max_body:
                return problem(413, "too-large", "request body too large", close=True)
            if self._held[known] > (MAX_BODIES if known else MAX_STRANGE_BODIES):
                return problem(503, BusyError.code, "too many requests at once", close=True)
        if await _is_too_deep(bytes(body)):
            return problem(400, "bad-request", "JSON nested too deep")
        return None


async def _is_too_deep(body: bytes) -> bool:
    """Looks through long bodies beside everything else: 4 MiB take most of a second."""
    if len(body) <= SHORT_BODY:
        return is_too_deep(body)
    return await run_in_threadpool(is_too_deep, body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, and then whatever follows it."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def make_app(title: str, version: str = "1", max_body: int = MAX_BODY) -> FastAPI:
    """A FastAPI application that answers every error as problem+json (RFC 9457).

    Args:
        title: of its description.
        version: of its API.
        max_body: largest request body in bytes.
    """
    # no pages for people: FastAPI's load scripts from elsewhere into our origin
    app = FastAPI(title=title, version=version, docs_url=None, redoc_url=None)
    app.add_middleware(_BodyLimit, max_body=max_body)
    app.add_middleware(_CrowdLimit)

    @app.exception_handler(SwarmError)
    async def on_swarm_error(request: Request, exc: SwarmError) -> JSONResponse:
        log.info("%s %s refused: %s", request.method, request.url.path, exc)
        return problem(exc.http_status, exc.code, str(exc))

    @app.exception_handler(RequestValidationError)
    async def on_bad_request(_request: Request, exc: RequestValidationError) -> JSONResponse:
        told = "; ".join(_field_error(e) for e in exc.errors()[:MOST_ERRORS])
        return problem(400, "bad-request", told[:LONGEST_ERROR])

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, exc: HTTPException) -> JSONResponse:
        return problem(exc.status_code, "http", str(exc.detail))

    @app.get("/is_up", response_class=PlainTextResponse, summary="Exactly OK (HPE's probe)")
    async def is_up() -> str:
        return "OK"

    @app.get("/healthz", response_class=PlainTextResponse, summary="Whether the process serves")
    async def healthz() -> str:
        return "OK"

    return app


class AsciiJson(JSONResponse):
    """JSON in ASCII: what a client sent may come back in it, and not all of that is UTF-8."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - as in Starlette
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def problem(status: int, code: str, detail: str, *, close: bool = False) -> JSONResponse:
    """One error as ``application/problem+json``.

    Args:
        status: of HTTP.
        code: the stable word for programs.
        detail: for a person.
        close: whether the connection ends with it.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return AsciiJson(
        {**body, "detail": detail, "code": code}, status, {"connection": "close"} if close else {},
        media_type="application/problem+json",
    )  # fmt: skip


def _field_error(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def caller(request: Request) -> PeerCertificate:
    """The certificate of who made this request; use with ``fastapi.Depends``.

    It knows those that it replaced, as far as the request proves it.

    Raises:
        ForbiddenError: there is none: the port is the license server's, or this is a test.
    """
    certificate = certificate_of(request.scope)
    if certificate is None:
        raise ForbiddenError("a client certificate is needed")
    return confirmed(certificate, request.headers.get(HEADER), _is_revoked(request.scope))


def certificate_of(scope: Scope) -> PeerCertificate | None:
    """The client's certificate; None where it showed none."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    certificate = extensions.get("tls", {}).get("client_certificate")
    return certificate if isinstance(certificate, PeerCertificate) else None


def _is_revoked(scope: Scope) -> IsRevoked:
    tls: dict[str, Any] = (scope.get("extensions") or {}).get("tls", {})
    found: IsRevoked = tls.get("is_revoked", lambda _: False)
    return found


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` gives; it is cancelled when the client goes away before.

    Raises:
        BusyError: the client went away; nobody reads this.
    """
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_goodbye(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise BusyError("the client went away")
    finally:
        working.cancel()
        going.cancel()


async def _goodbye(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def listen(host: str, port: int, what: str) -> socket.socket:
    """A bound TCP socket.

    Args:
        host: address to bind.
        port: port to bind; 0 lets the system choose.
        what: who wants it, for the message.

    Raises:
        ConfigError: the port is taken or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms) off only where the socket says that it is TCP
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise ConfigError(
            f"{what} cannot listen on {host}:{port}: {exc.strerror}. Stop what uses the port or "
            "choose another"
        ) from exc
    sock.set_inheritable(False)
    return sock


class _Server(uvicorn.Server):
    """uvicorn's, but :class:`Door` accepts the connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        self.started = True


@asynccontextmanager
async def serving(
    app: FastAPI,
    sock: socket.socket,
    identity: Identity,
    limits: Limits = Limits(),  # noqa: B008
    *,
    client_certificate_optional: bool = False,
) -> AsyncIterator[None]:
    """Serve ``app`` on ``sock`` with mutual TLS while the body runs; then stop in order.

    Args:
        app: the application.
        sock: bound, see :func:`listen`.
        identity: ours.
        limits: what clients may cost.
        client_certificate_optional: whether clients without a certificate are let in, too; the
            application must then look who calls, see :func:`certificate_of`.
    """
    context = identity.server_context(client_certificate_optional=client_certificate_optional)
    config = uvicorn.Config(
        app, http=TlsProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS, server_header=False,
        timeout_keep_alive=limits.idle_s,
        proxy_headers=False,  # else who calls from this host chooses its address (X-Forwarded-For)
    )  # fmt: skip
    server = _Server(config)
    door = Door(
        context,
        lambda place: TlsProtocol(config, server.server_state, place, limits, identity),
        limits,
    )
    sock.listen(BACKLOG)
    sock.setblocking(False)
    task = asyncio.create_task(server._serve(sockets=[sock]))
    opened = asyncio.create_task(door.run(sock))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        yield
    finally:
        opened.cancel()
        await asyncio.wait([opened])
        server.should_exit = True
        await task
        sock.close()
