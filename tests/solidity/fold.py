"""A training contract's state from its events alone, by the rules in contracts/README.md."""

# ruff: noqa: N802, N803 - the contract's own names

from dataclasses import dataclass, field
from typing import Any

from tests.solidity.evm import Event


@dataclass
class Seat:
    """What the events say of one peer."""

    may_lead: bool
    live: bool = True
    state: int = 0
    checkin: tuple[bytes, int, int] | None = None
    participant: bool = False
    dropped: bool = False
    exposed: bool = False


@dataclass
class Fold:
    """State after the events applied so far."""

    generation: int = 1
    phase: str = "UNINITIALIZED"
    round: int = 0
    term: int = 0
    leader: bytes = bytes(16)
    terms: dict[str, Any] = field(default_factory=dict)
    merged: tuple[int, bytes] = (0, bytes(32))
    seats: dict[bytes, Seat] = field(default_factory=dict)
    proposal: dict[str, Any] | None = None
    """What was proposed, and by whom each result was got."""

    def apply(self, event: Event) -> None:
        getattr(self, f"_on_{event.name}")(**event.args)

    def _on_Enrolled(self, generation, round, peer, mayLead, **terms):
        if self.phase == "UNINITIALIZED":
            self.phase, self.round = "CHECKIN", round
            self.terms = terms
        seat = self.seats.setdefault(peer, Seat(mayLead))
        seat.live, seat.may_lead, seat.state = True, mayLead, 0

    def _on_CheckedIn(self, peer, digest, size, weightage, state, **_):
        self.seats[peer].state, self.seats[peer].checkin = state, (digest, size, weightage)

    def _on_Returned(self, peer, **_):
        self.seats[peer].live = True

    def _on_Left(self, peer, **_):
        self.seats[peer].live = False
        if self.phase != "MERGING":
            self.seats[peer].checkin = None

    def _on_LeaderElected(self, term, leader, **_):
        self.phase, self.term, self.leader = "QUORUM", term, leader
        self._gather_again(without_dropped=False)

    def _on_Reopened(self, reason, **_):
        self.phase, self.leader = "CHECKIN", bytes(16)
        self._gather_again(without_dropped=reason in ("below min peers", "nothing new to merge"))

    def _gather_again(self, *, without_dropped):
        self.proposal = None
        for seat in self.seats.values():
            if not seat.live or (without_dropped and seat.dropped):
                seat.checkin = None
            seat.participant = seat.dropped = False

    def _on_Frozen(self, participants, **_):
        self.phase = "MERGING"
        for peer in participants:
            self.seats[peer].participant = True

    def _on_Dropped(self, peer, **_):
        self.seats[peer].participant, self.seats[peer].dropped = False, True

    def _on_Proposed(self, digest, size, contributors, **_):
        self.proposal = {"merge": (digest, size), "contributors": contributors, "got": {}}

    def _on_Attested(self, peer, digest, size, **_):
        self.proposal["got"][peer] = (digest, size)

    def _on_Exposed(self, leader, **_):
        self.seats[leader].exposed = True

    def _on_Published(self, round, digest, **_):
        self.proposal = None
        self.phase, self.round, self.term, self.leader = "CHECKIN", round + 1, 0, bytes(16)
        self.merged = (round, digest)
        for seat in self.seats.values():
            seat.checkin, seat.participant, seat.dropped = None, False, False

    def _on_Completed(self, **_):
        self.phase = "COMPLETED"

    def _on_Reset(self, generation, **_):
        self.__init__(generation + 1)

    def _on_Refused(self, **_):
        pass

    def _on_PerfReported(self, **_):
        pass
