"""Signers agree on one history while messages are lost, repeated and late, and SNs crash.

A simulated network of :class:`Agreement` machines; the seed decides what happens next. What a
machine would have on disk survives its crash, the rest is gone.
"""

import itertools
import random
from dataclasses import dataclass, field

import pytest

from services.sn.core.agreement import Accepted, Agreement, is_quorum

STEPS = 1_000
QUIET_STEPS = 4_000
"""Enough for every machine to be served often, once nothing goes wrong any more."""


@dataclass
class Voter:
    """One SN: what is on disk, and its part in the open decision."""

    me: bytes
    signers: list[bytes]
    history: list[bytes] = field(default_factory=list)
    record: tuple[int, int, Accepted | None] = (0, 0, None)
    open: Agreement = None
    known: set[bytes] = field(default_factory=set)

    def __post_init__(self):
        self.restart()

    def restart(self):
        number, promised, accepted = self.record
        if number != len(self.history):
            promised, accepted = 0, None
        self.open = Agreement(
            len(self.history), self.signers, self.me, self.signers[0], promised, accepted
        )
        self.known = {accepted.block} if accepted else set()
        if accepted:
            self.open.vote(self.me, accepted)

    def keep(self):
        self.record = (self.open.number, self.open.promised, self.open.accepted)

    def settle(self):
        """Accept and decide what can be; the votes to tell."""
        votes = []
        while True:
            decided = self.open.decided()
            if decided is not None and decided.block in self.known:
                self.history.append(decided.block)
                self.restart()
                continue
            found = [
                proposed
                for block in self.known
                for proposed in self.open.proposals(block)
                if proposed != self.open.accepted and self.open.accepts(proposed)
            ]
            if decided is not None or not found:
                return votes
            votes.append(self.accept(max(found, key=lambda each: each.ballot)))

    def accept(self, proposed):
        self.open.accept(proposed)
        self.keep()
        self.open.vote(self.me, proposed)
        return self.open.number, self.me, proposed


class Network:
    """Machines, and messages between them in no order.

    Args:
        seed: of what happens.
        count: of signers.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.chance = random.Random(seed)
        self.loss = self.chance.choice([0.1, 0.3, 0.5, 0.7])
        signers = [bytes([n]) * 20 for n in range(1, count + 1)]
        self.voters = {me: Voter(me, signers) for me in signers}
        self.down: set[bytes] = set()
        self.flying: list[tuple[bytes, bytes, tuple]] = []
        self.sealed = 0
        self.planned = []

    def tell(self, sender, message, to=None):
        for other in self.voters if to is None else [to]:
            if other != sender:
                self.flying.append((sender, other, message))

    def send_votes(self, voter):
        for vote in voter.settle():
            self.tell(voter.me, ("vote", *vote))

    def plan(self, voter):
        """What it means to do; other messages may come before it does."""
        opened = voter.open
        stage = opened.number, opened.promised, opened.accepted
        self.planned.append((voter, opened.may_propose_at_once() or opened.is_prepared(), stage))

    def act(self, voter, propose, stage):
        """Propose, or begin a ballot."""
        opened = voter.open
        if propose and not (opened.may_propose_at_once() or opened.is_prepared()):
            return
        if propose:
            choice = None if opened.untouched else opened.choice()
            if choice is None:
                self.sealed += 1
                parent = voter.history[-1] if voter.history else b""
                choice = b"%d on " % self.sealed + parent[:8]
            voter.known.add(choice)
            vote = voter.accept(Accepted(opened.promised, choice))
            self.tell(voter.me, ("block", *vote))
        elif stage == (opened.number, opened.promised, opened.accepted):
            ballot = opened.prepare()
            voter.keep()
            self.tell(voter.me, ("prepare", opened.number, ballot))
        self.send_votes(voter)

    def deliver(self, sender, to, message):
        voter = self.voters[to]
        kind, number, *rest = message
        if kind == "history":
            for block in rest[0][len(voter.history) :]:
                voter.history.append(block)
                voter.restart()
        elif number < voter.open.number:
            self.tell(to, ("history", 0, list(voter.history)), sender)
        elif number == voter.open.number:
            getattr(self, f"on_{kind}")(voter, sender, *rest)
            self.send_votes(voter)

    def on_block(self, voter, sender, signer, accepted):
        voter.known.add(accepted.block)
        self.on_vote(voter, sender, signer, accepted)

    def on_vote(self, voter, _sender, signer, accepted):
        assert not voter.open.contradicts(signer, accepted)
        voter.open.vote(signer, accepted)

    def on_prepare(self, voter, sender, ballot):
        if voter.open.promise(sender, ballot):
            voter.keep()
            accepted = voter.open.accepted
            self.tell(voter.me, ("promise", voter.open.number, ballot, accepted), sender)

    def on_promise(self, voter, sender, ballot, accepted):
        if accepted is not None:
            voter.known.add(accepted.block)
        voter.open.promised_by(sender, ballot, accepted)

    def step(self, trouble):
        if trouble and self.chance.random() < 0.03:
            self.crash_or_return()
        alive = [v for me, v in self.voters.items() if me not in self.down]
        impatient = trouble and self.chance.random() < 0.2
        if alive and (not (self.flying or self.planned) or impatient):
            self.plan(self.chance.choice(alive))
        elif self.flying:
            at = self.chance.randrange(len(self.flying))
            lost, again = trouble and self.chance.random() < self.loss, self.chance.random() < 0.05
            message = self.flying[at] if again else self.flying.pop(at)
            if message[1] not in self.down and not lost:
                self.deliver(*message)
        if self.planned and self.chance.random() < 0.5:
            voter, *plan = self.planned.pop(0)
            if voter.me not in self.down:
                self.act(voter, *plan)
        self.check()

    def crash_or_return(self):
        me = self.chance.choice(list(self.voters))
        if me in self.down:
            self.down.remove(me)
            self.voters[me].restart()
        else:
            self.down.add(me)

    def check(self):
        """No number has two blocks, and each builds on the one before."""
        histories = [voter.history for voter in self.voters.values()]
        longest = max(histories, key=len)
        for history in histories:
            assert history == longest[: len(history)]
        for before, after in itertools.pairwise(longest):
            assert after.endswith(b" on " + before[:8])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_there_is_one_history_and_it_goes_on(seed, count):
    network = Network(seed * 10 + count, count)
    for _ in range(STEPS):
        network.step(trouble=True)
    for me in network.down.copy():
        network.down.remove(me)
        network.voters[me].restart()
    reached = max(len(voter.history) for voter in network.voters.values())
    for _ in range(QUIET_STEPS):
        network.step(trouble=False)
        if all(len(voter.history) > reached for voter in network.voters.values()):
            return
    raise AssertionError("no new block although nothing goes wrong any more")


def test_a_minority_decides_nothing_and_two_quorums_meet():
    signers = [bytes([n]) for n in range(5)]
    assert not is_quorum(signers[:2], signers, signers[0])
    assert is_quorum(signers[2:], signers, signers[0])
    assert not is_quorum([*signers[:2], b"x", b"y"], signers, signers[0])
    assert not is_quorum(signers[:2], signers[:4], signers[0])


def test_of_two_the_sentinel_decides():
    one, two = b"1", b"2"
    assert is_quorum([one], [one, two], sentinel=one)
    assert not is_quorum([two], [one, two], sentinel=one)
    assert not is_quorum([one], [one, two], sentinel=b"a former signer")
