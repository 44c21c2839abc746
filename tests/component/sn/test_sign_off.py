"""An SN that is told to stop signs off, and remains a signer."""

import asyncio
import logging

from services.common import sn_api as api
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.presence import Presence
from services.common.sn_client import SnClient
from services.sn.core.liveness import Pace
from tests.component.sn.conftest import PATIENCE, on_both_engines

CALM = Pace(lost_after=PATIENCE, orphan_after=1000)
"""No SN is found lost by its silence within these tests."""


def joining(sn):
    host, port = sn.endpoint.split(":")
    return {
        "sn_i_am_sentinel": False, "sentinel_node_ip": host, "sentinel_api_server_port": port,
    }  # fmt: skip


async def some(swarm, count):
    first = await swarm.sn("1", pace=CALM)
    names = [str(number) for number in range(2, count + 1)]
    return [first, *[await swarm.sn(name, pace=CALM, **joining(first)) for name in names]]


async def until_sn(client, endpoint, condition):
    """What the client's SN says of another SN, once it meets the condition."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = [n for n in await client.nodes() if n.endpoint == endpoint and condition(n)]
            if found:  # its SN may learn of another port a moment after the one that has it
                return found[0]
            await asyncio.sleep(0.05)


@on_both_engines
async def test_the_others_know_at_once_and_again_after_its_restart(swarm, caplog):
    caplog.set_level(logging.INFO)
    sns = await some(swarm, 3)
    here = await swarm.peer(sns[0])
    before = await until_sn(here.client, sns[1].endpoint, lambda n: n.alive)
    await sns[1].stop()
    gone = await until_sn(here.client, sns[1].endpoint, lambda n: not n.alive)
    assert gone.left
    assert sns[1].endpoint not in (await here.client.alive(here.uid)).sns
    assert "without having signed off" not in caplog.text
    async with asyncio.timeout(PATIENCE):
        while f"SN {gone.container} {gone.uid} signed off: it was told to stop" not in caplog.text:
            await asyncio.sleep(0.05)

    again = await swarm.sn("2", pace=CALM, **joining(sns[0]))
    back = await until_sn(here.client, again.endpoint, lambda n: n.alive)
    assert (back.uid, back.left) == (before.uid, False)
    assert again.endpoint in (await here.client.alive(here.uid)).sns


async def signers(swarm, sn):
    asked = {"jsonrpc": "2.0", "id": 1, "method": "clique_getSigners", "params": ["latest"]}
    client = swarm.client(sn, "auditor", NodeKind.SWCI)
    return (await client.ask("POST", "/eth", dict, RawBody(**asked)))["result"]


class RawBody(api._Schema):
    jsonrpc: str
    id: int
    method: str
    params: list[str]


async def test_it_remains_a_signer_whose_vote_counts_after_its_restart(swarm):
    sns = await some(swarm, 3)
    peer = await swarm.peer(sns[2])
    async with asyncio.timeout(PATIENCE):
        while len(before := await signers(swarm, sns[2])) < 3:
            await asyncio.sleep(0.05)
    await sns[1].stop()
    await peer.enrol(min_peers=1)
    assert await signers(swarm, sns[2]) == before
    await swarm.sn("2", pace=CALM, **joining(sns[0]))
    await sns[0].stop()
    assert (await peer.check_in()).view.leader == peer.uid, "two of three are the majority"


async def test_of_two_the_sentinel_that_stops_tells_the_other_one(swarm):
    sns = await some(swarm, 2)
    there = await swarm.peer(sns[1])
    await until_sn(there.client, sns[0].endpoint, lambda n: n.alive)
    await sns[0].stop()
    assert (await until_sn(there.client, sns[0].endpoint, lambda n: not n.alive)).left


@on_both_engines
async def test_its_nodes_go_on_with_another_sn_at_once(swarm):
    sns = await some(swarm, 2)
    names = [sns[1].endpoint, sns[0].endpoint]
    client = SnClient(swarm.pki.identity(NodeKind.SL), names)
    sl = await swarm.peer(sns[0], "2")
    watched = swarm.client(sns[0])
    node = api.NodeRegistration(kind=NodeKind.SL, endpoint="sl:30305", container="sl")
    presence = Presence(client, "e" * 32, node, logging.getLogger("test"))
    await presence.register()
    beating = asyncio.create_task(presence.heartbeats())
    state = await client.state(DEFAULT_CONTRACT)
    waiting = asyncio.create_task(client.watch(DEFAULT_CONTRACT, state.cursor, 60))
    try:
        nodes = {n.uid: n for n in await watched.nodes()}
        away = nodes["e" * 32].parent
        assert away != nodes[sl.uid].parent
        await sns[1].stop()
        async with asyncio.timeout(2 * CALM.heartbeat + 1):
            await waiting
            while {n.uid: n.parent for n in await watched.nodes()}["e" * 32] == away:
                await asyncio.sleep(0.05)
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await client.close()
