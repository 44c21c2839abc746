"""F15: every process of a training is killed and started again, one after another."""

import pytest

from services.common.sn_api import Phase
from tests.faults.invariants import check

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]


async def test_every_process_is_killed_and_restarted(train):
    """Every round needs all three, so nothing goes on before who was killed is back."""
    training = await train("restarted", 3)
    await training.start(3)
    training.sync()
    await training.synced(1)
    number = 1
    for victim in training.pairs:
        number += 1
        for pair in training.others(victim):
            pair.sync()
        await training.until(
            lambda v, n=number: v.round == n and sum(p.checkin is not None for p in v.peers) == 2,
            "no check-ins",
        )
        victim.restart()
        victim.sync(2)  # the first one brings it up to date
        await training.until_round(number + 1)
        await training.synced(2, victim)
        for pair in training.others(victim):
            await training.synced(pair.synced, pair)

    for pair in training.pairs[:2]:
        pair.sync()
    await training.until(
        lambda v: v.round == number + 1 and sum(p.checkin is not None for p in v.peers) == 2,
        "no check-ins",
    )
    training.standing.kill_sn()
    training.pairs[2].sync()
    training.standing.start_sn()
    await training.until_round(number + 2)
    await training.end()

    told = await check(training, *training.pairs)
    assert len(told.rounds) == number + 2
    assert all(len(each.contributors) == 3 for each in told.rounds)


async def test_a_peer_killed_with_its_model_checked_in_is_back_for_the_same_round(train):
    training = await train("same-round", 2)
    first, second = await training.start(2)
    training.sync()
    await training.synced(1)
    first.sync()
    await training.until(lambda v: v.round == 2 and first.of(v).checkin, "no check-in")
    first.restart()
    await training.until(lambda v: v.phase is Phase.CHECKIN and first.of(v).live, "not back")
    first.sync(2)
    second.sync()
    await training.until_round(3)
    await training.synced(2)
    await training.end()
    told = await check(training, first, second)
    assert len(told.rounds) == 3
