"""The training contract's rules in memory, for tests of what peers do.

`tests/scenarios/test_fake_contract.py` runs whole trainings on this class and on the Solidity
contract at once and compares every outcome, so that a test on this one says something.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.common import sn_api as api
from services.common.ids import NO_DIGEST

Phase, PeerState = api.Phase, api.PeerState


class RefusedError(Exception):
    """The contract's revert; ``code`` is its stable word."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Peer:
    may_lead: bool
    live: bool = True
    state: api.PeerState = PeerState.TRAINING
    closed_round: int = 0
    checkin: api.CheckInView | None = None
    participant: bool = False
    dropped: str = ""
    left: str = ""
    perf: api.Perf | None = None
    perf_round: int = 0
    rounds: int = 0
    exposed: bool = False
    attested: tuple[int, int, str, int] | None = None
    """Round, term, digest and size of what it attested last."""


@dataclass
class FakeContract:
    """One generation of a training contract.

    Args:
        rank: orders candidates for leadership, given (round, term, uid); smallest leads.
        is_lost: what the node registry says of a uid.
    """

    rank: Callable[[int, int, str], object]
    is_lost: Callable[[str], bool] = lambda _uid: False
    generation: int = 1
    phase: api.Phase = Phase.UNINITIALIZED
    round: int = 0
    term: int = 0
    leader: str = ""
    terms: api.Terms | None = None
    peers: dict[str, Peer] = field(default_factory=dict)
    merged: api.Merged | None = None
    quorum_at: float = 0.0
    proposal: api.Proposal | None = None
    exposures: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Exposed leaders: round, leader, what it published, what the others got."""
    history: list[tuple[int, str, tuple[str, ...], str]] = field(default_factory=list)
    """Published rounds: number, leader, contributors, digest."""

    # --- what peers do

    def enrol(self, uid: str, enrol: api.Enrol) -> None:
        terms = api.Terms(**enrol.model_dump(exclude={"may_lead"}))
        self._require(self.phase is not Phase.COMPLETED, "completed")
        if self.terms is None:
            self._require(terms.attestations < terms.min_peers, "bad-value")
            self.terms, self.phase, self.round = terms, Phase.CHECKIN, 1
        mine = terms.model_dump(exclude={"leader_timeout_s"})
        self._require(mine == self.terms.model_dump(exclude={"leader_timeout_s"}), "terms-differ")
        peer = self.peers.setdefault(uid, Peer(enrol.may_lead))
        peer.may_lead, peer.live, peer.state, peer.left = (
            enrol.may_lead,
            True,
            PeerState.TRAINING,
            "",
        )
        peer.closed_round = 0

    def check_in(self, uid: str, c: api.CheckIn, now: float) -> None:
        peer = self._peer(uid)
        self._require(self.phase is not Phase.COMPLETED, "completed")
        self._require(c.round == self.round, "wrong-round")
        self._require(c.base == (self.merged.digest if self.merged else NO_DIGEST), "stale-base")
        new = api.CheckInView(base=c.base, digest=c.digest, size=c.size, weightage=c.weightage)
        if peer.checkin == new and peer.state is c.state:
            peer.live, peer.left = True, ""
            if self.phase is Phase.CHECKIN:
                self._elect(now)
            return
        self._require(self.phase is not Phase.MERGING, "wrong-phase")
        bad = (c.weightage == 0) != (c.state is PeerState.INACTIVE) and c.weightage == 0
        back = peer.state is not PeerState.TRAINING and c.state is PeerState.TRAINING
        self._require(not bad and not back, "bad-value")
        if peer.state is PeerState.TRAINING and c.state is not PeerState.TRAINING:
            peer.closed_round = self.round
        peer.state, peer.live, peer.left, peer.checkin = c.state, True, "", new
        peer.dropped = ""
        if c.perf is not None:
            peer.perf, peer.perf_round = c.perf, self.round - 1
        if self.phase is Phase.CHECKIN:
            self._elect(now)

    def freeze(self, uid: str, round_: int, term: int) -> None:
        self._fence(uid, round_, term)
        if self.phase is Phase.MERGING:
            return
        self._require(self.phase is Phase.QUORUM, "wrong-phase")
        for peer in self.peers.values():
            peer.participant = peer.checkin is not None
        self.phase = Phase.MERGING

    def drop(
        self, uid: str, round_: int, term: int, dropped: str, reason: str, now: float
    ) -> None:  # fmt: skip
        self._fence(uid, round_, term)
        self._require(self.phase is Phase.MERGING, "wrong-phase")
        peer = self._peer(dropped)
        self._require(peer.participant and dropped != uid, "not-participant")
        if peer.dropped:
            return
        self._require(self.proposal is None, "contradicts")
        peer.dropped = reason
        remaining = self._merging()
        if not self._is_quorum(remaining):
            for other in self.peers.values():
                if other.dropped:
                    other.checkin = None
            self._reopen()
        elif self._lacks_attesters():
            self._replace_leader(now, excluded="")
        self._complete_if_closed()

    def publish(
        self, uid: str, round_: int, term: int, digest: str, size: int, contributors: list[str],
        next_interval: int = 0,
    ) -> None:  # fmt: skip
        proposal = api.Proposal(
            digest=digest, size=size, contributors=contributors, next_interval=next_interval
        )
        if self.merged and (self.merged.round, self.merged.digest) == (round_, digest):
            return
        self._fence(uid, round_, term)
        self._require(self.phase is Phase.MERGING, "wrong-phase")
        if self.proposal is not None:
            first = self.proposal.model_copy(update={"attested": [], "disputed": []})
            self._require(proposal == first, "contradicts")
            return
        expected = sorted(self._merging())
        self._require(contributors == expected, "contributors-differ")
        weights = [p.checkin.weightage for u in expected if (p := self.peers[u]).checkin]
        if self.merged and not any(weights):
            self._require(digest == self.merged.digest, "bad-value")
        self.proposal = proposal
        assert self.terms is not None
        if not self.terms.attestations:
            self._publish()

    def attest(
        self, uid: str, round_: int, term: int, digest: str, size: int, now: float
    ) -> None:  # fmt: skip
        peer, statement = self._peer(uid), (round_, term, digest, size)
        if peer.attested == statement:
            return
        self._require(round_ == self.round, "wrong-round")
        self._require(term == self.term, "stale-term")
        proposal = self.proposal
        self._require(proposal is not None, "wrong-phase")
        assert proposal is not None
        assert self.terms is not None
        may = uid in self._merging() and uid != self.leader and peer.live
        self._require(may, "not-participant")
        self._require((peer.attested or ())[:2] != (round_, term), "contradicts")
        peer.attested = statement
        same = [u for u, p in self.peers.items() if p.attested == statement]
        if (digest, size) == (proposal.digest, proposal.size):
            self.proposal = proposal.model_copy(update={"attested": [*proposal.attested, uid]})
            if len(same) >= self.terms.attestations:
                self._publish()
            return
        other = api.Dispute(peer=uid, digest=digest, size=size)
        self.proposal = proposal.model_copy(update={"disputed": [*proposal.disputed, other]})
        if len(same) >= self.terms.attestations:
            self.peers[self.leader].exposed = True
            self.exposures.append((round_, self.leader, proposal.digest, digest))
            self._replace_leader(now, excluded="")
            self._complete_if_closed()

    def report_leader(self, round_: int, term: int, now: float) -> None:
        self._require(round_ == self.round, "wrong-round")
        self._require(term <= self.term, "stale-term")
        if term < self.term:
            return
        self._require(self.phase in (Phase.QUORUM, Phase.MERGING), "wrong-phase")
        assert self.terms is not None
        late = now >= self.quorum_at + self.terms.leader_timeout_s
        self._require(late or self.is_lost(self.leader), "not-lost")
        old = self.leader
        if self.is_lost(old):
            self._remove(old, "lost")
        self._replace_leader(now, excluded=old)

    def leave(self, uid: str, reason: str, now: float) -> None:
        peer = self._peer(uid)
        if not peer.live or self.phase is Phase.COMPLETED:
            return
        self._remove(uid, reason)
        if uid == self.leader and self.phase in (Phase.QUORUM, Phase.MERGING):
            self._replace_leader(now, excluded=uid)
        elif self.phase is Phase.QUORUM and not self._is_quorum(self._checked_in()):
            self._reopen()
        elif self._lacks_attesters():
            self._replace_leader(now, excluded="")
        self._complete_if_closed()

    def reap(self, uid: str, now: float) -> None:
        self._require(self.is_lost(uid), "not-lost")
        self.leave(uid, "lost", now)

    def report_perf(self, uid: str, round_: int, perf: api.Perf) -> None:
        peer = self._peer(uid)
        peer.perf, peer.perf_round = perf, round_

    # --- how it looks

    def view(self, now: float) -> api.ContractView:
        electing = self.phase in (Phase.QUORUM, Phase.MERGING)
        return api.ContractView(
            name="c", generation=self.generation, phase=self.phase, round=self.round,
            term=self.term, leader=self.leader, terms=self.terms, merged=self.merged,
            quorum_age_s=now - self.quorum_at if electing else None, waiting_for="",
            proposal=self.proposal,
            peers=[
                api.PeerView(
                    uid=uid, endpoint=f"{uid[-1]}:1", fingerprint="", container="", live=p.live,
                    may_lead=p.may_lead and not p.exposed, state=p.state, checkin=p.checkin,
                    participant=p.participant, dropped=p.dropped, perf=p.perf,
                    perf_round=p.perf_round, rounds=p.rounds, left=p.left, exposed=p.exposed,
                )
                for uid, p in sorted(self.peers.items())
            ],
        )  # fmt: skip

    # --- rules

    def _publish(self) -> None:
        proposal, expected = self.proposal, self._merging()
        assert proposal is not None
        self.merged = api.Merged(
            round=self.round, digest=proposal.digest, size=proposal.size, leader=self.leader,
            next_interval=proposal.next_interval,
        )  # fmt: skip
        self.history.append((self.round, self.leader, tuple(sorted(expected)), proposal.digest))
        for u, peer in self.peers.items():
            peer.rounds += u in expected
            peer.checkin, peer.participant, peer.dropped = None, False, ""
        self.round, self.term, self.leader = self.round + 1, 0, ""
        self.phase, self.proposal = Phase.CHECKIN, None
        self._complete_if_closed()

    def _lacks_attesters(self) -> bool:
        assert self.terms is not None
        if self.phase is not Phase.MERGING:
            return False
        left = [
            u
            for u in self._merging()
            if u != self.leader
            and (
                self.peers[u].live or (self.peers[u].attested or ())[:2] == (self.round, self.term)
            )
        ]
        return len(left) < self.terms.attestations

    def _require(self, condition: bool, code: str) -> None:
        if not condition:
            raise RefusedError(code)

    def _peer(self, uid: str) -> Peer:
        self._require(uid in self.peers, "not-enrolled")
        return self.peers[uid]

    def _fence(self, uid: str, round_: int, term: int) -> None:
        self._require(round_ == self.round, "wrong-round")
        self._require(term == self.term, "stale-term")
        self._require(uid == self.leader, "not-leader")

    def _checked_in(self) -> list[str]:
        return [u for u, p in self.peers.items() if p.live and p.checkin is not None]

    def _merging(self) -> list[str]:
        return [u for u, p in self.peers.items() if p.participant and not p.dropped]

    def _fresh(self, uid: str) -> bool:
        peer = self.peers[uid]
        return peer.state is PeerState.TRAINING or peer.closed_round == self.round

    def _is_quorum(self, uids: list[str]) -> bool:
        assert self.terms is not None
        return len(uids) >= self.terms.min_peers and any(map(self._fresh, uids))

    def _elect(self, now: float, excluded: str = "") -> bool:
        ready = self._checked_in()
        eligible = [
            u
            for u in ready
            if self.peers[u].may_lead
            and not self.peers[u].exposed
            and u != excluded
            and not self.is_lost(u)
        ]
        if not self._is_quorum(ready) or not eligible:
            return False
        self.term += 1
        self.leader = min(eligible, key=lambda u: self.rank(self.round, self.term, u))
        self.phase, self.quorum_at = Phase.QUORUM, now
        return True

    def _replace_leader(self, now: float, excluded: str) -> None:
        for uid in list(self.peers):
            if self.peers[uid].live and self.is_lost(uid):
                self._remove(uid, "lost")
        self._gather_again()
        if not self._elect(now, excluded):
            self._reopen()

    def _remove(self, uid: str, reason: str) -> None:
        peer = self.peers[uid]
        peer.live, peer.left = False, reason
        if self.phase is not Phase.MERGING or uid == self.leader:
            peer.checkin = None

    def _reopen(self) -> None:
        self.phase, self.leader = Phase.CHECKIN, ""
        self._gather_again()

    def _gather_again(self) -> None:
        self.proposal = None
        for peer in self.peers.values():
            peer.participant = False
            if not peer.live:
                peer.checkin = None
            if peer.checkin is not None:
                peer.dropped = ""

    def _complete_if_closed(self) -> None:
        live = [u for u, p in self.peers.items() if p.live]
        closed = all(self.peers[u].state is not PeerState.TRAINING for u in live)
        pending = any(self.peers[u].checkin and self._fresh(u) for u in live)
        if live and closed and not pending and self.merged and self.phase is not Phase.MERGING:
            self.phase, self.leader = Phase.COMPLETED, ""
