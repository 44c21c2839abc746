"""Three SNs and four peers that train through: the sentinel dies, another SN, then all SNs."""

import asyncio

import pytest

from services.common.errors import SwarmError
from services.common.ids import DEFAULT_CONTRACT
from services.sn.core import ledger
from tests.faults.history import one_history
from tests.faults.pairs import Pairs
from tests.faults.sn_network import PATIENCE

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]
BATCHES = 40
ROUNDS = BATCHES + 1
"""One at each batch's end, and one at the end of the training."""


async def at_round(sns, sn, number):
    """Wait until a round is open; its number, which may be a later one."""
    client, cursor = sns.client(sn), ""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                state = await client.watch(DEFAULT_CONTRACT, cursor, 5)
            except SwarmError:  # it is away, or its chain is behind
                await asyncio.sleep(0.5)
                continue
            cursor = state.cursor
            if state.view.round >= number:
                return state.view.round


@pytest.fixture
def train(sns):
    started = []

    def start(at):
        started.append(Pairs(sns, at, BATCHES))
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

    history = await one_history(sns)
    rounds = await sns.client("1").rounds(DEFAULT_CONTRACT)
    assert [each.round for each in rounds] == list(range(1, ROUNDS + 1))
    assert len(history.of(ledger.Published)) == ROUNDS
    assert all(len(each.contributors) == len(pairs.at) for each in rounds)
    for number in range(len(pairs.at)):
        assert f"training complete after {ROUNDS} rounds" in pairs.log(f"sl-{number}").read_text()
