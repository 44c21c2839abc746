"""Registration, certificates, heartbeats and lost nodes, through the API of a real SN."""

import asyncio
import json
import socket

import httpx
import pytest

from services.common import sn_api as api
from services.common.errors import (
    ConfigError,
    ForbiddenError,
    NotFoundError,
    SnUnavailableError,
)
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.rest import listen
from services.sn.api import access
from services.sn.core.liveness import Pace
from tests.component.sn.conftest import PATIENCE, on_both_engines
from tests.component.sn.swops import Swop

QUICK = 1.5
"""Seconds after which these SNs call a node lost."""


async def until(peer, condition):
    """The first state of the default contract that meets the condition."""
    async with asyncio.timeout(PATIENCE):
        state = await peer.state()
        while not condition(state):
            state = await peer.client.watch(DEFAULT_CONTRACT, state.cursor, 5)
        return state


async def beat(*peers):
    """Heartbeats, until cancelled."""
    while True:
        await asyncio.gather(*(peer.client.alive(peer.uid) for peer in peers))
        await asyncio.sleep(QUICK / 5)


@on_both_engines
async def test_nodes_register_and_are_listed(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    answer = await peer.register()
    assert answer.sns == [sn.endpoint]
    assert (answer.heartbeat_s, answer.lost_after_s) == (2.0, 6.0)
    nodes = {node.kind: node for node in await peer.client.nodes()}
    assert nodes.keys() == {NodeKind.SN, NodeKind.SL}
    own, sl = nodes[NodeKind.SN], nodes[NodeKind.SL]
    assert (own.sentinel, own.endpoint, own.parent, own.alive) == (
        True, sn.endpoint, own.uid, True,
    )  # fmt: skip
    assert (sl.uid, sl.parent, sl.container, sl.alive) == (peer.uid, own.uid, "sl1", True)
    assert sl.fingerprint == swarm.pki.identity(NodeKind.SL).certificate.fingerprint
    assert sl.last_seen > 0


@on_both_engines
async def test_registering_again_unchanged_writes_nothing(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    before = await number_of_transactions(swarm, sn)
    await peer.register()
    await peer.register()
    assert await number_of_transactions(swarm, sn) == before


async def test_one_certificate_cannot_fill_the_chain_with_registrations(swarm, monkeypatch):
    monkeypatch.setattr(access, "WRITES_AT_ONCE", 5)
    monkeypatch.setattr(access, "WRITES_PER_SECOND", 0.001)
    sn = await swarm.sn()
    client = swarm.client(sn, kind=NodeKind.SL)
    for number in range(5):
        await client.register(
            "a" * 32, api.NodeRegistration(kind=NodeKind.SL, endpoint=f"h:{number + 1}")
        )
    for refused in (
        client.register("a" * 32, api.NodeRegistration(kind=NodeKind.SL, endpoint="h:9")),
        client.leave_network("a" * 32),
    ):
        with pytest.raises(SnUnavailableError, match=r"SL-1.* has written 5 times of late"):
            await refused
    await client.alive("a" * 32)
    await (await Swop(swarm, sn, "2").register()).listen()


async def test_the_role_must_be_the_certificates(swarm):
    sn = await swarm.sn()
    client = swarm.client(sn, kind=NodeKind.SWCI)
    with pytest.raises(ForbiddenError, match="role SWCI, but this needs SL"):
        await client.register("a" * 32, api.NodeRegistration(kind=NodeKind.SL, endpoint="h:1"))
    with pytest.raises(ConfigError, match="SWCI nodes do not register"):
        await client.register("a" * 32, api.NodeRegistration(kind=NodeKind.SWCI, endpoint="h:1"))


@on_both_engines
async def test_a_uid_belongs_to_the_certificate_that_registered_it(swarm):
    sn = await swarm.sn()
    owner = await swarm.peer(sn, "1")
    thief = await swarm.peer(sn, "2")
    thief.uid = owner.uid
    attempts = [
        thief.register(), thief.client.alive(owner.uid), thief.client.leave_network(owner.uid),
        thief.enrol(),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(ForbiddenError, match="another certificate"):
            await attempt
    state = await until(owner, lambda state: not state.cursor.startswith("0-"))
    assert state.view.phase is api.Phase.UNINITIALIZED
    events = (await owner.client.watch(DEFAULT_CONTRACT, "0", 0)).events
    assert [(e.kind, e.data["code"]) for e in events] == [("Refused", "forbidden")]


async def test_only_sl_nodes_take_part(swarm):
    sn = await swarm.sn()
    swop = await swarm.peer(sn, kind=NodeKind.SWOP)
    with pytest.raises(ForbiddenError, match="role SWOP, but this needs SL"):
        await swop.enrol()


async def test_unknown_nodes_are_told_to_register(swarm):
    sn = await swarm.sn()
    client = swarm.client(sn)
    with pytest.raises(NotFoundError, match="register it first"):
        await client.alive("a" * 32)
    with pytest.raises(NotFoundError, match="not registered"):
        await client.peer(DEFAULT_CONTRACT, "a" * 32, "enrol", api.Enrol(min_peers=1))


async def test_a_node_that_left_must_register_again(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    await peer.client.leave_network(peer.uid, "done")
    with pytest.raises(NotFoundError):
        await peer.client.alive(peer.uid)
    (info,) = [n for n in await peer.client.nodes() if n.uid == peer.uid]
    assert not info.alive
    await peer.register()
    assert (await peer.client.alive(peer.uid)).sns == [sn.endpoint]


@on_both_engines
async def test_a_silent_peer_is_reaped_and_comes_back(swarm):
    sn = await swarm.sn(pace=Pace(lost_after=QUICK))
    loud = await swarm.peer(sn, "1")
    beating = asyncio.create_task(beat(loud))
    await loud.enrol()
    silent = await swarm.peer(sn, "2")
    await silent.enrol()
    state = await until(loud, lambda s: any(not p.live for p in s.view.peers))
    (lost,) = [p for p in state.view.peers if not p.live]
    assert (lost.uid, lost.left) == (silent.uid, "lost")
    assert {n.uid: n.alive for n in await loud.client.nodes()}[silent.uid] is False

    await silent.client.alive(silent.uid)
    await until_alive(silent)
    state = await silent.check_in()
    assert all(p.live for p in state.view.peers)
    kinds = [e.kind for e in (await loud.client.watch(DEFAULT_CONTRACT, "0", 0)).events]
    assert kinds.count("Left") == kinds.count("Returned") == 1
    beating.cancel()


@pytest.mark.parametrize(("end_after", "ends"), [(0.0, True), (3600.0, False)])
async def test_the_last_peer_that_trains_is_waited_for(swarm, end_after, ends):
    sn = await swarm.sn(pace=Pace(lost_after=QUICK, end_after=end_after))
    closed, trains = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    beating = asyncio.create_task(beat(closed))
    await trains.enrol(min_peers=1)
    await closed.enrol(min_peers=1)
    state = await closed.check_in(state=api.PeerState.ACTIVE)
    term = {"generation": 1, "round": 1, "term": state.view.term}
    await closed.write("freeze", api.OfTerm(**term))
    merged = {"digest": "d" * 64, "size": 10, "contributors": [closed.uid]}
    await closed.write("publish", api.Publish(**term, **merged))
    lost = await until(
        closed, lambda s: s.view.phase is api.Phase.COMPLETED if ends else s.view.round == 2
    )
    async with asyncio.timeout(PATIENCE):
        while {n.uid: n.alive for n in await closed.client.nodes()}[trains.uid]:
            await closed.client.alive(closed.uid)
    state = await closed.state()
    assert (state.view.phase is api.Phase.COMPLETED) is ends
    (peer,) = [p for p in state.view.peers if p.uid == trains.uid]
    assert peer.live is not ends
    assert lost.view.merged is not None
    beating.cancel()


async def until_alive(peer):
    async with asyncio.timeout(PATIENCE):
        while not {n.uid: n.alive for n in await peer.client.nodes()}[peer.uid]:
            await peer.client.alive(peer.uid)


@on_both_engines
async def test_a_silent_leader_is_replaced(swarm):
    sn = await swarm.sn(pace=Pace(lost_after=QUICK))
    peers, beating = [], {}
    for name in "123":
        peers.append(peer := await swarm.peer(sn, name))
        beating[peer.uid] = asyncio.create_task(beat(peer))
    for peer in peers:
        await peer.enrol()
    for peer, digit in zip(peers, "abc", strict=True):
        await peer.check_in(digit=digit)
    state = await peers[0].state()
    leader = state.view.leader
    (witness, *_) = [peer for peer in peers if peer.uid != leader]
    beating[leader].cancel()
    state = await until(witness, lambda s: s.view.term == 2)
    assert state.view.leader not in {"", leader}
    assert state.view.phase is api.Phase.QUORUM
    elections = [
        e.data["reason"]
        for e in (await witness.client.watch(DEFAULT_CONTRACT, "0", 0)).events
        if e.kind == "LeaderElected"
    ]
    assert elections == ["quorum", "leader lost"]
    for task in beating.values():
        task.cancel()


@on_both_engines
async def test_the_peers_of_a_dead_sn_are_reaped_by_another(swarm):
    pace = Pace(lost_after=QUICK, report_every=0.5, orphan_after=5)
    first = await swarm.sn("1", pace=pace)
    host, port = first.endpoint.split(":")
    second = await swarm.sn(
        "2", pace=pace, sn_i_am_sentinel=False, sentinel_node_ip=host, sentinel_api_server_port=port
    )
    here = await swarm.peer(first, "1")
    beating = [asyncio.create_task(beat(here))]
    there = await swarm.peer(second, "2")
    beating.append(asyncio.create_task(beat(there)))
    await here.enrol()
    await there.enrol()
    nodes = {n.uid: n for n in await here.client.nodes()}
    assert nodes[there.uid].parent != nodes[here.uid].parent
    assert nodes[there.uid].alive

    beating[1].cancel()
    await asyncio.wait(beating[1:])
    await second.stop()
    state = await until(here, lambda s: any(not p.live for p in s.view.peers))
    assert {p.uid: p.left for p in state.view.peers} == {here.uid: "", there.uid: "lost"}
    assert (await here.client.alive(here.uid)).sns == [first.endpoint]
    beating[0].cancel()


async def number_of_transactions(swarm, sn):
    text = await fetch(swarm, sn, "/metrics")
    (line,) = [x for x in text.splitlines() if x.startswith("swarm_transaction_seconds_count")]
    return int(line.split()[1])


async def fetch(swarm, sn, path, status=200, role=NodeKind.SWCI, **post):
    context = swarm.pki.identity(role).client_context()
    async with httpx.AsyncClient(verify=context) as http:
        url = f"https://{sn.endpoint}{path}"
        answer = await (http.post(url, **post) if post else http.get(url))
        assert answer.status_code == status, answer.text
        return answer.text


@on_both_engines
async def test_metrics(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    await peer.enrol()
    text = await fetch(swarm, sn, "/metrics")
    assert 'swarm_nodes_alive{kind="SL"} 1\n' in text
    assert f'swarm_contract_round{{contract="{DEFAULT_CONTRACT}"}} 1\n' in text
    assert f'swarm_contract_phase{{contract="{DEFAULT_CONTRACT}",phase="CHECKIN"}} 1.0\n' in text
    assert "# TYPE swarm_transaction_seconds summary\n" in text
    assert await number_of_transactions(swarm, sn) >= 6


@on_both_engines
async def test_json_rpc_reads_and_only_reads(swarm):
    sn = await swarm.sn()
    ask = {"jsonrpc": "2.0", "id": 7, "params": []}
    number = await fetch(swarm, sn, "/eth", json={**ask, "method": "eth_blockNumber"})
    assert '"id":7' in number
    assert '"result":"0x' in number
    write = {**ask, "method": "eth_sendRawTransaction", "params": ["0x00"]}
    batch = await fetch(swarm, sn, "/eth", json=[write, {"id": 8}, 5])
    assert batch.count('"error"') == 3
    assert "-32700" in await fetch(swarm, sn, "/eth", content=b"{")


async def test_json_rpc_is_for_operators_and_costs_little(swarm):
    sn = await swarm.sn()
    ask = {"jsonrpc": "2.0", "id": 7, "method": "eth_feeHistory"}
    many = {**ask, "params": ["0x400", "latest", [1.0] * 101]}
    assert "at most 100" in await fetch(swarm, sn, "/eth", json=many)
    gas_left = {"to": None, "data": "0x5a60005260206000f3", "gas": "0x1c9c380"}  # asks for 30 M
    call = {**ask, "method": "eth_call", "params": [gas_left, "latest"]}
    answer = json.loads(await fetch(swarm, sn, "/eth", json=call))
    assert 2_000_000 < int(answer["result"], 16) < 3_000_000
    assert "SWCI" in await fetch(swarm, sn, "/eth", 403, role=NodeKind.SL, json=call)


async def test_json_nested_too_deep_is_refused_and_the_sn_goes_on(swarm):
    """Parsing this would end the process: py-evm sets the recursion limit to 100,000."""
    sn = await swarm.sn()
    assert "nested too deep" in await fetch(swarm, sn, "/eth", status=400, content=b"[" * 500_000)
    assert await fetch(swarm, sn, "/is_up") == "OK"


def test_answers_are_not_held_back_by_nagle():
    """asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it, 40 ms each."""
    with listen("127.0.0.1", 0, "a test") as sock:
        assert sock.proto == socket.IPPROTO_TCP


async def test_is_up(swarm):
    sn = await swarm.sn()
    assert await fetch(swarm, sn, "/is_up") == "OK"
