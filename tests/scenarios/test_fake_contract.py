"""The simulated trainings once more, on the Solidity contract beside the fake one."""

import pytest

from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from tests.fakes.mirror import MirroredContract
from tests.fakes.swarm import SimSwarm


def swarm_of(seed, peers, min_peers, **kwargs):
    return SimSwarm(seed, peers, min_peers, make_contract=MirroredContract, **kwargs)


@pytest.mark.parametrize("closing", [PeerState.SNAPSHOT, PeerState.ACTIVE, PeerState.INACTIVE])
def test_a_whole_training(closing):
    swarm = swarm_of(1, peers=0, min_peers=3)
    for index, syncs in enumerate((6, 3, 1, 4)):
        swarm.join(index, syncs, closing=closing, may_lead=index != 2)
    swarm.run()
    assert swarm.contract.phase is Phase.COMPLETED


@pytest.mark.parametrize("when", [ev.Freeze, ev.Merge, ev.Publish, ev.CheckIn])
def test_leader_crashes(when):
    swarm = swarm_of(2, peers=4, min_peers=3)
    crashed = []

    def watch(command, peer):
        if isinstance(command, when) and command.round == 2 and not crashed:
            crashed.append(peer)
            swarm.crash(peer)

    swarm.on_command(watch)
    swarm.run()
    assert crashed


def test_drops_and_reopened_rounds():
    swarm = swarm_of(3, peers=3, min_peers=3)
    drops = []

    def watch(command, peer):
        if isinstance(command, ev.Merge) and command.round == 2 and not drops:
            peer.cut_from.update(set(swarm.peers) - {peer.uid})
        if isinstance(command, ev.Drop):
            drops.append(command.peer)
            peer.cut_from.clear()

    swarm.on_command(watch)
    swarm.run()
    assert drops


@pytest.mark.parametrize("seed", range(12))
def test_random_crashes_and_pauses(seed):
    swarm = swarm_of(seed, peers=6, min_peers=2, quorum_wait=3.0)
    for index, peer in enumerate(list(swarm.peers.values())):
        when = swarm.random.uniform(0.5, 15.0)
        if index < 3 and swarm.random.random() < 0.6:
            swarm.after(when, lambda p=peer: swarm.crash(p))
        else:
            swarm.after(when, lambda p=peer: swarm.pause(p, swarm.random.choice([2.0, 30.0])))
    swarm.run()
    assert swarm.contract.phase is Phase.COMPLETED
