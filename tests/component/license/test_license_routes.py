"""Every route: who may call it, what it answers to nonsense, and what its description says."""

import json
import re
from http import HTTPStatus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.ids import NodeKind
from services.license.api import license_app
from tests.component.license.conftest import a_request
from tests.component.license.people import add, administrator, browser
from tests.component.license.test_license_server import code

VIEW = (
    "/server", "/features", "/leases", "/leases.csv", "/licenses", "/licenses.csv", "/history",
    "/history.csv", "/settings",
)  # fmt: skip
ROUTES = {
    **{("GET", path): "view" for path in VIEW},
    ("GET", "/setup"): "open",
    ("POST", "/setup"): "open",
    ("POST", "/session"): "open",
    ("GET", "/session"): "session",
    ("DELETE", "/session"): "session",
    ("PUT", "/session/password"): "session",
    ("POST", "/licenses"): "manage",
    ("POST", "/licenses/check"): "manage",
    ("POST", "/licenses/{serial}/archive"): "manage",
    ("POST", "/licenses/{serial}/restore"): "manage",
    ("DELETE", "/licenses/{serial}"): "manage",
    ("POST", "/leases/{lease_id}/revoke"): "manage",
    ("PUT", "/settings"): "administer",
    ("GET", "/users"): "administer",
    ("POST", "/users"): "administer",
    ("PUT", "/users/{name}"): "administer",
    ("DELETE", "/users/{name}"): "administer",
    ("POST", "/leases"): "node",
    ("PUT", "/leases/{lease_id}"): "node",
    ("DELETE", "/leases/{lease_id}"): "node",
}
MAY = {
    "administrator": {"open", "session", "view", "manage", "administer"},
    "product-admin": {"open", "session", "view", "manage"},
    "view-only": {"open", "session", "view"},
    "nobody": {"open"},
    NodeKind.SWCI: {"open", "view", "manage", "node"},
    NodeKind.LICENSE: {"open", "view", "manage", "node"},
    NodeKind.SL: {"open", "view", "node"},
    NodeKind.SN: {"open", "view", "node"},
    NodeKind.SWOP: {"open", "view", "node"},
}
REFUSED = ("not-signed-in", "forbidden", "certificate-needed")


def described(server):
    return license_app(server.desk).openapi()


def operations(server):
    return {
        (method.upper(), path.removeprefix("/api/v1")): operation
        for path, methods in described(server)["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api/v1")
    }


async def test_the_table_has_every_route(server):
    assert set(operations(server)) == set(ROUTES)


@pytest.mark.parametrize("who", MAY)
async def test_who_may_call_what(server, who):
    """Bodies are nonsense: what is allowed gets as far as that."""
    async with administrator(server) as admin, browser(server) as person:
        if who in ("product-admin", "view-only"):
            await add(admin, "person", who)
            await person.sign_in("person")
        elif who == "administrator":
            await person.sign_in("admin")
        seen = {}
        for method, path in ROUTES:
            url = re.sub("{.*}", "x", path)
            more = {"content": b"{"} if method in ("POST", "PUT") else {}
            if isinstance(who, NodeKind):
                answer = await server.send(method, url, who, **more)
            elif (method, path) == ("DELETE", "/session"):  # the last of them, below
                continue
            else:
                answer = await person.send(method, url, **more)
            refused = answer.status_code in (401, 403) and answer.json()["code"] in REFUSED
            assert answer.status_code < 500, answer.text
            seen[method, path] = not refused
        allowed = {route: needed in MAY[who] for route, needed in ROUTES.items() if route in seen}
        assert seen == allowed
        if not isinstance(who, NodeKind):
            expected = 401 if who == "nobody" else 204
            assert (await person.send("DELETE", "/session")).status_code == expected


async def test_a_certificate_without_a_role_is_nobody(server, pki):
    stranger = pki.bad_identity(NodeKind.SL, common_name="somebody")
    async with server.http(identity=stranger) as http:
        assert code(await http.get("/leases")) == (403, "forbidden")
        assert code(await http.post("/leases", json=a_request(1))) == (403, "forbidden")


async def test_every_answer_has_the_headers_that_tie_browsers_down(server):
    async with browser(server) as person:
        answers = [
            await person.send("GET", "/setup"),
            await person.send("GET", "/leases"),
            await person.send("GET", "/nothing"),
            await person.send("POST", "/session", content=b"x" * 5_000_000),
            await person.http.get(f"https://127.0.0.1:{server.port}/docs"),
            await person.http.get(f"https://127.0.0.1:{server.port}/openapi.json"),
        ]
        assert [answer.status_code for answer in answers] == [200, 401, 404, 413, 200, 200]
        for answer in answers:
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers
        page = answers[4].text
        assert "/api/v1/licenses/check" in page
        assert not re.search("src=|<script|https?://", page)


async def test_the_description_is_complete(server):
    app = license_app(server.desk)
    assert json.dumps(app.openapi()) == json.dumps(app.openapi()), "the same each time"
    told = described(server)
    assert set(told["components"]["securitySchemes"]) == {"certificate", "basic", "session"}
    for route, operation in operations(server).items():
        needed = ROUTES[route]
        ways = [next(iter(way)) for way in operation["security"]]
        assert ways == {
            "open": [],
            "session": ["session"],
            "administer": ["session", "basic"],
            "node": ["certificate"],
        }.get(needed, ["session", "basic", "certificate"])
        assert len(operation["summary"]) >= len("Sign out"), route
        statuses = set(operation["responses"])
        assert "422" not in statuses
        if needed != "open":
            assert "401" in statuses, route
        assert json.dumps(operation)


texts = st.text(max_size=30) | st.sampled_from(["admin", "../..", "%00", "'; DROP TABLE users", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "user", "password", "code", "old", "new", "name", "role", "disabled", "feature", "client",
    "notice_days", "keep_history_days", "features", "serial",
)  # fmt: skip
bodies = (
    st.binary(max_size=40)
    | values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(FIELDS), values, max_size=4).map(
        lambda value: json.dumps(value).encode()
    )
)
queries = st.dictionaries(
    st.sampled_from(["from", "to", "after", "limit", "order", "feature", "kind", "text"]),
    st.integers(-5, 2**70).map(str) | texts,
    max_size=3,
)


async def test_nonsense_is_refused_in_order_and_harms_nothing(server):
    """Whatever is sent by whom: never a 5xx, and errors are problem+json."""
    routes = [route for route in ROUTES if route not in {("DELETE", "/session")}]
    async with administrator(server) as admin, server.http(NodeKind.SL) as node:
        loop_calls = []

        @settings(
            max_examples=150, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(
            route=st.sampled_from(routes), word=texts, body=bodies, query=queries,
            by_node=st.booleans(),
        )  # fmt: skip
        def collect(route, word, body, query, by_node):
            loop_calls.append((route, word, body, query, by_node))

        collect()
        for (method, path), word, body, query, by_node in loop_calls:
            url = re.sub("{.*}", lambda _, word=word: _quoted(word), path)
            more = {"params": query}
            if method in ("POST", "PUT"):
                more["content"] = body
            send = node.request if by_node else admin.send
            answer = await send(method, url, **more)
            about = (method, path, word, body, query, answer.text)
            assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, about
            if answer.status_code >= HTTPStatus.BAD_REQUEST:
                kind = answer.headers["content-type"]
                assert kind == "application/problem+json", about
                assert answer.json()["code"], about
            server.clock.now += 1
        assert (await admin.sign_in("admin")).status_code in (200, 429)
        assert server.desk.shelf.licenses()


def _quoted(word):
    return "".join(f"%{byte:02X}" for byte in word.encode()) or "x"
