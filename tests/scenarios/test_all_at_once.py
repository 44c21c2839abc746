"""Everything that goes wrong, at once: attested merges, crashes, restarts, pauses, stragglers."""

import math

import pytest

from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from tests.fakes.mirror import MirroredContract
from tests.fakes.swarm import SimSwarm, uid_of
from tests.scenarios.test_attested_merges import check


def any_life(seed, attestations, **options):
    """A swarm whose faults the seed decides; three of seven peers do nothing but train."""
    swarm = SimSwarm(
        seed, peers=0, min_peers=3, quorum_wait=4.0, attestations=attestations, **options
    )  # fmt: skip
    chance = swarm.random
    for index in range(7):
        swarm.join(
            index, chance.randint(2, 15), chance.choice([0.3, 1.0, 4.0]),
            closing=chance.choice(list(PeerState)[1:]),
            straggler_timeout=chance.choice([0.0, 10.0, math.inf]),
        )  # fmt: skip
    for index in range(4):
        when, fate = chance.uniform(0.5, 25.0), chance.random()
        if fate < 0.6:
            swarm.after(when, lambda i=index: end_and_perhaps_return(swarm, i))
        elif fate < 0.85:
            swarm.after(when, lambda i=index: swarm.pause(swarm.peers[uid_of(i)], 12.0))
    return swarm


def end_and_perhaps_return(swarm, index):
    """Dead at once, or with a goodbye; most come back under their uid, some at once."""
    chance, peer = swarm.random, swarm.peers[uid_of(index)]
    swarm.crash(peer)
    if chance.random() < 0.5:
        swarm.leave(peer)
    if chance.random() < 0.7:
        swarm.after(chance.choice([0.1, 1.0, 15.0]), lambda: come_back(swarm, index))


def come_back(swarm, index):
    chance = swarm.random
    if swarm.contract.phase is not Phase.COMPLETED:
        swarm.join(index, chance.randint(1, 5), straggler_timeout=chance.choice([0.0, math.inf]))


@pytest.mark.parametrize("attestations", [0, 1, 2])
@pytest.mark.parametrize("seed", range(25))
def test_any_life(seed, attestations):
    swarm = any_life(seed, attestations)
    swarm.run()
    check(swarm)


@pytest.mark.parametrize("attestations", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_any_life_on_the_solidity_contract(seed, attestations):
    swarm = any_life(seed, attestations, make_contract=MirroredContract)
    swarm.run()
    check(swarm)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("attestations", [0, 1])
def test_the_last_one_that_trains_leaves_while_its_model_is_merged(seed, attestations):
    """Its model goes with it, and what is left of the round has nothing new."""
    swarm = SimSwarm(seed, peers=0, min_peers=2, quorum_wait=2.0, attestations=attestations)
    for index in range(2):
        swarm.join(index, syncs=1)
    last = swarm.join(2, syncs=50, may_lead=False)
    left = []

    def watch(command, _peer):
        fresh = {uid for uid in swarm.contract.peers if swarm.contract._fresh(uid)}
        if isinstance(command, ev.Merge) and fresh == {last.uid} and not left:
            left.append(command.round)
            last.up = False
            swarm.leave(last)

    swarm.on_command(watch)
    swarm.run(limit=500.0)
    check(swarm)
    assert left


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("attestations", [0, 1])
def test_the_only_one_that_may_lead_checks_in_before_it_counts_as_alive_again(seed, attestations):
    """It was silent for some seconds; the contract passes over lost nodes when it elects."""
    swarm = SimSwarm(seed, peers=0, min_peers=3, attestations=attestations)
    for index in range(3):
        swarm.join(index, may_lead=index == 0)
    admin, again = uid_of(0), []

    def watch(command, _peer):
        if isinstance(command, ev.CheckIn) and command.round == 3 and not swarm.lost and not again:
            swarm.lost.add(admin)  # and back before anybody reaps it
            swarm.after(8.0, lambda: swarm.lost.discard(admin))
        if isinstance(command, ev.CheckIn) and swarm.now > 8.0 and command.round == 3:
            again.append(swarm.now)

    swarm.on_command(watch)
    swarm.run(limit=200.0)
    check(swarm)
    assert len(again) <= 4
