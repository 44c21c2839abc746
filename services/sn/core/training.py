"""Read model of one training contract: a fold over its events, nothing else.

The Solidity contract is the authority and has checked every transition; this fold repeats only
what the transition did. ``views.py`` turns the result into what the API answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from services.common import sn_api as api
from services.common.ids import NodeId
from services.sn.core import ledger
from services.sn.core.ledger import Block
from services.sn.core.perfs import Perfs
from services.sn.core.rounds import History

KEPT_EVENTS = 500
"""How many of the latest events a contract keeps in memory: the most that one answer holds."""


@dataclass(slots=True)
class Peer:
    """One enrolled peer."""

    uid: NodeId
    may_lead: bool
    live: bool = True
    left: str = ""
    state: api.PeerState = api.PeerState.TRAINING
    closed_in: int = 0
    """Round of its first check-in as a closed peer; 0 while its ML program trains."""
    checkin: api.CheckInView | None = None
    """To the current round."""
    participant: bool = False
    dropped: str = ""
    perf: api.Perf | None = None
    perf_round: int = 0
    rounds: int = 0
    exposed: bool = False

    @property
    def closed(self) -> bool:
        """Whether its ML program has finished."""
        return self.state is not api.PeerState.TRAINING

    def is_fresh(self, round_number: int) -> bool:
        """Whether a check-in to ``round_number`` brings new training."""
        return not self.closed or self.closed_in == round_number


@dataclass(slots=True)
class Training:
    """State of one training contract after the events applied so far."""

    name: str
    address: str
    created: int
    """Chain time, Unix seconds."""
    generation: int = 1
    phase: api.Phase = api.Phase.UNINITIALIZED
    round: int = 0
    term: int = 0
    leader: str = ""
    terms: api.Terms | None = None
    peers: dict[NodeId, Peer] = field(default_factory=dict)
    merged: api.Merged | None = None
    proposal: api.Proposal | None = None
    elected: int | None = None
    """Chain time at which the present leader was elected."""
    history: History = field(default_factory=History)
    """Published rounds, and what is known of the open one's."""
    perfs: Perfs = field(default_factory=Perfs)
    """How good their models were."""
    events: list[api.Event] = field(default_factory=list)
    """The latest :data:`KEPT_EVENTS`."""
    seq: int = 0
    """How many events there were."""
    last_block: str = ""
    """Hash of the block of the last event."""

    def apply(self, event: ledger.TrainingEvent, block: Block) -> None:
        """Advance by one event of this contract, in chain order."""
        self.seq += 1
        self.last_block = block.hash
        self.events.append(_for_readers(self.seq, event, block))
        del self.events[:-KEPT_EVENTS]
        self.history.apply(event, block)
        self.perfs.apply(event)
        _HANDLERS[type(event)](self, event, block)

    @property
    def cursor(self) -> str:
        """Names this state: the same on every SN, another after a change or a reorganisation."""
        return f"{self.seq}-{self.last_block[:16]}"

    def events_after(self, cursor: str, limit: int = KEPT_EVENTS) -> list[api.Event]:
        """The events after ``cursor``, the newest ``limit`` of them.

        ``0`` stands for the beginning; for a cursor that is not of this history the list is empty.
        """
        seen = self._seq_of(cursor)
        if seen is None or seen >= self.seq:
            return []
        return self.events[max(seen - self.seq, -limit) :]

    def _seq_of(self, cursor: str) -> int | None:
        number = cursor.partition("-")[0]
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        return int(number)

    # --- what each event did

    def _enrolled(self, event: ledger.Enrolled, _block: Block) -> None:
        if self.phase is api.Phase.UNINITIALIZED:
            self.phase, self.round = api.Phase.CHECKIN, event.round
            self.terms = api.Terms(
                min_peers=event.min_peers, merge_method=event.method, adaptive=event.adaptive,
                leader_timeout_s=event.leader_timeout, attestations=event.attestations,
            )  # fmt: skip
        peer = self.peers.setdefault(event.peer, Peer(event.peer, event.may_lead))
        peer.may_lead, peer.live, peer.left = event.may_lead, True, ""
        peer.state, peer.closed_in = api.PeerState.TRAINING, 0

    def _checked_in(self, event: ledger.CheckedIn, _block: Block) -> None:
        peer = self.peers[event.peer]
        if event.state is not api.PeerState.TRAINING and not peer.closed:
            peer.closed_in = event.round
        peer.state, peer.dropped = event.state, ""
        peer.checkin = api.CheckInView(
            base=event.base, digest=event.digest, size=event.size, weightage=event.weightage
        )
        if event.perf is not None:
            peer.perf, peer.perf_round = event.perf, event.round - 1

    def _elected(self, event: ledger.LeaderElected, block: Block) -> None:
        self.phase, self.term, self.leader = api.Phase.QUORUM, event.term, event.leader
        self.elected = block.time
        self._gather_again(without_dropped=False)

    def _frozen(self, event: ledger.Frozen, _block: Block) -> None:
        self.phase = api.Phase.MERGING
        for uid in event.participants:
            self.peers[uid].participant = True

    def _dropped(self, event: ledger.Dropped, _block: Block) -> None:
        self.peers[event.peer].dropped = event.reason or "no reason given"

    def _reopened(self, event: ledger.Reopened, _block: Block) -> None:
        self.phase, self.leader, self.elected = api.Phase.CHECKIN, "", None
        self._gather_again(without_dropped=event.after_drop)

    def _gather_again(self, *, without_dropped: bool) -> None:
        """A merge ended without a result: check-ins of absent peers go, the rest counts again."""
        self.proposal = None
        for peer in self.peers.values():
            peer.participant = False
            if not peer.live or (without_dropped and peer.dropped):
                peer.checkin = None
            if peer.checkin is not None:
                peer.dropped = ""

    def _proposed(self, event: ledger.Proposed, _block: Block) -> None:
        self.proposal = api.Proposal(
            digest=event.digest, size=event.size, contributors=list(event.contributors),
            next_interval=event.next_interval,
        )  # fmt: skip

    def _attested(self, event: ledger.Attested, _block: Block) -> None:
        assert self.proposal is not None, "an attestation of nothing"
        said: dict[str, object] = {"attested": [*self.proposal.attested, event.peer]}
        if not event.agrees:
            other = api.Dispute(peer=event.peer, digest=event.digest, size=event.size)
            said = {"disputed": [*self.proposal.disputed, other]}
        self.proposal = self.proposal.model_copy(update=said)

    def _exposed(self, event: ledger.Exposed, _block: Block) -> None:
        self.peers[event.leader].exposed = True

    def _published(self, event: ledger.Published, _block: Block) -> None:
        self.merged = api.Merged(
            round=event.round, digest=event.digest, size=event.size, leader=event.leader,
            next_interval=event.next_interval,
        )  # fmt: skip
        for uid in event.contributors:
            self.peers[uid].rounds += 1
        for peer in self.peers.values():
            peer.checkin, peer.participant, peer.dropped = None, False, ""
        self.phase, self.round, self.term = api.Phase.CHECKIN, event.round + 1, 0
        self.leader, self.elected, self.proposal = "", None, None

    def _left(self, event: ledger.Left, _block: Block) -> None:
        peer = self.peers[event.peer]
        peer.live, peer.left = False, event.reason or "left"
        if self.phase is not api.Phase.MERGING:
            peer.checkin = None

    def _returned(self, event: ledger.Returned, _block: Block) -> None:
        peer = self.peers[event.peer]
        peer.live, peer.left = True, ""

    def _refused(self, event: ledger.Refused, block: Block) -> None:
        """Changes nothing: the event itself is the record."""

    def _perf_reported(self, event: ledger.PerfReported, _block: Block) -> None:
        peer = self.peers[event.peer]
        peer.perf, peer.perf_round = event.perf, event.round

    def _completed(self, _event: ledger.Completed, _block: Block) -> None:
        self.phase, self.leader, self.elected = api.Phase.COMPLETED, "", None

    def _reset(self, event: ledger.Reset, _block: Block) -> None:
        self.generation, self.phase = event.generation + 1, api.Phase.UNINITIALIZED
        self.round, self.term, self.leader, self.elected = 0, 0, "", None
        self.terms, self.merged, self.peers, self.proposal = None, None, {}, None


_HANDLERS: dict[type[ledger.TrainingEvent], Callable[[Training, Any, Block], None]] = {
    ledger.Enrolled: Training._enrolled,
    ledger.CheckedIn: Training._checked_in,
    ledger.LeaderElected: Training._elected,
    ledger.Frozen: Training._frozen,
    ledger.Dropped: Training._dropped,
    ledger.Reopened: Training._reopened,
    ledger.Proposed: Training._proposed,
    ledger.Attested: Training._attested,
    ledger.Exposed: Training._exposed,
    ledger.Published: Training._published,
    ledger.Left: Training._left,
    ledger.Returned: Training._returned,
    ledger.Refused: Training._refused,
    ledger.PerfReported: Training._perf_reported,
    ledger.Completed: Training._completed,
    ledger.Reset: Training._reset,
}
assert set(_HANDLERS) == set(get_args(ledger.TrainingEvent)), "an event without a handler"

_SHOWN: dict[type[ledger.TrainingEvent], tuple[str, ...]] = {
    kind: tuple(item.name for item in fields(kind) if item.name not in {"generation", "round"})
    for kind in _HANDLERS
}
"""An event's fields that its readers find in ``data``."""


def _for_readers(seq: int, event: ledger.TrainingEvent, block: Block) -> api.Event:
    data: dict[str, object] = {}
    for name in _SHOWN[type(event)]:
        value = getattr(event, name)
        data[name] = value.model_dump() if isinstance(value, api.Perf) else value
    return api.Event(
        seq=seq, kind=type(event).__name__, generation=event.generation, round=event.round,
        data=data, block=block.number, time=block.time,
    )  # fmt: skip
