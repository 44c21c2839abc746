"""Three SNs and peers that train through: the sentinel dies, another SN, all SNs; a split."""

import asyncio

import httpx
import pytest

from services.common.errors import SwarmError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.sn import history
from services.sn.core import ledger
from tests.faults.history import one_history
from tests.faults.pairs import Pairs
from tests.faults.sn_network import PATIENCE

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]
BATCHES = 40
LEADER_CUT_OFF_S = 200.0
"""A leader that is cut off with its SN is noticed by the other SNs after 100 s."""
ROUNDS = BATCHES + 1
"""One at each batch's end, and one at the end of the training."""


async def at_round(sns, sn, number, seconds=PATIENCE):
    """Wait until a round is open; its number, which may be a later one."""
    client, cursor = sns.client(sn), ""
    async with asyncio.timeout(seconds):
        while True:
            try:
                state = await client.watch(DEFAULT_CONTRACT, cursor, 5)
            except SwarmError:  # it is away, or its chain is behind
                await asyncio.sleep(0.5)
                continue
            cursor = state.cursor
            if state.view.round >= number:
                return state.view.round


async def audited(sns):
    """What `python -m services.sn.history` says of the ledger on every SN."""
    named = [item for sn in sns.sns.values() for item in ("--sn", sn.api)]
    context = sns.pki.identity(NodeKind.SWCI).client_context()
    async with httpx.AsyncClient(verify=context, timeout=PATIENCE) as http:
        return (await history.audit(history.parse(named), http)).verdict


@pytest.fixture
def train(sns):
    started = []

    def start(at, min_peers=None):
        started.append(Pairs(sns, at, BATCHES, min_peers))
        return started[-1]

    yield start
    for pairs in started:
        pairs.close()


async def test_training_survives_each_sn_and_all_of_them(sns, train):
    await sns.start("1", "2", "3")
    pairs = train(["1", "2", "3", "1"])
    await at_round(sns, "2", 4)
    sns.sns["1"].kill()
    now = await at_round(sns, "2", 0)
    await at_round(sns, "2", now + 3)  # all four take part in each: two have another SN now
    await sns.restart("1")
    sns.sns["3"].kill()
    now = await at_round(sns, "2", 0)
    await at_round(sns, "2", now + 3)
    await sns.restart("3")
    pairs.require_running()

    for sn in sns.sns.values():
        sn.send(9)
    for sn in sns.sns.values():
        sn.kill()
    pairs.require_running()
    await sns.restart("3", "1", "2")
    assert len(await pairs.end()) == 1

    ledgers = await one_history(sns)
    verdict = await audited(sns)
    assert (verdict.not_checked, len(verdict.same_on), len(verdict.signers)) == ([], 3, 3)
    rounds = await sns.client("1").rounds(DEFAULT_CONTRACT)
    assert [each.round for each in rounds] == list(range(1, ROUNDS + 1))
    assert len(ledgers.of(ledger.Published)) == ROUNDS
    assert all(len(each.contributors) == len(pairs.at) for each in rounds)
    for number in range(len(pairs.at)):
        assert f"training complete after {ROUNDS} rounds" in pairs.log(f"sl-{number}").read_text()


async def test_peers_on_both_sides_of_a_split(sns, train):
    await sns.start("1", "2", "3")
    pairs = train(["1", "2", "3"], min_peers=2)
    await at_round(sns, "1", 4)
    log = sns.sns["3"].mark
    sns.network.cut_off("3")
    now = await at_round(sns, "1", 0)
    await at_round(sns, "1", now + 4, LEADER_CUT_OFF_S)
    await sns.until_said("3", "linked to 1 of 3 signers", log)
    await sns.until_it_waits_for_the_chain("3")
    behind = (await sns.client("3").state(DEFAULT_CONTRACT)).view
    assert behind.round < now + 4
    pairs.require_running()

    sns.network.heal()
    assert len(await pairs.end()) == 1
    await one_history(sns)
    rounds = await sns.client("1").rounds(DEFAULT_CONTRACT)
    assert [each.round for each in rounds] == list(range(1, len(rounds) + 1))
    took_part = [{each.peer for each in one.contributors} for one in rounds]
    assert len(took_part[0] | took_part[-1]) == 3
    assert any(len(peers) == 2 for peers in took_part), "no round without the peer that was cut off"
    assert len(took_part[-1]) == 3, "who was cut off takes part again"
