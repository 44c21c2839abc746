"""Trainings whose merges must be attested, on a simulated clock: liars, crashes, cut lines."""

import pytest

from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from services.sl.core.merge_plan import PATIENCE_SECONDS
from tests.fakes.mirror import MirroredContract
from tests.fakes.swarm import SimSwarm, uid_of

SEEDS = range(5)
BOTH = pytest.mark.parametrize("attestations", [1, 2])


def check(swarm):
    """All finish with the same model, and every published merge is what honest peers get."""
    history = swarm.contract.history
    assert [entry[0] for entry in history] == list(range(1, len(history) + 1))  # I1
    assert swarm.contract.phase is Phase.COMPLETED
    finished = [p for p in swarm.peers.values() if p.up]
    assert {p.machine.installed.digest for p in finished} == {swarm.contract.merged.digest}  # I2
    assert {digest for *_, digest in history} <= swarm.honest  # I3
    exposed = {leader for _, leader, _, _ in swarm.contract.exposures}
    assert exposed <= {uid for uid, peer in swarm.peers.items() if peer.lies}


def of_kind(swarm, kind):
    """Each command of a kind as it is given: its peer and itself."""
    found = []
    swarm.on_command(lambda c, peer: found.append((peer.uid, c)) if isinstance(c, kind) else None)
    return found


@pytest.mark.parametrize("seed", SEEDS)
@BOTH
def test_just_so_many_attest_each_merge_where_nothing_goes_wrong(seed, attestations):
    swarm = SimSwarm(seed, peers=5, min_peers=4, attestations=attestations)
    attests, recomputes = of_kind(swarm, ev.Attest), of_kind(swarm, ev.Recompute)
    swarm.run()
    check(swarm)
    rounds = len(swarm.contract.history)
    assert len(attests) == len(recomputes) == attestations * rounds
    assert len({uid for uid, _ in attests}) > attestations, "the work goes round"
    assert not swarm.contract.exposures


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("closing", [PeerState.SNAPSHOT, PeerState.ACTIVE, PeerState.INACTIVE])
def test_unequal_lengths(seed, closing):
    swarm = SimSwarm(seed, peers=0, min_peers=4, attestations=2)
    for index, syncs in enumerate((9, 6, 3, 1)):
        swarm.join(index, syncs, closing=closing)
    swarm.run()
    check(swarm)


@pytest.mark.parametrize("seed", SEEDS)
@BOTH
def test_a_leader_that_lies_is_exposed_and_the_training_goes_on(seed, attestations):
    swarm = SimSwarm(seed, peers=5, min_peers=4, attestations=attestations)
    liar = swarm.peers[uid_of(seed % 5)]

    def watch(command, peer):
        """It lies as a leader and not as an attester."""
        if peer is liar:
            peer.lies = "mine" if isinstance(command, ev.Merge) else ""

    swarm.on_command(watch)
    led = of_kind(swarm, ev.Freeze)
    swarm.run()
    liar.lies = "mine"
    check(swarm)
    as_leader = [command for uid, command in led if uid == liar.uid]
    assert len(swarm.contract.exposures) == len(as_leader) <= 1
    for number, leader, published, computed in swarm.contract.exposures:
        assert leader == liar.uid
        assert published not in swarm.honest
        assert swarm.contract.history[number - 1][3] == computed
    assert all(p.machine.finished for p in swarm.peers.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_one_liar_decides_nothing_where_two_must_agree(seed):
    """It lies as a leader and as an attester: f = 1 < k = 2, and 5 = k + f + 2."""
    swarm = SimSwarm(seed, peers=5, min_peers=4, attestations=2)
    liar = swarm.peers[uid_of(seed % 5)]
    liar.lies = "mine"
    swarm.run()
    check(swarm)
    assert {leader for _, leader, _, _ in swarm.contract.history} <= set(swarm.peers) - {liar.uid}


@pytest.mark.parametrize("seed", SEEDS)
@BOTH
@pytest.mark.parametrize("when", [ev.Merge, ev.Publish, ev.Recompute, ev.Attest, ev.Install])
def test_a_crash_at_any_step(seed, attestations, when):
    swarm = SimSwarm(seed, peers=5, min_peers=3, attestations=attestations)
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
def test_a_leader_that_crashes_right_after_its_proposal(seed):
    swarm = SimSwarm(seed, peers=5, min_peers=3, attestations=2)
    crashed = []

    def watch(command, _peer):
        if isinstance(command, ev.Recompute) and command.round == 2 and not crashed:
            crashed.append(swarm.contract.leader)
            swarm.crash(swarm.peers[crashed[0]])

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert crashed


@pytest.mark.parametrize("seed", SEEDS)
def test_others_attest_where_the_first_cannot(seed):
    """Who cannot reach anybody else waits; the next in line begin after a patience."""
    swarm = SimSwarm(seed, peers=5, min_peers=4, attestations=2)
    begun = []

    def watch(command, peer):
        if isinstance(command, ev.Recompute) and command.round == 2:
            begun.append((swarm.now, peer.uid))
            if len(begun) == 1:
                peer.cut_from.update(swarm.peers)
                swarm.after(200.0, peer.cut_from.clear)

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    others = {uid for _, uid in begun}
    assert len(others) > 2
    assert swarm.now > PATIENCE_SECONDS
    assert swarm.contract.history[1][0] == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_come_from_the_leader_where_their_peer_does_not_serve_them(seed):
    swarm = SimSwarm(seed, peers=4, min_peers=4, attestations=1)
    cut, started = [], []

    def watch(command, peer):
        if isinstance(command, ev.Recompute) and not cut:
            cut.append(command)
            peer.cut_from.update(set(swarm.peers) - {swarm.contract.leader})
            started.append(swarm.now)
        elif isinstance(command, ev.Attest) and len(started) == 1:
            started.append(swarm.now)
            peer.cut_from.clear()

    swarm.on_command(watch)
    swarm.run()
    check(swarm)
    assert started[1] - started[0] < 1.0


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("attestations", [0, 1, 2])
def test_random_crashes_pauses_and_a_liar(seed, attestations):
    swarm = SimSwarm(seed, peers=8, min_peers=4, quorum_wait=5.0, attestations=attestations)
    if attestations == 2:
        swarm.peers[uid_of(7)].lies = "mine"
    trouble(swarm, careful={uid_of(7)} if attestations == 2 else set())
    swarm.run()
    check(swarm)


def trouble(swarm, careful):
    """Crashes and pauses, at times that the seed decides; never of so many that nothing goes on."""
    for index, peer in enumerate(list(swarm.peers.values())):
        kind, when = swarm.random.random(), swarm.random.uniform(0.5, 20.0)
        if peer.uid in careful:
            continue
        if index < 3 and kind < 0.5:
            swarm.after(when, lambda p=peer: swarm.crash(p))
        elif kind > 0.7:
            swarm.after(when, lambda p=peer: swarm.pause(p, swarm.random.choice([2.0, 30.0])))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("attestations", [1, 2])
def test_the_solidity_contract_does_the_same(seed, attestations):
    swarm = SimSwarm(
        seed, peers=7, min_peers=3, quorum_wait=3.0, attestations=attestations,
        make_contract=MirroredContract,
    )  # fmt: skip
    if attestations == 2:
        swarm.peers[uid_of(6)].lies = "mine"
    else:
        swarm.on_command(lambda c, p: setattr(p, "lies", _as_leader(c, p, uid_of(6))))
    trouble(swarm, careful={uid_of(6)})
    swarm.run()
    swarm.peers[uid_of(6)].lies = "mine"
    check(swarm)


def _as_leader(command, peer, liar):
    return "mine" if peer.uid == liar and isinstance(command, ev.Merge) else ""
