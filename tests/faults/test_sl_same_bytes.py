"""A leader's death changes no byte, where the contributions are the same.

The leaders here are peers that have closed as ``inactive``: they lead and merge, and contribute
nothing. So the training that loses one has the contributions of the one that loses none.
"""

import asyncio
import json

import pytest

from services.common.sn_api import Phase
from tests.faults.invariants import check
from tests.faults.standing import BIGGER_THAN_TALK, LARGE, held

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]
ROUNDS = 4
KILLED_IN = 3


async def start(training):
    """Two that train, and two that train for one round and only lead from then on."""
    workers = [await training.pair(SL_MAKE_ME_ADMIN="False") for _ in range(2)]
    for _ in range(2):
        pair = await training.pair(with_ml=False, SL_WAIT_FOR_FULL_QUORUM_SECONDS="30")
        pair.start_ml(CALLBACK=json.dumps({"checkinModelOnTrainEnd": "inactive"}))
    leaders = training.others(*workers)
    await training.enrolled()
    training.sync()
    await training.synced(1)
    for pair in leaders:
        pair.finish()
    return workers, leaders


async def kill_the_leader(training):
    """Kill it while it downloads, so that another leads the same round."""
    for pair in training.pairs:
        pair.proxy.down.let(BIGGER_THAN_TALK)
    view = await training.until(lambda v: v.phase is Phase.MERGING, "nobody merges")
    await held(*(p.proxy.down for p in training.pairs), complaint="no download")
    leader = training.leader(view)
    leader.kill()
    for pair in training.pairs:
        pair.proxy.down.let()
    return leader


async def trained(training, *, with_kill):
    """Train; what was merged into what, by round, and the pair that was killed."""
    workers, leaders = await start(training)
    killed = []
    for number in range(2, ROUNDS + 1):
        for pair in workers:
            pair.sync()
        if with_kill and number == KILLED_IN:
            killed.append(await kill_the_leader(training))
            assert killed[0] in leaders
        await training.synced(number, *workers)
    for pair in workers:
        pair.finish()
    await training.end(*training.others(*killed))
    told = await check(training, *training.others(*killed))
    numbers = {pair.uid: pair.number for pair in training.pairs}
    rounds = [
        ([(numbers[c.peer], c.digest) for c in r.contributors if c.weightage], r.digest)
        for r in told.rounds
    ]
    terms = [len(record.leaders) for record in told.rounds]
    return rounds, terms


async def test_a_training_that_loses_its_leader_ends_in_the_same_bytes(train):
    undisturbed, disturbed = [await train(f"same-{name}", 2, items=LARGE) for name in ("a", "b")]
    (expected, calm), (found, failed_over) = await asyncio.gather(
        trained(undisturbed, with_kill=False), trained(disturbed, with_kill=True)
    )
    assert set(calm) == {1}
    assert failed_over[KILLED_IN - 1] == 2
    assert len(expected) > ROUNDS, "the last models of those that closed are merged, too"
    assert [[number for number, _ in inputs] for inputs, _ in expected[: ROUNDS + 1]] == [
        [0, 1, 2, 3],
        *[[0, 1]] * ROUNDS,
    ]
    assert found == expected
