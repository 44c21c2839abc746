"""F16 on real processes: peers come late and drop out at random. `SWARM_SOAK=N` runs N seeds.

Thirty-two peers and a hundred rounds are simulated in `tests/scenarios/test_churn.py`.
"""

import os
import random
import signal

import pytest

from services.common.sn_api import Phase
from tests.faults.invariants import check

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]
SEEDS = range(int(os.environ.get("SWARM_SOAK", "1")))
PEERS, AT_FIRST, STAY = 8, 4, 3
"""In all; from the beginning; to the end, whatever happens to the others."""
ROUNDS = 20


@pytest.mark.parametrize("seed", SEEDS)
async def test_peers_come_late_and_drop_out(train, seed):
    chance = random.Random(seed)
    training = await train("churn", 2)
    for pair in await training.start(AT_FIRST, SL_WAIT_FOR_FULL_QUORUM_SECONDS="0.3"):
        pair.sync(ROUNDS)
    joins = sorted(chance.sample(range(2, ROUNDS - 5), PEERS - AT_FIRST))
    leaves = sorted(chance.sample(range(3, ROUNDS - 2), PEERS - STAY))
    dropped = []
    for number in range(2, ROUNDS):
        await training.until_round(number)
        if number in joins:
            late = await training.pair(SL_WAIT_FOR_FULL_QUORUM_SECONDS="0.3")
            late.sync(ROUNDS - number)
        if number in leaves and (there := training.others(*dropped)[STAY:]):
            gone = chance.choice(there)
            dropped.append(gone)
            how = chance.choice(("both are killed", "the ML program is", "the SL is stopped"))
            if how == "both are killed":
                gone.kill()
            elif how == "the ML program is":
                gone.ml.send(signal.SIGKILL)
            else:
                gone.sl.send(signal.SIGTERM)
    rest = training.others(*dropped)
    gone_ids = {pair.uid for pair in dropped}
    await training.until(  # for one that is dead and was the last to train, the others wait 60 s
        lambda v: not any(p.live for p in v.peers if p.uid in gone_ids), "not found lost"
    )
    await training.end(*rest, seconds=60)

    told = await check(training, *rest)
    assert len(told.rounds) >= ROUNDS
    assert dropped
    assert len(training.pairs) == PEERS
    events = {(e.kind, e.data.get("peer")) for e in told.events}
    assert all(("Enrolled", pair.uid) in events for pair in training.pairs if pair in rest)
    enrolled = [pair for pair in dropped if ("Enrolled", pair.uid) in events]
    assert all(("Left", pair.uid) in events for pair in enrolled)
    view = await training.view()
    assert view.phase is Phase.COMPLETED
