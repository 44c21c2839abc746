"""Odd bodies on every route: refused in words, never an error of ours (FAULTS S7)."""

import json
import random
from dataclasses import dataclass

import httpx
import pytest

from services.common.ids import NodeKind
from tests.component.sn.law import OWNER, RULES, SWOP_OWNER

ODD = [
    None, True, -1, 0, 1.5, 2**31, 2**32, 2**63, 2**64, 2**256, 10**400, -(10**400), float("nan"),
    float("inf"), "", "\0", "\ud800", "\U0010ffff", "é" * 70_000, "x" * 200_000, "NaN", "1",
    [], [[]], ["a" * 32] * 2_000, {}, {"": {}}, {"\ud800": "\ud800"}, {"__proto__": 1}, [None] * 3,
]  # fmt: skip
"""Values in the place of good ones."""
TEXTS = [
    b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}", b"0" * 5_000,
    b"1" * 5_000, b'{"a":1,"a":2}', b"\0",
    b"[" * 33, b'{"a":' * 33, b"NaN", b'"\\ud800"', b"{'a': 1}",
    b'{"\\ud800": 1}', b"-", b'{"id": 1e999, "method": "eth_chainId"}', b"true", b" " * 100_000,
]  # fmt: skip
"""Whole bodies."""
TAKERS = [(route, rule) for route, rule in RULES.items() if rule.body is not None]


@dataclass
class Asker:
    http: httpx.AsyncClient
    url: str

    async def ask(self, method, path, content):
        answer = await self.http.request(
            method, self.url + path, content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code < 500, (path, content[:200], answer.text[:200])
        assert len(answer.content) < len(content) + 10_000, (path, content[:200])
        return answer


def who_may(rule):
    alone = [kind for kind in (NodeKind.SL, NodeKind.SWOP) if rule.allowed == {kind}]
    return alone[0] if alone else NodeKind.SWCI


@pytest.fixture
async def asked(swarm, caplog):
    """Makes an asker of a role; at the end, nothing may have gone wrong inside."""
    sn = await swarm.sn()
    clients = []

    async def make(rule):
        context = swarm.pki.identity(who_may(rule)).client_context()
        clients.append(httpx.AsyncClient(verify=context, timeout=60))
        made = Asker(clients[-1], f"https://{sn.endpoint}")
        uid = {NodeKind.SL: OWNER, NodeKind.SWOP: SWOP_OWNER}.get(who_may(rule))
        if uid is not None:
            good = b'{"kind": "%s", "endpoint": "sl:1"}' % who_may(rule).encode()
            await made.ask("PUT", f"/v1/nodes/{uid}", good)
        return made

    yield make
    for each in clients:
        await each.aclose()
    assert "Exception in ASGI application" not in caplog.text


def mutated(body, value):
    """The body with ``value`` in the place of each of its values, once each, and beside them."""
    yield value
    yield {**body, "odd": value}
    for name, old in body.items():
        yield {**body, name: value}
        yield {each: v for each, v in body.items() if each != name}
        if isinstance(old, dict):
            yield from ({**body, name: inner} for inner in mutated(old, value))


@pytest.mark.parametrize(("route", "rule"), TAKERS, ids=[" ".join(route) for route, _ in TAKERS])
async def test_odd_bodies_are_refused_in_words(asked, route, rule):
    asker = await asked(rule)
    for text in TEXTS:
        await asker.ask(route[0], rule.path, text)
    bodies = [json.dumps(each).encode() for value in ODD for each in mutated(rule.body, value)]
    for content in random.Random(7).sample(bodies, min(len(bodies), 120)):
        answer = await asker.ask(route[0], rule.path, content)
        if answer.status_code >= 400:
            assert answer.json()["detail"]


@pytest.mark.parametrize(
    "number", [None, "x", 7, 1.5, float("nan"), "\ud800", [], {}, True, 10**30]
)
async def test_json_rpc_answers_whatever_the_id_is(asked, number):
    asker = await asked(RULES["POST", "/eth"])
    for method in ("eth_chainId", "\ud800", "eth_getBalance", 5, None):
        ask = {"id": number, "method": method, "params": ["\ud800"]}
        for body in (ask, [ask], [ask] * 51, [[ask]], {"id": number}):
            answer = await asker.ask("POST", "/eth", json.dumps(body).encode())
            assert answer.status_code == 200
            assert "jsonrpc" in answer.text


@pytest.mark.parametrize(
    "query", ["after=%00", "after=%ff", "after=1-1&after=2", "wait=nan", "wait=inf", "wait=-1",
              "wait=1e400", "wait=x", "after=" + "9" * 100, "after=" + "9" * 101, "after=-1--1",
              "after=0x0-0", "after=1-1-1", "&&&", "%", "wait=0&" * 500],
)  # fmt: skip
async def test_odd_queries_are_refused_in_words(asked, query):
    asker = await asked(RULES["GET", "/v1/contracts"])
    path = RULES["GET", "/v1/contracts/{name}/events"].path
    answer = await asker.ask("GET", f"{path}?{query}", b"")
    assert answer.status_code in (200, 400)
