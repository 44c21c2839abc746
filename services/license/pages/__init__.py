"""The web pages of the license server: static files under ``/ui/``, read once at start.

The files lie in ``static/`` beside this module. They are plain HTML, CSS and ES modules, served as
they are; the pages get all data from ``/api/v1``. What is served is looked up in a table made at
start, so that no request names a file of this machine.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import RedirectResponse

from services.common.errors import NotFoundError

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What files the folder may hold; a file of another kind is an error at start."""

POLICY = "; ".join([
    "default-src 'self'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
    "connect-src 'self'", "object-src 'none'", "base-uri 'none'", "form-action 'self'",
    "frame-ancestors 'none'", "require-trusted-types-for 'script'",
])  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every page. No ``Strict-Transport-Security``: a browser that does not have the swarm's CA
must be able to go on after its warning, else the pages are out of reach."""
CACHING = "no-cache"
"""A browser keeps the file and asks each time whether its ETag still holds."""


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it is served."""

    content: bytes
    media_type: str
    etag: str
    """Of the content, so that it is the same on each server of a version."""


def load(folder: Path = STATIC) -> dict[str, Page]:
    """All files below ``folder``, by their path under ``/ui/``; ``""`` is the index.

    Raises:
        KeyError: a file is of a kind that has no media type here.
    """
    pages = {
        str(PurePosixPath(file.relative_to(folder))): _read(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    return {**pages, "": pages[INDEX]}


def routes(folder: Path = STATIC) -> APIRouter:
    """The routes: no prefix, they lie at the root of the server.

    Args:
        folder: of the static files.
    """
    router = APIRouter(include_in_schema=False)
    pages = load(folder)

    @router.api_route("/ui/{path:path}", methods=["GET", "HEAD"])
    async def page(path: str, request: Request) -> Response:
        """One file; 304 where the browser has it."""
        found = pages.get(path)
        if found is None:
            raise NotFoundError(f"there is no page /ui/{path}: the pages begin at /ui/")
        headers = {**HEADERS, "ETag": found.etag, "Cache-Control": CACHING}
        if found.etag in _etags(request.headers.get("if-none-match", "")):
            return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(found.content, media_type=found.media_type, headers=headers)

    @router.api_route("/", methods=["GET", "HEAD"])
    @router.api_route("/ui", methods=["GET", "HEAD"])
    @router.api_route("/autopass", methods=["GET", "HEAD"])
    @router.api_route("/autopass/{path:path}", methods=["GET", "HEAD"])
    async def start() -> Response:
        """To the pages, also from the address that HPE's documents name."""
        return RedirectResponse("/ui/", status.HTTP_307_TEMPORARY_REDIRECT, headers=HEADERS)

    return router


def _read(file: Path) -> Page:
    content = file.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Page(content, MEDIA_TYPES[file.suffix], etag)


def _etags(field: str) -> set[str]:
    """The tags of an ``If-None-Match`` field; weak ones count, too (RFC 9110, 13.1.2)."""
    return {tag.strip().removeprefix("W/") for tag in field.split(",")}
