"""The license server's static pages: headers, caching, redirects, and what is not served."""

import json
import re
from urllib.parse import unquote

import httpx
import pytest

from services.common.rest import make_app
from services.license.pages import MEDIA_TYPES, STATIC, load, routes

FILES = sorted(str(file.relative_to(STATIC)) for file in STATIC.rglob("*") if file.is_file())


@pytest.fixture
async def http():
    app = make_app("test")
    app.include_router(routes())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://here") as client:
        yield client


@pytest.mark.parametrize("file", ["", *FILES])
async def test_each_file_is_served_whole_with_strict_headers(http, file):
    answer = await http.get(f"/ui/{file}")
    assert answer.status_code == 200
    assert answer.content == (STATIC / (file or "index.html")).read_bytes()
    policy = answer.headers["content-security-policy"].split("; ")
    assert {
        "default-src 'self'", "script-src 'self'", "style-src 'self'", "object-src 'none'",
        "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
    } <= set(policy)  # fmt: skip
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    assert (
        answer.headers["content-type"] == MEDIA_TYPES["." + (file or "i.html").rpartition(".")[2]]
    )


async def test_a_browser_that_has_the_file_gets_304(http):
    first = await http.get("/ui/js/main.js")
    tag = first.headers["etag"]
    for kept in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await http.get("/ui/js/main.js", headers={"if-none-match": kept})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == "no-cache"
    other = await http.get("/ui/js/main.js", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


def test_the_tag_is_of_the_content(tmp_path):
    (tmp_path / "index.html").write_text("one")
    (tmp_path / "a.js").write_text("one")
    before = load(tmp_path)
    (tmp_path / "a.js").write_text("two")
    after = load(tmp_path)
    assert before["index.html"].etag == before["a.js"].etag == after["index.html"].etag
    assert before["a.js"].etag != after["a.js"].etag


def test_a_file_of_an_unknown_kind_is_an_error_at_start(tmp_path):
    (tmp_path / "index.html").write_text("")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(KeyError, match="txt"):
        load(tmp_path)


async def test_head_tells_the_same_without_the_content(http):
    got, told = await http.get("/ui/"), await http.head("/ui/")
    assert (told.status_code, told.headers["etag"]) == (200, got.headers["etag"])


@pytest.mark.parametrize("path", ["/", "/ui", "/autopass", "/autopass/", "/autopass/a/b?c=d"])
async def test_the_usual_addresses_lead_to_the_pages(http, path):
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    [
        "../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "js/../../__init__.py",
        "js/..%2f..%2f__init__.py", "/etc/passwd", "%2fetc%2fpasswd", "js", "js/", "css/..",
        "index.html%00", "..%5c__init__.py", "INDEX.HTML", "__init__.py", "static/index.html",
    ],
)  # fmt: skip
async def test_nothing_else_is_served(path):
    app = make_app("test")
    app.include_router(routes())
    sent = []
    scope = {
        "type": "http", "method": "GET", "path": unquote(f"/ui/{path}"),
        "raw_path": f"/ui/{path}".encode(), "query_string": b"", "headers": [],
    }  # fmt: skip

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)  # as it is: httpx would resolve the dots
    assert sent[0]["status"] == 404
    assert json.loads(sent[1]["body"])["code"] == "not-found"


async def test_the_pages_take_no_calls(http):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await http.request(method, "/ui/")).status_code == 405


def test_the_pages_name_nothing_outside_this_server_and_make_no_markup():
    for file in FILES:
        text = (STATIC / file).read_text()
        addresses = set(re.findall(r"https?://[^\"'\s)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, file
    index = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", index)


def test_every_module_and_style_is_used():
    texts = {file: (STATIC / file).read_text() for file in FILES}
    named = {
        name.rpartition("/")[2]
        for text in texts.values()
        for name in re.findall(r"[\"'(](?:\.{0,2}/)*([\w./-]+\.(?:js|css|svg))", text)
    }
    assert {file.rpartition("/")[2] for file in FILES} - named == {"index.html"}
