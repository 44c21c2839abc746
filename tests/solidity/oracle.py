"""The rules of a training contract once more, as plainly as Python can say them.

Nothing is counted or kept twice: every question is answered by looking at all peers. Property
tests compare the Solidity contract with it after every call. Peers are node ids.
"""

# ruff: noqa: N802, N803 - the contract's own names

from dataclasses import dataclass
from typing import Any

from eth_utils import keccak

Call = dict[str, Any]
Fact = tuple[str, dict[str, Any]]
NOBODY = bytes(16)
NOTHING = bytes(32)


class RefusalError(Exception):
    """The call is against the rules."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def need(condition: bool, code: str) -> None:
    if not condition:
        raise RefusalError(code)


@dataclass
class Peer:
    may_lead: bool = False
    live: bool = False
    state: int = 0
    closed_in: int = 0
    checkin: tuple[bytes, int, int] | None = None
    """Digest, size, weightage; to the open round."""
    attested: tuple[int, int, bytes, int] | None = None
    """Round, term, digest and size of what it attested last."""
    exposed: bool = False


class Oracle:
    """One training contract. ``facts`` are the events of the last call."""

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.now = 0
        self.lost: set[bytes] = set()
        self.facts: list[Fact] = []
        self._start(1)

    def _start(self, generation: int) -> None:
        self.generation, self.phase, self.round, self.term = generation, "UNINITIALIZED", 0, 0
        self.leader, self.elected_at = NOBODY, 0
        self.terms: dict[str, Any] = {}
        self.peers: dict[bytes, Peer] = {}
        self.seats: list[bytes] = []
        """Live peers, and those that left during the merge under way, as they came."""
        self.participants: list[bytes] = []
        self.drops: set[bytes] = set()
        self.merges: list[bytes] = []
        self.last_publish: Call = {}
        self.proposal: Call = {}
        """What the leader published, while that waits for attestations."""

    @property
    def merged(self) -> bytes:
        return self.merges[-1] if self.merges else NOTHING

    def call(self, function: str, arguments: Call) -> list[Fact]:
        """Applies a call; returns the events. A refused call changes nothing."""
        self.facts = []
        getattr(self, function)(**arguments)
        if self.phase != "MERGING":
            self.seats = [uid for uid in self.seats if self.peers[uid].live]
        return self.facts

    # --- calls, with the contract's parameter names

    def enrol(
        self, generation, peer, minPeers, method, adaptive, mayLead, leaderTimeout, attestations
    ):  # fmt: skip
        need(generation in (0, self.generation), "wrong-generation")
        need(self.phase != "COMPLETED", "completed")
        need(peer not in self.lost, "unknown-node")
        terms = {
            "minPeers": minPeers, "method": method, "adaptive": adaptive,
            "attestations": attestations,
        }  # fmt: skip
        if not self.terms:
            need(minPeers > 0 and method != NOTHING and leaderTimeout > 0, "bad-value")
            need(attestations < minPeers, "bad-value")
            self.terms = {**terms, "leaderTimeout": leaderTimeout}
            self.phase, self.round = "CHECKIN", 1
        need(terms.items() <= self.terms.items(), "terms-differ")
        now = self.peers.setdefault(peer, Peer())
        if now.live and now.state == 0 and now.may_lead == mayLead:
            return
        now.live, now.state, now.closed_in, now.may_lead = True, 0, 0, mayLead
        self._sit(peer)
        self._say("Enrolled", peer=peer, mayLead=mayLead, **self.terms)
        self._elect("quorum")

    def checkIn(
        self, generation, peer, round, base, digest, size, weightage, state, measured
    ):  # fmt: skip
        now = self._peer(generation, peer)
        need(self.phase != "COMPLETED", "completed")
        need(round == self.round, "wrong-round")
        need(base == self.merged, "stale-base")
        same = now.checkin == (digest, size, weightage) and now.state == state
        if not same:
            need(self.phase != "MERGING", "wrong-phase")
            need(digest != NOTHING and size > 0 and state <= 3, "bad-value")
            need(1 <= weightage <= 100 or (weightage == 0 and state == 3), "bad-value")
            need(not (now.state > 0 and state == 0), "bad-value")
        if not now.live:
            now.live = True
            self._sit(peer)
            self._say("Returned", peer=peer)
        if not same:
            if now.state == 0 and state > 0:
                now.closed_in = round
            now.state, now.checkin = state, (digest, size, weightage)
            perf = dict(
                zip(("present", "loss", "metric", "epochs", "totalEpochs"), measured, strict=True)
            )
            self._say(
                "CheckedIn", peer=peer, base=base, digest=digest, size=size,
                weightage=weightage, state=state, perf=perf,
            )  # fmt: skip
        self._elect("quorum")

    def freeze(self, generation, round, term, leader):
        self._fence(generation, round, term, leader)
        if self.phase == "MERGING":
            return
        self.phase, self.drops = "MERGING", set()
        self.participants = [uid for uid in self.seats if self.peers[uid].checkin]
        self._say("Frozen", term=term, leader=leader, participants=self.participants)

    def drop(self, generation, round, term, leader, peer, reason):
        self._fence(generation, round, term, leader)
        need(self.phase == "MERGING", "wrong-phase")
        need(peer in self.peers, "not-enrolled")
        need(peer in self.participants and peer != leader, "not-participant")
        if peer in self.drops:
            return
        need(not self.proposal, "contradicts")
        self.drops.add(peer)
        self._say("Dropped", term=term, peer=peer, reason=reason)
        remaining = self.remaining()
        if len(remaining) < self.terms["minPeers"]:
            self._reopen_without_drops("below min peers")
        elif not any(self.is_fresh(uid) for uid in remaining):
            self._reopen_without_drops("nothing new to merge")
        else:
            self._end_term_without_attesters()
        self._complete()

    def publish(
        self, generation, round, term, leader, digest, size, contributors, nextInterval
    ):  # fmt: skip
        call = {key: value for key, value in locals().items() if key != "self"}
        if call == self.last_publish:
            return
        self._fence(generation, round, term, leader)
        need(self.phase == "MERGING", "wrong-phase")
        if call == self.proposal:
            return
        need(not self.proposal, "contradicts")
        need(digest != NOTHING and size > 0, "bad-value")
        need(contributors == sorted(self.remaining()), "contributors-differ")
        weights = [self.peers[uid].checkin[2] for uid in contributors]
        need(any(weights) or not self.merges or digest == self.merged, "bad-value")
        if self.terms["attestations"]:
            self.proposal = call
            self._tell("Proposed", call)
        else:
            self._publish(call)

    def attest(self, generation, round, term, peer, digest, size):
        now = self._peer(generation, peer)
        if now.attested == (round, term, digest, size):
            return
        need(round == self.round, "wrong-round")
        need(term == self.term, "stale-term")
        need(bool(self.proposal), "wrong-phase")
        need(peer in self.remaining() and peer != self.leader and now.live, "not-participant")
        need(digest != NOTHING and size > 0, "bad-value")
        need(peer not in self.attesters(), "contradicts")
        now.attested = (round, term, digest, size)
        proposed = (self.proposal["digest"], self.proposal["size"])
        agrees = (digest, size) == proposed
        self._say("Attested", term=term, peer=peer, digest=digest, size=size, agrees=agrees)
        same = [uid for uid in self.attesters() if self.peers[uid].attested == now.attested]
        if len(same) < self.terms["attestations"]:
            return
        if agrees:
            self._publish(self.proposal)
            return
        self.peers[self.leader].exposed = True
        self._say(
            "Exposed", term=term, leader=self.leader, digest=proposed[0], size=proposed[1],
            computed=digest, computedSize=size,
        )  # fmt: skip
        self._end_term("leader exposed", NOBODY)
        self._complete()

    def _tell(self, name: str, call: Call) -> None:
        fields = ("term", "leader", "digest", "size", "contributors", "nextInterval")
        self._say(name, **{key: call[key] for key in fields})

    def _publish(self, call: Call) -> None:
        self.last_publish = call
        self._tell("Published", call)
        self.merges.append(call["digest"])
        self.proposal = {}
        self.round, self.term = self.round + 1, 0
        self.phase, self.leader = "CHECKIN", NOBODY
        self.participants, self.drops = [], set()
        for peer in self.peers.values():
            peer.checkin = None
        self._complete()

    def reportLeader(self, generation, round, term, reporter):
        self._peer(generation, reporter)
        need(round == self.round, "wrong-round")
        if term < self.term:
            return
        need(term == self.term, "stale-term")
        need(self.leader != NOBODY, "wrong-phase")
        old = self.leader
        if old in self.lost:
            self._left(old, "lost")
            self._end_term("leader lost", NOBODY)
        else:
            need(self.now >= self.elected_at + self.terms["leaderTimeout"], "not-lost")
            self._end_term("deadline passed", old)
        self._complete()

    def leave(self, generation, peer, reason):
        self._peer(generation, peer)
        self._depart(peer, reason, "left")

    def reap(self, generation, peer):
        self._peer(generation, peer)
        need(peer in self.lost, "not-lost")
        self._depart(peer, "lost", "lost")

    def reset(self, generation, by):
        need(generation == self.generation, "wrong-generation")
        self._say("Reset", by=by)
        self._start(generation + 1)

    # --- questions

    def is_fresh(self, uid: bytes) -> bool:
        return self.peers[uid].state == 0 or self.peers[uid].closed_in == self.round

    def remaining(self) -> list[bytes]:
        return [uid for uid in self.participants if uid not in self.drops]

    def ready(self) -> list[bytes]:
        return [uid for uid, peer in self.peers.items() if peer.live and peer.checkin]

    def is_quorum(self) -> bool:
        ready = self.ready()
        return len(ready) >= self.terms["minPeers"] and any(map(self.is_fresh, ready))

    def candidates(self) -> list[bytes]:
        return [u for u in self.ready() if self.may_lead(u) and u not in self.lost]

    def may_lead(self, uid: bytes) -> bool:
        return self.peers[uid].may_lead and not self.peers[uid].exposed

    def attesters(self) -> list[bytes]:
        """Who attested anything in this term."""
        term = (self.round, self.term)
        return [u for u, peer in self.peers.items() if (peer.attested or ())[:2] == term]

    def lot(self, uid: bytes, term: int) -> bytes:
        numbers = b"".join(n.to_bytes(4, "big") for n in (self.generation, self.round, term))
        return keccak(self.address + numbers + uid)

    # --- consequences

    def _say(self, name: str, **fields: Any) -> None:
        self.facts.append((name, {"generation": self.generation, "round": self.round, **fields}))

    def _peer(self, generation: int, uid: bytes) -> Peer:
        need(generation == self.generation, "wrong-generation")
        need(uid in self.peers, "not-enrolled")
        return self.peers[uid]

    def _fence(self, generation: int, round: int, term: int, leader: bytes) -> None:
        need(generation == self.generation, "wrong-generation")
        need(round == self.round, "wrong-round")
        need(term == self.term, "stale-term")
        need(leader == self.leader != NOBODY, "not-leader")

    def _elect(self, reason: str, barred: bytes = NOBODY) -> None:
        if self.phase != "CHECKIN" or not self.is_quorum():
            return
        pool = [uid for uid in self.candidates() if uid != barred] or self.candidates()
        if pool:
            self.term += 1
            self.leader = min(pool, key=lambda uid: self.lot(uid, self.term))
            self.phase, self.elected_at = "QUORUM", self.now
            self._say("LeaderElected", term=self.term, leader=self.leader, reason=reason)

    def _sit(self, uid: bytes) -> None:
        if uid not in self.seats:
            self.seats.append(uid)

    def _left(self, uid: bytes, reason: str) -> None:
        self.peers[uid].live = False
        self._say("Left", peer=uid, reason=reason)
        if self.phase != "MERGING":
            self.peers[uid].checkin = None

    def _depart(self, uid: bytes, reason: str, how: str) -> None:
        if not self.peers[uid].live or self.phase == "COMPLETED":
            return
        self._left(uid, reason)
        if uid == self.leader:
            self._end_term(f"leader {how}", NOBODY)
        elif self.phase == "QUORUM" and not self.is_quorum():
            self._reopen(f"peer {how}")
        self._end_term_without_attesters()
        self._complete()

    def _end_term_without_attesters(self) -> None:
        if self.phase != "MERGING":
            return
        left = [
            uid
            for uid in self.remaining()
            if uid != self.leader and (self.peers[uid].live or uid in self.attesters())
        ]
        if len(left) < self.terms["attestations"]:
            self._end_term("too few attesters", NOBODY)

    def _end_term(self, reason: str, barred: bytes) -> None:
        for uid in self.seats:
            if self.peers[uid].live and uid in self.lost:
                self._left(uid, "lost")
        self._gather_again()
        self._elect(reason, barred)
        if self.phase == "CHECKIN":
            self._reopen(reason)

    def _reopen_without_drops(self, reason: str) -> None:
        for uid in self.drops:
            self.peers[uid].checkin = None
        self._gather_again()
        self._reopen(reason)

    def _gather_again(self) -> None:
        self.phase, self.leader, self.participants, self.drops = "CHECKIN", NOBODY, [], set()
        self.proposal = {}
        for peer in self.peers.values():
            if not peer.live:
                peer.checkin = None

    def _reopen(self, reason: str) -> None:
        self.phase, self.leader = "CHECKIN", NOBODY
        self._say("Reopened", reason=reason)

    def _complete(self) -> None:
        live = [uid for uid, peer in self.peers.items() if peer.live]
        waiting = self.phase == "CHECKIN" and self.merges and live
        if waiting and not any(self.is_fresh(uid) for uid in live):
            self.phase = "COMPLETED"
            self._say("Completed")
            self.facts[-1][1]["round"] = len(self.merges)
