"""FastAPI over mutual TLS: who calls, errors as problem+json, sockets, orderly start and stop.

uvicorn does not show an application the client's certificate; :class:`_TlsProtocol` puts it into
the ASGI scope under the TLS extension's names, and :func:`caller` reads it there.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.common.errors import ConfigError, ForbiddenError, SwarmError
from services.common.nesting import is_too_deep
from services.common.tls import Identity, PeerCertificate, read_certificate

log = logging.getLogger("swarm.rest")

MAX_BODY = 1 << 20
"""Largest request body in bytes; our requests carry metadata, never models."""
STOP_SECONDS = 2
"""How long a stopping server waits for requests under way."""


class _TlsProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the client's certificate in the scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        self._peer = read_certificate(der) if der else None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": {"client_certificate": self._peer}}

    def shutdown(self) -> None:
        """End the connection; an idle one at once, not when its client answers TLS's goodbye."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        idle = cycle is None or cycle.response_complete
        super().shutdown()
        if idle:
            self.transport.abort()


class _BodyLimit:
    """Refuses request bodies that are larger than :data:`MAX_BODY`, or nested too deep."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more and len(body) <= MAX_BODY:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            await problem(413, "too-large", "request body too large")(scope, receive, send)
        elif is_too_deep(bytes(body)):
            await problem(400, "bad-request", "JSON nested too deep")(scope, receive, send)
        else:
            await self.app(scope, _replay(bytes(body), receive), send)


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


def make_app(title: str, version: str = "1") -> FastAPI:
    """A FastAPI application that answers every error as problem+json (RFC 9457)."""
    app = FastAPI(title=title, version=version)
    app.add_middleware(_BodyLimit)

    @app.exception_handler(SwarmError)
    async def on_swarm_error(request: Request, exc: SwarmError) -> JSONResponse:
        log.info("%s %s refused: %s", request.method, request.url.path, exc)
        return problem(exc.http_status, exc.code, str(exc))

    @app.exception_handler(RequestValidationError)
    async def on_bad_request(_request: Request, exc: RequestValidationError) -> JSONResponse:
        return problem(400, "bad-request", "; ".join(_field_error(e) for e in exc.errors()))

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


def problem(status: int, code: str, detail: str) -> JSONResponse:
    """One error as ``application/problem+json``; ``code`` is the stable word for programs."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return JSONResponse(
        {**body, "detail": detail, "code": code}, status, media_type="application/problem+json"
    )


def _field_error(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"] if part != "body")
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def caller(request: Request) -> PeerCertificate:
    """The certificate of who made this request; use with ``fastapi.Depends``.

    Raises:
        ForbiddenError: there is none, which mutual TLS makes impossible outside tests.
    """
    extensions: dict[str, Any] = request.scope.get("extensions") or {}
    certificate = extensions.get("tls", {}).get("client_certificate")
    if not isinstance(certificate, PeerCertificate):
        raise ForbiddenError("a client certificate is needed")
    return certificate


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


@asynccontextmanager
async def serving(app: FastAPI, sock: socket.socket, identity: Identity) -> AsyncIterator[None]:
    """Serve ``app`` on ``sock`` with mutual TLS while the body runs; then stop in order."""
    context = identity.server_context()

    def use_ours(_config: uvicorn.Config, _default: Any) -> ssl.SSLContext:  # noqa: ANN401
        return context

    config = uvicorn.Config(
        app, http=_TlsProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
        ssl_context_factory=use_ours, timeout_graceful_shutdown=STOP_SECONDS, server_header=False,
        timeout_keep_alive=75, h11_max_incomplete_event_size=64 * 1024,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(sockets=[sock]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        yield
    finally:
        server.should_exit = True
        await task
        sock.close()
