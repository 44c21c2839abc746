"""F1, F2: the leader of a round dies, or stops for a while, at every step of the round."""

import asyncio
import signal
import time

import pytest

from services.common.sn_api import Phase
from tests.faults.invariants import check
from tests.faults.proxy import Proxy
from tests.faults.standing import BIGGER_THAN_TALK, LARGE, free_port, held, until

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]
ANOTHER_FINISHES_IN = 15.0
"""Seconds from when the leader is found lost to another's publish."""


async def before_it_closes_the_round(training):
    """One peer trains still, so the leader waits for it."""
    for pair in training.pairs[:-1]:
        pair.sync()
    view = await training.until(
        lambda v: v.phase is Phase.QUORUM and sum(p.checkin is not None for p in v.peers) == 3,
        "no quorum",
    )
    return training.leader(view)


async def while_it_downloads(training):
    """All models are held back on their way to it."""
    for pair in training.pairs:
        pair.proxy.down.let(BIGGER_THAN_TALK)
    training.sync()
    view = await training.until(lambda v: v.phase is Phase.MERGING, "nobody merges")
    await held(*(p.proxy.down for p in training.pairs), complaint="no download")
    return training.leader(view)


async def before_it_publishes(training):
    """It has merged, and its copy of the result is held back on the way to another peer."""
    for pair in training.pairs:
        pair.proxy.up.let(BIGGER_THAN_TALK)
    training.sync()
    view = await training.until(lambda v: v.phase is Phase.MERGING, "nobody merges")
    await held(*(p.proxy.up for p in training.pairs), complaint="no copy of the merge")
    return training.leader(view)


async def while_the_others_download(training):
    """It has published; who has no copy is still fetching the result."""
    leader = await before_it_publishes(training)
    for pair in training.pairs:
        pair.proxy.down.let(BIGGER_THAN_TALK)
        pair.proxy.up.let()
    await training.until_round(3)
    await held(*(p.proxy.down for p in training.pairs), complaint="no download of the merge")
    return leader


def let(training):
    for pair in training.pairs:
        pair.proxy.up.let()
        pair.proxy.down.let()


async def killed_at(step, training):
    """Kill the leader of round 2 at a step, and see what becomes of the training."""
    await training.start(
        4 if step is before_it_closes_the_round else 3, SL_WAIT_FOR_FULL_QUORUM_SECONDS="20"
    )
    training.sync()
    await training.synced(1)
    leader = await step(training)
    leader.kill()
    let(training)
    rest = training.others(leader)
    if step is before_it_closes_the_round:
        rest[-1].sync()
    await training.until(lambda v: not leader.of(v).live, "the leader is not found lost")
    found = time.monotonic()
    await training.until_round(3, ANOTHER_FINISHES_IN)
    took = time.monotonic() - found
    await training.end(*rest)
    told = await check(training, *rest)

    failed_over = step is not while_the_others_download
    second = told.rounds[1]
    assert (second.leader == leader.uid) is not failed_over
    assert [each.term for each in second.leaders] == ([1, 2] if failed_over else [1])
    assert not failed_over or second.leaders[1].reason == "leader lost"
    assert told.took_part(leader)[-1] == (1 if failed_over else 2)
    assert told.of("Left", peer=leader.uid, reason="lost")
    return took


async def test_a_leader_killed_at_any_step_is_replaced(train, record_property):
    steps = (
        before_it_closes_the_round, while_it_downloads, before_it_publishes,
        while_the_others_download,
    )  # fmt: skip
    trainings = [await train(step.__name__, 2, items=LARGE) for step in steps]
    took = await asyncio.gather(*map(killed_at, steps, trainings))
    for step, seconds in zip(steps, took, strict=True):
        record_property(f"leader killed {step.__name__}: another published after", seconds)


async def test_the_late_publish_of_a_leader_that_was_stopped_is_refused(train):
    training = await train("stopped", 2, items=LARGE)
    lines = {}
    for _ in range(3):
        line = await training.enter(Proxy(training.standing.port, free_port()))
        pair = await training.pair(SN_API_SERVER_PORT=str(line.port), SL_LOG_LEVEL="DEBUG")
        lines[pair] = line
    training.sync()
    await training.synced(1)
    leader = await before_it_publishes(training)
    lines[leader].up.let(0)
    let(training)
    await until(lambda: "command Publish(round=2, term=1" in leader.sl.said(), "no publish")
    leader.sl.send(signal.SIGSTOP)
    for pair in training.pairs:
        pair.proxy.up.let(BIGGER_THAN_TALK)  # the next leader comes as far as this one did
    await training.until(lambda v: (v.term, v.phase) == (2, Phase.MERGING), "no other leader")
    lines[leader].up.let()
    leader.sl.send(signal.SIGCONT)
    await training.until(
        lambda _: any(e.kind == "Refused" for e in training.events), "it publishes no more"
    )
    let(training)
    training.sync()
    await training.synced(2)
    await training.end()

    told = await check(training, *training.pairs)
    assert told.rounds[1].leader != leader.uid
    assert leader.uid not in {c.peer for c in told.rounds[1].contributors}
    assert told.took_part(leader)[-1] == len(told.rounds)
    late, *_ = told.of("Refused", peer=leader.uid)
    assert late.data["code"] == "stale-term"
