"""The OpenAPI description as a page without scripts: it works offline and runs nothing foreign."""

from html import escape
from typing import Any

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{border-top:1px solid #ccc;padding-top:1rem}code,pre{background:#f3f3f3;padding:.1em .3em}"
    "pre{padding:.6em;overflow-x:auto}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}"
)


def render(openapi: dict[str, Any]) -> str:
    """A page about the operations in ``openapi``."""
    info = openapi["info"]
    title = escape(f"{info['title']} {info['version']}")
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        _text(info.get("description", "")),
        "<p>For programs: <a href='openapi.json'>openapi.json</a></p>",
    ]
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(path, method, operation))
    return "".join([*parts, "</body></html>"])


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    head = f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    summary = f"<p><strong>{escape(operation.get('summary', ''))}</strong></p>"
    parameters = [
        (p["name"], f"{'needed' if p.get('required') else 'optional'}, {p['in']}", p["description"])
        for p in operation.get("parameters", [])
    ]
    answers = [(code, "", a["description"]) for code, a in operation.get("responses", {}).items()]
    return "".join(
        [
            head, summary, _text(operation.get("description", "")), _form(operation),
            _table("Parameters", parameters), _table("Answers", answers),
        ]
    )  # fmt: skip


def _form(operation: dict[str, Any]) -> str:
    rows = [
        (name, kind, field.get("description", ""))
        for kind, body in operation.get("requestBody", {}).get("content", {}).items()
        for name, field in body["schema"].get("properties", {}).items()
    ]
    return _table("Form fields", rows)


def _table(caption: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th><code>{escape(name)}</code></th><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<h3>{escape(caption)}</h3><table>{cells}</table>"


def _text(text: str) -> str:
    """Paragraphs; one that is indented by four blanks is shown as it is."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return "".join(
        f"<pre>{escape(block)}</pre>" if block.startswith("    ") else f"<p>{escape(block)}</p>"
        for block in blocks
    )
