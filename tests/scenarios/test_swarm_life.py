"""Whole trainings on a simulated clock: how they end, and who comes back."""

import math

import pytest

from services.common.errors import RemoteError
from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from tests.fakes.swarm import SimSwarm, uid_of
from tests.scenarios.test_swarm_simulated import check

SEEDS = range(15)


def contributors(swarm):
    return {number: members for number, _, members, _ in swarm.contract.history}


def intervals(swarm):
    """What each peer's ML program was told, answer by answer, by round."""
    told = {uid: {} for uid in swarm.peers}

    def look(command, peer):
        if isinstance(command, ev.AnswerSync):
            told[peer.uid][peer.machine.installed_round] = command.next_interval

    swarm.on_command(look)
    return told


# --- the end


def unequal(seed, timeout, syncs=(3, 4, 40), batch_time=5.0, **options):
    """Three peers with minPeers 2, of which the last one trains much longer."""
    swarm = SimSwarm(seed, peers=0, min_peers=2, quorum_wait=2.0)
    for index, number in enumerate(syncs):
        swarm.join(index, number, batch_time, straggler_timeout=timeout, **options)
    return swarm, swarm.peers[uid_of(len(syncs) - 1)]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_limit_all_wait_for_the_last_one(seed):
    swarm, slow = unequal(seed, math.inf)
    swarm.run()
    check(swarm)
    assert slow.machine.finished
    assert len(swarm.contract.history) > 40


@pytest.mark.parametrize("seed", SEEDS)
def test_hpes_rule_ends_the_training_when_minpeers_have_closed(seed):
    swarm, slow = unequal(seed, 0.0)
    swarm.run()
    check(swarm)  # all of them have the same model, also the one that was told so
    assert slow.machine.over
    assert "2 peers (minPeers) have finished" in swarm.contract.peers[slow.uid].left
    assert len(swarm.contract.history) < 12
    assert all(p.machine.finished for p in swarm.peers.values() if p is not slow)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_closed_ones_wait_as_long_as_the_last_ones_sl_lets_them(seed):
    swarm, slow = unequal(seed, 30.0)
    closed = []
    swarm.on_command(
        lambda command, _peer: (
            closed.append(swarm.now)
            if isinstance(command, ev.CheckIn) and command.state is not PeerState.TRAINING
            else None
        )
    )
    left = []
    swarm.on_command(
        lambda command, _peer: left.append(swarm.now) if isinstance(command, ev.Leave) else None
    )
    swarm.run()
    check(swarm)
    assert slow.machine.over
    assert len(left) == 1
    assert 30.0 <= left[0] - closed[0] < 30.0 + 25.0  # the second one closes a bit later


@pytest.mark.parametrize("seed", SEEDS)
def test_several_that_still_train_all_get_the_final_model(seed):
    swarm, _ = unequal(seed, 0.0, syncs=(3, 3, 30, 30, 30))
    swarm.run()
    check(swarm)
    assert sum(p.machine.over for p in swarm.peers.values()) >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_never_syncs_again_keeps_nobody(seed):
    swarm, slow = unequal(seed, 10.0, batch_time=1.0)
    swarm.after(12.0, lambda: setattr(slow, "batch_time", 100_000.0))
    for peer in swarm.peers.values():
        if peer is slow:
            peer.syncs = 1_000
    others = [p for p in swarm.peers.values() if p is not slow]
    while not all(p.ended for p in others):
        swarm.step()
        assert swarm.now < 200.0
    assert swarm.contract.phase is Phase.COMPLETED
    assert slow.uid in swarm.copies[swarm.contract.merged.digest]  # for when it asks


@pytest.mark.parametrize("seed", SEEDS)
def test_the_last_one_goes_on_if_too_few_are_left_of_those_that_closed(seed):
    swarm, slow = unequal(seed, 20.0, syncs=(2, 2, 12))
    dead = []

    def look(command, peer):
        if isinstance(command, ev.CheckIn) and command.state is not PeerState.TRAINING and not dead:
            dead.append(peer)
            swarm.after(15.0, lambda: swarm.crash(peer))
            swarm.after(90.0, lambda: swarm.join(int(peer.uid, 16) - 1, 3, 5.0))

    swarm.on_command(look)
    swarm.run()
    check(swarm)
    assert slow.ended


# --- too few


def test_a_wait_for_minpeers_has_an_end_where_one_is_set():
    swarm = SimSwarm(2, peers=0, min_peers=4)
    for index in range(3):
        swarm.join(index, min_peers_timeout=60.0)
    with pytest.raises(
        RemoteError, match=r"only 3 of 4 peers \(minPeers\) were there for 60 s"
    ) as e:
        swarm.run()
    assert e.value.code == "min-peers"
    assert 60.0 <= swarm.now < 65.0


def test_the_wait_begins_anew_when_somebody_came():
    swarm = SimSwarm(2, peers=0, min_peers=3)
    for index in range(2):
        swarm.join(index, min_peers_timeout=60.0)
    swarm.after(50.0, lambda: swarm.join(2, min_peers_timeout=60.0))
    swarm.run()
    check(swarm)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_peer_that_is_there_is_waited_for(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=3)
    for index in range(2):
        swarm.join(index, min_peers_timeout=5.0)
    swarm.join(2, batch_time=60.0, min_peers_timeout=5.0)
    swarm.run()
    check(swarm)


# --- who comes back


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pause", [0.5, 20.0])
def test_a_pair_that_is_started_again_goes_on_from_the_merged_model(seed, pause):
    swarm = SimSwarm(seed, peers=0, min_peers=3, quorum_wait=5.0)
    for index in range(4):
        swarm.join(index, syncs=40)
    again = []

    def restart(index):
        again.append(swarm.join(index, syncs=4))

    def look(command, peer):
        if isinstance(command, ev.CheckIn) and command.round == 3 and not again:
            again.append(peer)
            swarm.crash(peer)
            swarm.after(pause, lambda: restart(int(peer.uid, 16) - 1))

    swarm.on_command(look)
    swarm.run()
    check(swarm)
    old, new = again
    assert old.uid == new.uid
    assert new.machine.finished
    if pause > 6.0:
        assert new.trace[0].startswith("Install@")
    assert old.uid in contributors(swarm)[max(contributors(swarm))]


@pytest.mark.parametrize("seed", SEEDS)
def test_all_started_again_one_after_another(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=2, quorum_wait=3.0)
    for index in range(3):
        swarm.join(index, syncs=25)
    for index in range(3):
        at = 8.0 + 10.0 * index
        swarm.after(at, lambda i=index: swarm.crash(swarm.peers[uid_of(i)]))
        swarm.after(at + 2.0, lambda i=index: swarm.join(i, syncs=12))
    swarm.run()
    check(swarm)
    assert all(p.machine.finished for p in swarm.peers.values())


def test_nobody_may_lead_until_one_comes_that_may():
    swarm = SimSwarm(1, peers=0, min_peers=2)
    for index in range(2):
        swarm.join(index, may_lead=False)
    swarm.after(100.0, lambda: swarm.join(2))
    swarm.run()
    check(swarm)
    assert swarm.now > 100.0
    assert {leader for _, leader, _, _ in swarm.contract.history} == {uid_of(2)}


# --- adaptive sync


@pytest.mark.parametrize("seed", SEEDS)
def test_all_peers_get_the_interval_that_the_leader_chose(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=3, quorum_wait=3.0, adaptive=True)
    swarm.loss = lambda _peer, number: 10.0 * 0.5**number if number < 5 else 10.0 + number
    for index in range(4):
        swarm.join(index, syncs=9)
    told = intervals(swarm)
    swarm.run()
    check(swarm)
    by_round = {}
    for answers in told.values():
        for number, interval in answers.items():
            by_round.setdefault(number, set()).add(interval)
    assert all(len(found) == 1 for found in by_round.values())
    chosen = [by_round[number].pop() for number in sorted(by_round)]
    # A round's interval comes of the losses of the two rounds before; 4 is where they began
    assert chosen[:7] == [4, 4, 8, 16, 32, 16, 8]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_shortens_the_interval(seed, bad):
    swarm = SimSwarm(seed, peers=0, min_peers=3, adaptive=True)
    swarm.loss = lambda peer, number: bad if number == 3 and peer.uid == uid_of(0) else 0.5**number
    for index in range(3):
        swarm.join(index, syncs=6)
    told = intervals(swarm)
    swarm.run()
    check(swarm)
    assert [told[uid_of(1)][number] for number in (3, 4, 5)] == [8, 4, 8]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peer_that_joins_late_gets_the_others_interval_and_does_not_turn_the_scale(seed):
    swarm = SimSwarm(seed, peers=0, min_peers=2, quorum_wait=2.0, adaptive=True)
    late = uid_of(5)
    swarm.loss = lambda peer, number: 0.9**number * (9.0 if peer.uid == late else 1.0)
    for index in range(3):
        swarm.join(index, syncs=14)
    told = intervals(swarm)
    told[late] = {}
    swarm.after(6.0, lambda: swarm.join(5, syncs=3))
    swarm.run()
    check(swarm)
    assert told[late]
    for number, interval in told[late].items():
        assert interval == told[uid_of(0)].get(number, interval)
    chosen = [interval for _, interval in sorted(told[uid_of(0)].items())]
    assert chosen == sorted(chosen)
    assert chosen[-1] == 32


def test_peers_without_validation_data_say_nothing_about_the_interval():
    swarm = SimSwarm(4, peers=0, min_peers=3, adaptive=True)
    swarm.loss = lambda peer, number: 0.5**number if peer.uid == uid_of(0) else 0.0
    for index in range(3):
        swarm.join(index, syncs=5)
    told = intervals(swarm)
    swarm.run()
    assert [told[uid_of(2)][number] for number in (1, 2, 3, 4)] == [4, 4, 8, 16]


# --- all of it at once


@pytest.mark.parametrize("seed", range(40))
def test_random_lives(seed):
    """Crashes, restarts, pauses and limits by chance: who is there in the end has the model."""
    swarm = SimSwarm(seed, peers=0, min_peers=3, quorum_wait=4.0)
    chance = swarm.random
    for index in range(6):
        swarm.join(
            index, chance.randint(5, 30), chance.choice([0.5, 1.0, 4.0]),
            closing=chance.choice(list(PeerState)[1:]),
            straggler_timeout=chance.choice([0.0, 10.0, math.inf]),
        )  # fmt: skip

    def again(index):
        if swarm.contract.phase is not Phase.COMPLETED:
            swarm.join(
                index, chance.randint(2, 8), straggler_timeout=chance.choice([0.0, math.inf])
            )

    for index in range(3):
        when = chance.uniform(1.0, 30.0)
        if chance.random() < 0.6:
            swarm.after(when, lambda i=index: swarm.crash(swarm.peers[uid_of(i)]))
            swarm.after(when + chance.choice([1.0, 15.0]), lambda i=index: again(i))
        else:
            swarm.after(when, lambda i=index: swarm.pause(swarm.peers[uid_of(i)], 20.0))
    swarm.run()
    check(swarm)
