"""The web mode: SWCI's commands over REST (HPE: ``SWCI_MODE=WEB``, port 30306).

One interpreter serves all clients, as HPE's does: they share the current folder and the contexts.
Only certificates of role SWCI may use it. Nothing that a client sends ends the server: EXIT is
refused, and EXIT ON FAILURE counts in the init script only.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from services.common.errors import ConfigError, ForbiddenError, SwarmError
from services.common.ids import NodeKind
from services.common.rest import (
    AsciiJson,
    Crowd,
    caller,
    listen,
    make_app,
    problem,
    serving,
    while_there,
)
from services.common.tls import Identity, load_identity
from services.swci import web_page, web_texts
from services.swci.core.reply import ERROR, Reply, failure
from services.swci.settings import SwciSettings
from services.swci.web_command import answer, is_exit, read_query
from services.swci.web_plain import serving_plain
from services.swci.web_upload import bare_name, store

log = logging.getLogger("swarm.swci")

MOST_COMMANDS = 64
"""Commands of one certificate under way; each SLEEP or WAIT of a client is one."""
WORDS_LOGGED = 4
"""Of a command; later ones may be secrets (SET CONTEXT ENV, a registry's password)."""

Who = Callable[[Request], str]
"""Names the client, for the log and for its limit; refuses those who may not."""


class Commands(Protocol):
    """What the web mode needs of the interpreter."""

    @property
    def cwd(self) -> Path:
        """The current folder."""

    async def execute(self, line: str) -> Reply:
        """Execute one line; never raises for bad input."""


class Answer(BaseModel):
    """What ``/exec`` answers, also where it refuses a request."""

    CONTENT: list[str]
    DATA: Any = None


def operator(request: Request) -> str:
    """The fingerprint of the client's certificate.

    Raises:
        ForbiddenError: its role is not SWCI.
    """
    certificate = caller(request)
    certificate.require(NodeKind.SWCI)
    return certificate.fingerprint


def anybody(request: Request) -> str:
    """The client's address: over plain HTTP there is nothing better."""
    return request.client.host if request.client else ""


def web_app(commands: Commands, who: Who = operator) -> FastAPI:
    """The application.

    Args:
        commands: executes; shared by all clients.
        who: admits clients.
    """
    app = make_app("SWCI: Swarm Learning commands over REST")
    app.description = web_texts.ABOUT
    crowd = Crowd(MOST_COMMANDS, "commands")

    @app.post("/exec", **web_texts.EXEC, response_model=Answer)
    async def execute(request: Request) -> Response:
        try:
            asked = read_query(request.scope["query_string"].decode("latin-1"))
            with crowd.one_more(_admitted(request, who)):
                reply = await while_there(request, _execute(commands, asked.command))
        except SwarmError as exc:
            return _refused(exc)
        return AsciiJson(answer(reply, with_data=asked.with_data))

    @app.post("/uploadTaskDef", **web_texts.UPLOAD, response_class=PlainTextResponse)
    async def upload(request: Request) -> Response:
        try:
            _admitted(request, who)
            return PlainTextResponse(await _take(request, commands.cwd))
        except SwarmError as exc:
            log.info("upload refused: %s", exc)
            return PlainTextResponse(f"{ERROR}{exc}", exc.http_status)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(web_page.render(app.openapi()), headers=web_page.HEADERS)

    return app


def _admitted(request: Request, who: Who) -> str:
    """Whom the request is from.

    Raises:
        ForbiddenError: a page in somebody's browser makes it, or ``who`` refuses.
    """
    if "origin" in request.headers:  # browsers add it, and a certificate or an open port
        raise ForbiddenError("this API is for programs: pages in a browser may not call it")
    return who(request)


async def _execute(commands: Commands, command: str) -> Reply:
    log.info("executing: %s", " ".join(command.split()[:WORDS_LOGGED]))
    if is_exit(command):
        return failure("EXIT does not end the web mode: stop SWCI's container or process", "exit")
    return await commands.execute(command)


def _refused(exc: SwarmError) -> Response:
    """Problem+json that HPE's client can read too."""
    log.info("command refused: %s", exc)
    told = json.loads(bytes(problem(exc.http_status, exc.code, str(exc)).body))
    told["CONTENT"] = [f"{ERROR}{exc}"]
    return AsciiJson(told, exc.http_status, media_type="application/problem+json")


async def _take(request: Request, folder: Path) -> str:
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise ConfigError("no file: send multipart/form-data with the field 'file'")
            name = bare_name(file.filename or "")
            text = await file.read()
    except HTTPException as exc:
        raise ConfigError(f"the form cannot be read: {exc.detail}") from exc
    await asyncio.to_thread(store, folder, name, text)
    log.info("task definition %s (%d bytes) stored in %s", name, len(text), folder)
    return f"Task definition uploaded : {name} ({len(text)} bytes)"


@asynccontextmanager
async def serving_web(
    settings: SwciSettings, commands: Commands, identity: Identity | None = None
) -> AsyncIterator[int]:
    """Serve while the body runs; gives the port.

    Args:
        settings: of the SWCI.
        commands: executes.
        identity: ours; from the settings where it is not given.

    Raises:
        ConfigError: identity or port cannot be used.
    """
    if settings.swci_web_insecure:
        identity = None
    elif identity is None:
        identity = load_identity(settings, NodeKind.SWCI)
    sock = listen(settings.swarm_bind_ip, settings.swci_web_port, "SWCI's web mode")
    port = sock.getsockname()[1]
    server: AbstractAsyncContextManager[None]
    if identity is None:
        log.warning(web_texts.INSECURE, port)
        server = serving_plain(web_app(commands, anybody), sock)
    else:
        server = serving(web_app(commands), sock, identity)
    async with server:
        yield port


async def serve(settings: SwciSettings, commands: Commands, identity: Identity) -> None:
    """Serve until cancelled; the init script has run before.

    Raises:
        ConfigError: identity or port cannot be used.
    """
    async with serving_web(settings, commands, identity) as port:
        log.info("starting SWCI web mode in %d", port)
        await asyncio.Event().wait()
