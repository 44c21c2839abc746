"""Who may do what at an SN's API: every route, every role, over real TLS (FAULTS S1, S8)."""

import json
import ssl
from urllib.parse import quote

import httpx
import pytest

from services.common import sn_api as api
from services.common.errors import ConfigError, ForbiddenError
from services.common.ids import DEFAULT_CONTRACT, NodeId, NodeKind
from services.common.sn_client import SnClient
from services.common.tls import tls_refusal
from services.sn import daemon
from services.sn.adapters import membership
from services.sn.api import make_api
from services.sn.api.access import MOST_REFUSALS
from tests.component.sn.law import EVERYBODY, OWNER, RULES, SWOP_OWNER


def routes_of(app):
    """Every method and path template that the application serves."""
    found, todo = set(), list(app.routes)
    while todo:
        route = todo.pop()
        if hasattr(route, "original_router"):  # FastAPI's included routers
            todo += route.original_router.routes
        else:
            found |= {(method, route.path) for method in route.methods}
    return found


@pytest.fixture
def apps(monkeypatch):
    """The applications that SNs make."""
    made = []

    def make(sn):
        made.append(make_api(sn))
        return made[-1]

    monkeypatch.setattr(daemon, "make_api", make)
    return made


def context_of(pki, who):
    """What a client of this kind shows."""
    kinds = {
        "SN": (NodeKind.SN, "5"), "SL": (NodeKind.SL, "1"), "another SL": (NodeKind.SL, "2"),
        "SWOP": (NodeKind.SWOP, "1"), "SWCI": (NodeKind.SWCI, "1"),
        "LICENSE": (NodeKind.LICENSE, "1"),
    }  # fmt: skip
    if who in kinds:
        return pki.identity(*kinds[who]).client_context()
    if who == "no certificate":
        context = ssl.create_default_context(cafile=pki.ca_cert)
        context.check_hostname = False
        return context
    bad = {
        "no role": {"common_name": "alice"}, "wrong CA": {"wrong_ca": True},
        "expired": {"expired": True}, "not yet valid": {"not_yet_valid": True},
    }  # fmt: skip
    return pki.bad_identity(NodeKind.SWCI, **bad[who]).client_context()


async def ask(swarm, sn, who, method, path, body=None):
    async with httpx.AsyncClient(verify=context_of(swarm.pki, who), timeout=60) as http:
        return await http.request(method, f"https://{sn.endpoint}{path}", json=body)


async def refusals(swarm, sn):
    """What the default contract's ledger holds: peer, code and detail of every refusal."""
    events = (await swarm.client(sn).watch(DEFAULT_CONTRACT, "0", 0)).events
    return [
        (e.data["peer"], e.data["code"], e.data["detail"]) for e in events if e.kind == "Refused"
    ]


async def test_every_route_has_a_rule(swarm, apps):
    sn = await swarm.sn()
    (app,) = apps
    assert routes_of(app) == RULES.keys()
    described = (await ask(swarm, sn, "SL", "GET", "/openapi.json")).json()["paths"]
    assert described.keys() <= {path for _, path in RULES}
    for page in ("/docs", "/redoc", "/", "/static/x", "/v1", "/eth/"):
        assert (await ask(swarm, sn, "SL", "GET", page)).status_code in (404, 405, 307), page


async def test_every_role_may_do_what_its_rules_say_and_nothing_else(swarm):
    sn = await swarm.sn()
    for kind, uid in (("SL", OWNER), ("SWOP", SWOP_OWNER)):
        registered = {"kind": kind, "endpoint": "node:1"}
        await ask(swarm, sn, kind, "PUT", f"/v1/nodes/{uid}", registered)
    wrong = []
    for (method, template), rule in RULES.items():
        for who in sorted(EVERYBODY, key=lambda who: who in rule.allowed):  # refusals first
            answer = await ask(swarm, sn, who, method, rule.path, rule.body)
            wanted = rule.answers if who in rule.allowed else (403,)
            if answer.status_code not in wanted:
                wrong.append((who, method, template, answer.status_code, answer.text[:200]))
            elif answer.status_code == 403 and answer.json()["code"] != "forbidden":
                wrong.append((who, method, template, answer.text))
    assert wrong == []


@pytest.mark.parametrize("who", ["no certificate", "wrong CA", "expired", "not yet valid"])
async def test_tls_lets_nobody_else_near_any_route(swarm, who):
    sn = await swarm.sn()
    for (method, template), rule in RULES.items():
        with pytest.raises((httpx.HTTPError, ssl.SSLError)) as caught:
            await ask(swarm, sn, who, method, rule.path, rule.body)
        assert tls_refusal(caught.value), template
    names = (await ask(swarm, sn, "SWCI", "GET", "/v1/contracts")).json()
    assert [each["name"] for each in names] == [DEFAULT_CONTRACT]
    assert await refusals(swarm, sn) == []


@pytest.mark.parametrize("verb", [v for v, rule in RULES.items() if rule.recorded], ids=str)
async def test_a_refused_write_is_on_the_ledger(swarm, verb):
    sn = await swarm.sn()
    rule = RULES[verb]
    await ask(swarm, sn, "SL", "PUT", f"/v1/nodes/{OWNER}", {"kind": "SL", "endpoint": "sl:1"})
    assert (await ask(swarm, sn, "SWOP", verb[0], rule.path, rule.body)).status_code == 403
    client, cursor = swarm.client(sn), "0"
    while not (found := await refusals(swarm, sn)):
        cursor = (await client.watch(DEFAULT_CONTRACT, cursor, 30)).cursor
    ((peer, code, detail),) = found
    assert peer in (OWNER, "0" * 32)
    assert (peer == OWNER) is ("{uid}" in verb[1])
    assert code == "forbidden"
    assert "'SWOP-1' has role SWOP" in detail
    state = await client.state(DEFAULT_CONTRACT)
    assert (state.view.generation, state.view.peers) == (1, [])


async def test_who_invents_a_uid_each_time_does_not_fill_the_chain(swarm):
    sn = await swarm.sn()
    for n in range(MOST_REFUSALS + 15):  # the first is nobody's, as in RESET's refusal
        path = f"/v1/contracts/{DEFAULT_CONTRACT}/peers/{n:032x}/enrol"
        assert (await ask(swarm, sn, "LICENSE", "POST", path, {"min_peers": 1})).status_code == 403
    await ask(swarm, sn, "SWOP", "POST", f"/v1/contracts/{DEFAULT_CONTRACT}/reset")
    client, cursor = swarm.client(sn), "0"
    while "SWOP" not in str(found := await refusals(swarm, sn)):
        cursor = (await client.watch(DEFAULT_CONTRACT, cursor, 30)).cursor
    # a slow machine may need longer than the ten seconds that one share is for
    assert 1 <= len(found) - 1 < MOST_REFUSALS + 15


@pytest.mark.parametrize("kind", list(NodeKind))
async def test_which_certificate_registers_which_kind(swarm, kind):
    sn = await swarm.sn()
    body = {"kind": kind, "endpoint": "node:1"}
    for n, who in enumerate(sorted(EVERYBODY)):
        answer = await ask(swarm, sn, who, "PUT", f"/v1/nodes/{n:032x}", body)
        if kind in (NodeKind.SL, NodeKind.SWOP):
            assert answer.status_code == (200 if who.endswith(kind) else 403), who
        else:
            assert answer.status_code == 400, who
            assert "do not register" in answer.json()["detail"]


async def test_one_certificate_registers_not_without_end(swarm, monkeypatch):
    monkeypatch.setattr(membership, "MOST_NODES", 2)
    sn = await swarm.sn()
    client = swarm.client(sn)
    me = api.NodeRegistration(kind=NodeKind.SL, endpoint="sl:1")
    uids = [NodeId(f"{n:032x}") for n in (1, 2, 3)]
    for uid in uids[:2]:
        await client.register(uid, me)
    with pytest.raises(ForbiddenError, match="2 nodes live with your certificate"):
        await client.register(uids[2], me)
    await client.register(uids[0], me)
    await client.leave_network(uids[1], "making room")
    await client.register(uids[2], me)
    await swarm.client(sn, "2").register(uids[1], me)


async def test_sns_register_on_the_chain_only(swarm):
    """Who could name SNs here could make every node turn to whomever it names."""
    sn = await swarm.sn()
    client = swarm.client(sn, "5", NodeKind.SN)
    lure = api.NodeRegistration(kind=NodeKind.SN, endpoint="elsewhere.example:30304")
    with pytest.raises(ConfigError, match="SN nodes do not register"):
        await client.register(NodeId("e" * 32), lure)
    assert (await swarm.peer(sn)).client.sns == [sn.endpoint]


async def test_a_forged_uid_is_refused_also_while_its_owner_is_lost_to_another_sn(swarm):
    """Decision 12; the owner's certificate comes back, another's does not."""
    sn = await swarm.sn()
    owner, thief = await swarm.peer(sn, "1"), swarm.client(sn, "2")
    with pytest.raises(ForbiddenError, match="another certificate"):
        await thief.register(owner.uid, owner.me)
    await owner.client.leave_network(owner.uid, "done")
    await thief.register(owner.uid, owner.me)
    with pytest.raises(ForbiddenError, match="another certificate"):
        await owner.register()


# --- names


@pytest.mark.parametrize(
    "uid",
    [
        "A" * 32, "a" * 31, "a" * 33, "g" * 32, "a" * 32 + "%0A", "%61" * 32 + "%00", "a" * 5_000,
        "0x" + "a" * 30, "%C3%A4" * 32, "../" + "a" * 32, "%2e%2e", " " * 32, "\u0661" * 32,
    ],
    ids=repr,
)  # fmt: skip
async def test_odd_uids_are_refused(swarm, uid):
    sn = await swarm.sn()
    for method, path, body in [
        ("PUT", f"/v1/nodes/{uid}", {"kind": "SL", "endpoint": "sl:1"}),
        ("POST", f"/v1/nodes/{uid}/alive", None),
        ("POST", f"/v1/contracts/{DEFAULT_CONTRACT}/peers/{uid}/enrol", {"min_peers": 1}),
    ]:
        answer = await ask(swarm, sn, "SL", method, path, body)
        assert answer.status_code in (400, 404, 405), (path, answer.text)
    assert len((await ask(swarm, sn, "SL", "GET", "/v1/nodes")).json()) == 1


ODD_NAMES = {
    "": 400, "x" * 161: 400, "a/b": 400, "a\0b": 400, "a\nb": 400, "a\x7fb": 400, "a\x9b31mb": 400,
    "a\u2028b": 400, "x" * 160: 201, "ä" * 160: 201, "\U0001f40d" * 160: 201, "a b": 201,
    "%2F": 201, "?after=1#x": 201, ".": 400, "..": 400, "'; DROP TABLE x; --": 201, '"\\': 201,
    "<script>": 201, "{name}": 201, "${PATH}": 201, "reset": 201,
}  # fmt: skip


@pytest.mark.parametrize(("name", "status"), ODD_NAMES.items(), ids=map(ascii, ODD_NAMES))
async def test_odd_contract_names_work_whole_or_are_refused(swarm, name, status):
    sn = await swarm.sn()
    created = await ask(swarm, sn, "SWCI", "POST", "/v1/contracts", {"name": name})
    assert created.status_code == status, created.text
    client = swarm.client(sn, kind=NodeKind.SWCI)
    named = {each.name for each in await client.contracts()}
    assert named == {DEFAULT_CONTRACT} | ({name} if status == 201 else set())
    if status != 201:
        return
    if name != "..":  # a client's URL library takes it for a folder's parent
        assert (await client.state(name)).view.name == name
    raw = f"/v1/contracts/{''.join(f'%{byte:02X}' for byte in name.encode())}"
    assert (await ask(swarm, sn, "SWCI", "GET", raw)).status_code in (200, 307)
    again = await ask(swarm, sn, "SWCI", "POST", "/v1/contracts", {"name": name})
    assert (again.status_code, again.json()["code"]) == (409, "name-taken")
    metrics = (await ask(swarm, sn, "SWCI", "GET", "/metrics")).text
    assert (
        f'contract="{name.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"'
        in (metrics)
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/contracts/%00", "/v1/contracts/%0d%0aX: y", "/v1/contracts/%ff%fe",
        "/v1/contracts/a%2fb", "/v1/contracts/" + quote("x" * 161), "/v1/contracts/%",
        "/v1/contracts/%zz", "//v1/nodes", "/v1/nodes/", "/v1/contracts//events",
    ],
)  # fmt: skip
async def test_odd_paths_find_nothing(swarm, path):
    sn = await swarm.sn()
    answer = await ask(swarm, sn, "SWCI", "GET", path)
    assert answer.status_code in (307, 400, 404), answer.text
    assert "X" not in answer.headers


async def test_a_lone_surrogate_in_json_is_no_name(swarm):
    sn = await swarm.sn()
    context = context_of(swarm.pki, "SWCI")
    async with httpx.AsyncClient(verify=context) as http:
        url = f"https://{sn.endpoint}/v1/contracts"
        answer = await http.post(url, content=json.dumps({"name": "\ud800"}).encode())
    assert answer.status_code == 400


async def test_a_client_of_an_sn_reads_only_what_it_asked_for(swarm):
    """A role is read from a certificate's first name that is one, never from two."""
    sn = await swarm.sn()
    tricks = {"SL-SWCI-1": "SL", "alice-SWCI": "none", "SWCI": "SWCI", "XSWCI-1": "none"}
    for name, role in tricks.items():
        identity = swarm.pki.bad_identity(NodeKind.SL, common_name=name)
        client = SnClient(identity, [sn.endpoint], patience=0.0)
        try:
            if role == "SWCI":
                await client.reset(DEFAULT_CONTRACT, "test")
            else:
                with pytest.raises(ForbiddenError, match=f"has role {role}"):
                    await client.reset(DEFAULT_CONTRACT, "test")
        finally:
            await client.close()
