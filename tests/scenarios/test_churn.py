"""F16: 32 peers come late and drop out at random, over 100 rounds, on a simulated clock.

`SWARM_SOAK=N` runs N seeds instead of two.
"""

import os
from itertools import pairwise

import pytest

from services.common.sn_api import PeerState, Phase
from services.sl.core import events as ev
from tests.fakes.swarm import SimSwarm, uid_of

SEEDS = range(int(os.environ.get("SWARM_SOAK", "2")))
PEERS, ROUNDS = 32, 100
STAY = 4
"""So many do nothing but train, for all rounds."""


class ManyPeers(SimSwarm):
    """Changes that come close together reach a peer as one, as by a long poll."""

    def __init__(self, *args, **options):
        self._due, self._seen = set(), None
        super().__init__(*args, **options)
        self._look, self.contract.view = self.contract.view, self._view

    def _view(self, now):
        """The contract's view, made anew only after a change."""
        if self._seen is None:
            self._seen = self._look(now)
        age = None if self._seen.quorum_age_s is None else now - self.contract.quorum_at
        return self._seen.model_copy(update={"quorum_age_s": age})

    def _changed(self):
        self._seen = None
        for peer in self.peers.values():
            if peer.up and peer.uid not in self._due:
                self._due.add(peer.uid)
                self.after(self.random.uniform(0.0, 0.2), lambda p=peer: self._show_latest(p))

    def _show_latest(self, peer):
        self._due.discard(peer.uid)
        self._show(peer)


def come_and_perhaps_go(swarm, index):
    """A peer joins; two of five crash later, two pause for a while."""
    chance = swarm.random
    if swarm.contract.phase is Phase.COMPLETED:
        return
    closing = chance.choice(list(PeerState)[1:])
    peer = swarm.join(index, chance.randrange(3, ROUNDS), chance.uniform(0.2, 4), closing)
    fate, when = chance.random(), chance.uniform(1.0, 100.0)
    if fate < 0.4:
        swarm.after(when, lambda: swarm.crash(peer))
    elif fate < 0.8:
        swarm.after(when, lambda: swarm.pause(peer, chance.choice([3.0, 20.0, 60.0])))


@pytest.mark.parametrize("seed", SEEDS)
def test_peers_join_late_and_drop_out_over_a_hundred_rounds(seed):
    swarm = ManyPeers(seed, peers=0, min_peers=3, quorum_wait=3.0)
    published = []
    for index in range(STAY):
        swarm.join(index, syncs=ROUNDS)
    for index in range(STAY, PEERS):
        swarm.after(swarm.random.uniform(0.0, 150.0), lambda i=index: come_and_perhaps_go(swarm, i))

    def watch(command, peer):
        if isinstance(command, ev.Publish):
            published.append((command.round, command.term, peer.uid))

    swarm.on_command(watch)
    swarm.run()

    history = swarm.contract.history
    assert len(history) >= ROUNDS
    assert [entry[0] for entry in history] == list(range(1, len(history) + 1))
    assert all(len(set(entry[2])) == len(entry[2]) >= 3 for entry in history)
    tried = {(number, term): uid for number, term, uid in published}
    assert all(tried[number, term] == uid for number, term, uid in published), "two of one term"
    digests = [entry[3] for entry in history]
    changed = [before != after for before, after in pairwise(digests)]
    assert sum(changed) >= ROUNDS - 1, "the rounds merge something new"
    finished = [p for p in swarm.peers.values() if p.up and p.machine.finished]
    assert {p.uid for p in finished} >= {uid_of(index) for index in range(STAY)}
    assert {p.machine.installed.digest for p in finished} == {swarm.contract.merged.digest}
    assert swarm.contract.phase is Phase.COMPLETED
