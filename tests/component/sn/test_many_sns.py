"""Three SNs: the loss of one, restarts in every order, one history."""

import asyncio

from services.common.ids import DEFAULT_CONTRACT
from services.sn.core.liveness import Pace
from tests.component.sn.conftest import PATIENCE, on_both_engines

pytestmark = on_both_engines
CALM = Pace(lost_after=PATIENCE)
"""No peer sends heartbeats here, and none is to be lost while a slow machine starts an SN."""


async def three(swarm):
    first = await swarm.sn("1", pace=CALM)
    sns = [first]
    for name in "23":
        sns.append(await swarm.sn(name, pace=CALM, **joining(first)))
    return sns


def joining(sn):
    host, port = sn.endpoint.split(":")
    return {
        "sn_i_am_sentinel": False, "sentinel_node_ip": host, "sentinel_api_server_port": port,
    }  # fmt: skip


async def same_everywhere(swarm, sns, cursor):
    for sn in sns:
        client = swarm.client(sn)
        async with asyncio.timeout(PATIENCE):
            while (state := await client.state(DEFAULT_CONTRACT)).cursor != cursor:
                await client.watch(DEFAULT_CONTRACT, state.cursor, 1)


async def test_any_sn_serves_any_peer_and_sees_the_same(swarm):
    sns = await three(swarm)
    peers = [await swarm.peer(sn, str(number)) for number, sn in enumerate(sns)]
    for peer in peers:
        await peer.enrol(min_peers=3)
    outcomes = await asyncio.gather(*(peer.check_in() for peer in peers))
    last = max(outcomes, key=lambda state: int(state.cursor.split("-")[0]))
    await same_everywhere(swarm, sns, last.cursor)
    assert last.view.leader


async def test_the_sentinel_dies_and_another_sn_restarts_without_it(swarm):
    sns = await three(swarm)
    peer = await swarm.peer(sns[2])
    await sns[0].stop()
    state = await peer.enrol(min_peers=1)
    await sns[1].stop()
    again = await swarm.sn("2", pace=CALM, **joining(sns[0]))
    state = await peer.check_in()
    assert state.view.leader == peer.uid
    await same_everywhere(swarm, [again, sns[2]], state.cursor)


async def test_all_restart_from_disk_one_after_another(swarm):
    sns = await three(swarm)
    peer = await swarm.peer(sns[0])
    before = await peer.enrol(min_peers=1)
    await same_everywhere(swarm, sns, before.cursor)
    for sn in sns:
        await sn.stop()
    first = await swarm.sn("1", pace=CALM)
    others = [await swarm.sn(name, pace=CALM, **joining(first)) for name in "23"]
    await same_everywhere(swarm, [first, *others], before.cursor)
    peer.client = swarm.client(first)
    await peer.register()
    state = await peer.check_in()
    assert state.view.leader == peer.uid
    await same_everywhere(swarm, others, state.cursor)
