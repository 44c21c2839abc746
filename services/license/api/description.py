"""The OpenAPI description, and as a page without scripts that loads nothing."""

from html import escape
from typing import Any

from services.license.api.answers import SCHEMES

ABOUT = (
    "Licenses of a swarm, the leases of their capacity, and who holds what. Nodes call with a "
    "certificate of the swarm, people sign in at /ui/, scripts use either a certificate or HTTP "
    "Basic. Every error is application/problem+json with a `code` for programs."
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{border-top:1px solid #ccc;padding-top:1rem}code{background:#f3f3f3;padding:.1em .3em}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;"
    "vertical-align:top}"
)


def complete(openapi: dict[str, Any]) -> dict[str, Any]:
    """The description with its ways to say who one is, and without FastAPI's unused 422."""
    openapi["info"]["description"] = ABOUT
    openapi.setdefault("components", {})["securitySchemes"] = SCHEMES
    for operations in openapi["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation.setdefault("security", [])
            operation["summary"], _, rest = operation.get(
                "description", operation["summary"]
            ).partition(". ")
            operation["summary"] = operation["summary"].rstrip(".")
            operation["description"] = rest
    return openapi


def page(openapi: dict[str, Any]) -> str:
    """A page about the operations in ``openapi``."""
    info = openapi["info"]
    title = escape(info["title"])
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{escape(info['description'])}</p>",
        "<p>For programs: <a href='openapi.json'>openapi.json</a></p>",
        _table("Who you are", [(name, scheme["description"]) for name, scheme in SCHEMES.items()]),
    ]
    for path, operations in openapi["paths"].items():
        parts.extend(_operation(path, method, told) for method, told in operations.items())
    return "".join([*parts, "</body></html>"])


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    ways = [next(iter(way)) for way in operation["security"]]
    parameters = [
        (given["name"], f"{given['in']}, {'needed' if given.get('required') else 'optional'}")
        for given in operation.get("parameters", [])
    ]
    answers = [(code, told["description"]) for code, told in operation["responses"].items()]
    return "".join([
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>",
        f"<p><strong>{escape(operation['summary'])}</strong>. ",
        f"{escape(operation['description'])}</p>",
        f"<p>Who: {escape(' or '.join(ways)) or 'anybody'}</p>",
        _table("Parameters", parameters), _table("Answers", answers),
    ])  # fmt: skip


def _table(caption: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th><code>{escape(name)}</code></th><td>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<h3>{escape(caption)}</h3><table>{cells}</table>"
