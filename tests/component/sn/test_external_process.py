"""Two ``python -m services.sn`` on one Ethereum client, as an operator runs them."""

import asyncio

import pytest

from services.common import sn_api as api
from services.common.ids import DEFAULT_CONTRACT
from tests.anvil import Anvil
from tests.component.sn.conftest import PATIENCE
from tests.component.sn.test_sn_process import SnProcess
from tests.pki import Pki


@pytest.fixture
async def launch(tmp_path):
    """Starts SNs that share one CA; ends them all."""
    started, pki = [], Pki(tmp_path)

    async def start(name="1", sn_to_join=None, **changes):
        joining = {}
        if sn_to_join is not None:
            host, port = sn_to_join.endpoint.split(":")
            joining = {"SENTINEL_NODE_IP": host, "SENTINEL_API_SERVER_PORT": port}
        given = {"SN_I_AM_SENTINEL": "" if name != "1" else "true", "SN_CHAIN": "rpc"}
        sn = SnProcess(pki, tmp_path, name, **{**given, **joining, **changes})
        started.append(sn)
        return await sn.start()

    yield start
    for sn in started:
        for client in sn.clients:
            await client.close()
        if sn.process.returncode is None:
            sn.process.kill()
        await sn.end()


async def same(state, peer):
    """The other peer's SN, once it is as far as ``state``."""
    async with asyncio.timeout(PATIENCE):
        while (seen := await peer.state()).cursor != state.cursor:
            await peer.client.watch(DEFAULT_CONTRACT, seen.cursor, 5)
    return seen


async def test_a_round_over_two_sns_with_restarts_of_an_sn_and_of_the_client(launch, tmp_path):
    client = Anvil("--state", str(tmp_path / "state.json")).start()
    try:
        url = {"SN_ETH_RPC_URL": client.url}
        first = await launch("1", **url)
        second = await launch("2", first, **url)
        assert not any("p2p" in line for line in first.lines + second.lines)
        here, there = await first.peer("1"), await second.peer("2")
        await here.enrol()
        await there.enrol()
        await same(await here.check_in(digit="a"), there)

        for sn in (second, first):  # neither needs to be told again what the swarm is
            sn.process.kill()
            await sn.end()
            for told in ("SENTINEL_NODE_IP", "SENTINEL_API_SERVER_PORT", "SN_I_AM_SENTINEL"):
                sn.environment.pop(told, None)
            await sn.start()
        for peer, sn, name in ((here, first, "1"), (there, second, "2")):
            peer.client = sn.client(name)
            await peer.register()
        state = await there.check_in(digit="b")
        assert state.view.phase is api.Phase.QUORUM

        await asyncio.to_thread(client.stop)
        await asyncio.to_thread(client.start)
        await same(state, here)
        leader = here if state.view.leader == here.uid else there
        term = {"generation": 1, "round": 1, "term": 1}
        await leader.write("freeze", api.OfTerm(**term))
        merged = {"digest": "d" * 64, "size": 1000, "contributors": sorted([here.uid, there.uid])}
        state = await leader.write("publish", api.Publish(**term, **merged))
        assert (state.view.round, state.view.merged.digest) == (2, "d" * 64)
        for peer in (here, there):
            assert (await same(state, peer)).view == state.view
        (record,) = await there.client.rounds(DEFAULT_CONTRACT)
        assert {c.peer for c in record.contributors} == {here.uid, there.uid}
        for sn in (first, second):
            code, lines = await sn.stop()
            assert code == 0, lines
            assert not [line for line in lines if "ERROR" in line or "Traceback" in line]
    finally:
        client.stop()


async def test_a_url_that_is_none_is_not_repeated(launch):
    sn = await launch("1", SN_ETH_RPC_URL="htp://user:hunter2@host:1")
    code, lines = await sn.end()
    assert code == 2
    assert "SN_ETH_RPC_URL must be http" in lines[-1]
    assert "hunter2" not in "".join(lines)
