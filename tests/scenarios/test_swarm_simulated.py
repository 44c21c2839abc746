"""Whole trainings on a simulated clock: many seeds, all kinds of failures, in milliseconds."""

import pytest

from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from tests.fakes.swarm import SimSwarm, uid_of

SEEDS = range(25)


def check(swarm):
    """The invariants of DESIGN section 3, as far as they concern peers."""
    history = swarm.contract.history
    assert [entry[0] for entry in history] == list(range(1, len(history) + 1))  # I1
    finished = [p for p in swarm.peers.values() if p.up]
    assert finished
    assert swarm.contract.phase is Phase.COMPLETED
    assert {p.machine.installed.digest for p in finished} == {swarm.contract.merged.digest}  # I2


@pytest.mark.parametrize("seed", SEEDS)
def test_all_peers_finish_with_the_same_model(seed):
    swarm = SimSwarm(seed, peers=5, min_peers=4)
    swarm.run()
    check(swarm)
    assert all(p.machine.finished for p in swarm.peers.values())
    assert all(len(entry[2]) == 5 for entry in swarm.contract.history)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("closing", [PeerState.SNAPSHOT, PeerState.ACTIVE, PeerState.INACTIVE])
def test_unequal_lengths_with_minpeers_of_all(seed, closing):
    swarm = SimSwarm(seed, peers=0, min_peers=4)
    for index, syncs in enumerate((13, 15, 9, 3)):
        swarm.join(index, syncs, closing=closing)
    swarm.run()
    check(swarm)
    assert len(swarm.contract.history) >= 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("when", [ev.Freeze, ev.Merge, ev.Publish, ev.CheckIn])
def test_leader_crash_at_any_step(seed, when):
    swarm = SimSwarm(seed, peers=5, min_peers=4)
    crashed = []

    def watch(command, peer):
        if isinstance(command, when) and command.round == 3 and not crashed:
            crashed.append(peer)
            swarm.crash(peer)

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert crashed
    assert sum(p.machine.finished for p in swarm.peers.values()) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_leader_crash_right_after_publishing_does_not_lose_the_merged_model(seed):
    swarm = SimSwarm(seed, peers=5, min_peers=3)
    crashed = []

    def watch(command, _peer):
        if isinstance(command, ev.Install) and command.round == 3 and not crashed:
            crashed.append(swarm.contract.merged.leader)
            swarm.crash(swarm.peers[crashed[0]])

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert sum(p.machine.finished for p in swarm.peers.values()) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_leader_stopped_for_a_minute_goes_on_as_a_normal_peer(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=4)
    for index in range(5):
        swarm.join(index, syncs=12, batch_time=20.0)
    stopped = []

    def watch(command, peer):
        if isinstance(command, ev.Publish) and command.round == 2 and not stopped:
            stopped.append(peer)
            swarm.pause(peer, 60.0)

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert all(p.machine.finished for p in swarm.peers.values())
    contributors = {number: members for number, _, members, _ in swarm.contract.history}
    assert stopped[0].uid not in contributors[2]
    assert stopped[0].uid in contributors[max(contributors)]


@pytest.mark.parametrize("seed", SEEDS)
def test_peer_cut_off_from_the_leader_is_dropped_and_comes_back(seed):
    swarm = SimSwarm(seed, peers=4, min_peers=3)
    victim = swarm.peers[uid_of(0)]
    drops = []

    def watch(command, peer):
        if isinstance(command, ev.Merge) and command.round == 2 and not drops:
            peer.cut_from.add(victim.uid)
        if isinstance(command, ev.Drop):
            drops.append((command.round, command.peer))
            peer.cut_from.clear()

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    contributors = {number: members for number, _, members, _ in swarm.contract.history}
    if drops:
        assert drops == [(2, victim.uid)]
        assert victim.uid not in contributors[2]
        assert victim.uid in contributors[3]


@pytest.mark.parametrize("seed", SEEDS)
def test_dropping_below_minpeers_reopens_the_round(seed):
    swarm = SimSwarm(seed, peers=3, min_peers=3)
    drops = []

    def watch(command, peer):
        if isinstance(command, ev.Merge) and command.round == 2 and not drops:
            peer.cut_from.update(set(swarm.peers) - {peer.uid})
        if isinstance(command, ev.Drop):
            drops.append(command.peer)
            peer.cut_from.clear()

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert drops
    assert all(len(entry[2]) == 3 for entry in swarm.contract.history)


@pytest.mark.parametrize("seed", SEEDS)
def test_late_peer_starts_from_the_merged_model(seed):
    swarm = SimSwarm(seed, peers=3, min_peers=2)
    swarm.after(4.0, lambda: swarm.join(7, syncs=2))
    swarm.run()
    check(swarm)
    late = swarm.peers[uid_of(7)]
    assert late.trace[0].startswith("Install@") or late.trace[0] == "CheckIn@1"
    assert late.machine.finished


@pytest.mark.parametrize("seed", SEEDS)
def test_slow_peer_does_not_hold_the_others_longer_than_the_quorum_window(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=2, quorum_wait=2.0)
    for index in range(3):
        swarm.join(index, syncs=8)
    slow = swarm.join(3, syncs=3, batch_time=40.0)
    swarm.run()
    check(swarm)
    assert slow.machine.finished
    assert slow.uid in swarm.contract.history[-1][2]


def test_peer_that_may_not_lead_never_leads():
    swarm = SimSwarm(1, peers=0, min_peers=2)
    for index in range(3):
        swarm.join(index, may_lead=index == 2)
    swarm.run()
    check(swarm)
    assert {leader for _, leader, _, _ in swarm.contract.history} == {uid_of(2)}


@pytest.mark.parametrize("seed", range(60))
def test_random_crashes_and_pauses(seed):
    swarm = SimSwarm(seed, peers=8, min_peers=3, quorum_wait=5.0)
    for index, peer in enumerate(list(swarm.peers.values())):
        kind = swarm.random.random()
        when = swarm.random.uniform(0.5, 20.0)
        if index < 4 and kind < 0.5:
            swarm.after(when, lambda p=peer: swarm.crash(p))
        elif kind > 0.7:
            swarm.after(when, lambda p=peer: swarm.pause(p, swarm.random.choice([2.0, 30.0])))
    swarm.run()
    check(swarm)
