"""Schemas of the SN's state API (30304): what SL, SWCI and SWOP send, and what they get.

Every write names the contract's *generation* (it grows with each RESET CONTRACT) and what it is
about (round, term), so that repeating it is harmless and replaying an old one is refused. All
times are durations in seconds or chain time; clients never compare their clock with the SN's.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.ids import ContractNameField, DigestField, NodeIdField, NodeKind

Weightage = Annotated[int, Field(ge=0, le=100)]
"""Node weightage, 1 to 100; 0 only from a peer that closed as ``inactive``."""
Attestations = Annotated[int, Field(ge=0, le=255)]
"""How many participants other than the leader must have got the same merge before it counts."""
MethodName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,31}$")]
Reason = Annotated[str, Field(max_length=200)]
Endpoint = Annotated[str, Field(pattern=r"^[^\s/@]{1,255}:[0-9]{1,5}$")]
"""``host:port`` that others dial."""


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Phase(StrEnum):
    """Where a training contract stands (DESIGN section 3)."""

    UNINITIALIZED = "UNINITIALIZED"
    CHECKIN = "CHECKIN"
    QUORUM = "QUORUM"
    MERGING = "MERGING"
    COMPLETED = "COMPLETED"


class PeerState(StrEnum):
    """What stands behind a peer's check-ins."""

    TRAINING = "TRAINING"
    """Its ML program trains."""
    SNAPSHOT = "SNAPSHOT"
    """Closed; contributes its last local model to every further round."""
    ACTIVE = "ACTIVE"
    """Closed; contributes the latest merged model to every further round."""
    INACTIVE = "INACTIVE"
    """Closed; counts for the quorum with weightage 0."""


class Version(_Schema):
    """``GET /v1/version``."""

    version: str
    """Of the SN's software."""


# --- nodes ---------------------------------------------------------------------------------


class NodeRegistration(_Schema):
    """``PUT /v1/nodes/{uid}``: a node announces itself, at start and after its SN changed."""

    kind: NodeKind
    endpoint: Endpoint
    """SL: file server; SN: API; SWOP: none of its own, it repeats its SN's."""
    container: Annotated[str, Field(max_length=160)] = ""
    version: Annotated[str, Field(max_length=40)] = ""


class NodeInfo(_Schema):
    """One registered node."""

    uid: NodeIdField
    kind: NodeKind
    sentinel: bool = False
    endpoint: str
    container: str
    version: str
    parent: str
    """UID of the SN that it registered with; an SN's own UID for itself."""
    fingerprint: DigestField
    """SHA-256 of its certificate."""
    alive: bool
    """False once it missed its heartbeats or left."""
    left: bool = False
    """It signed off, and has not registered again."""
    last_seen: int
    """Chain time (Unix seconds) of its last i-am-alive on the chain."""


class Registered(_Schema):
    """Answer to a registration and to every heartbeat."""

    heartbeat_s: float
    """Send ``POST /v1/nodes/{uid}/alive`` this often."""
    lost_after_s: float
    """Silence after which the SN declares the node lost."""
    sns: list[str]
    """API endpoints (``host:port``) of all SNs known, this one first."""
    cut_off: bool = False
    """Whether no write can get into the chain at this SN now: prefer another one."""


# --- requests of a peer about a training contract --------------------------------------------


class CreateContract(_Schema):
    """``POST /v1/contracts``."""

    name: ContractNameField


class Enrol(_Schema):
    """``POST .../peers/{uid}/enrol``. The first peer's terms bind the others."""

    min_peers: Annotated[int, Field(ge=1, le=1000)]
    merge_method: MethodName = "mean"
    adaptive: bool = False
    may_lead: bool = True
    """SL_MAKE_ME_ADMIN."""
    leader_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    """SL_LEADER_FAILURE_BASE_TIMEOUT; the first peer's holds."""
    attestations: Attestations = 0
    """SL_MERGE_ATTESTATIONS; less than ``min_peers``."""


class Perf(_Schema):
    """Loss and metric of the latest merged model on a peer's own validation data."""

    loss: float
    metric: float
    epochs: Annotated[int, Field(ge=0, lt=2**32)] = 0
    total_epochs: Annotated[int, Field(ge=0, lt=2**32)] = 0


class _OfGeneration(_Schema):
    generation: Annotated[int, Field(ge=1, lt=2**32)]


class CheckIn(_OfGeneration):
    """``POST .../peers/{uid}/checkin``."""

    round: Annotated[int, Field(ge=1, lt=2**32)]
    base: DigestField
    """Digest of the merged model that it trained from; ``NO_DIGEST`` in round 1."""
    digest: DigestField
    size: Annotated[int, Field(ge=1, lt=2**63)]
    """Bytes of the file."""
    weightage: Weightage
    state: PeerState
    perf: Perf | None = None
    """Of the merged model of the round before, if measured."""


class OfTerm(_OfGeneration):
    """``POST .../peers/{uid}/freeze`` and ``.../report-leader``."""

    round: Annotated[int, Field(ge=1, lt=2**32)]
    term: Annotated[int, Field(ge=1, lt=2**32)]


class Drop(OfTerm):
    """``POST .../peers/{uid}/drop``: the leader drops a participant from its round."""

    peer: NodeIdField
    reason: Reason


OUTLIER = "outlier-norm"
"""Code under which the ledger keeps an :class:`Outlier`: a remark about a peer, not a refusal."""


class Outlier(OfTerm):
    """``POST .../peers/{uid}/outlier``: the leader remarks that a participant's update is large.

    The model was merged; what that means, the merge method decides.
    """

    peer: NodeIdField
    norm: Annotated[float, Field(ge=0)]
    """Length of its update, in parameters; infinite where it is beyond float64."""
    ratio: Annotated[float, Field(ge=0)]
    """To the median of all updates."""


class Publish(OfTerm):
    """``POST .../peers/{uid}/publish``."""

    digest: DigestField
    size: Annotated[int, Field(ge=1, lt=2**63)]
    contributors: Annotated[list[NodeIdField], Field(max_length=1000)]
    """Participants not dropped, sorted by UID; those of weightage 0 included."""
    next_interval: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Adaptive sync: every peer's next interval in batches; 0 leaves each its own."""


class Attest(OfTerm):
    """``POST .../peers/{uid}/attest``: a participant made the leader's merge once more."""

    digest: DigestField
    """What it got."""
    size: Annotated[int, Field(ge=1, lt=2**63)]


class Leave(_OfGeneration):
    """``POST .../peers/{uid}/leave``: the peer ends before the training does."""

    reason: Reason


class PerfReport(_OfGeneration):
    """``POST .../peers/{uid}/perf``: of the final merged model, when no check-in follows."""

    round: Annotated[int, Field(ge=1, lt=2**32)]
    perf: Perf


# --- what a contract looks like ---------------------------------------------------------------


class Terms(_Schema):
    """What the first peer fixed."""

    min_peers: int
    merge_method: str
    adaptive: bool
    leader_timeout_s: int
    attestations: int = 0


class CheckInView(_Schema):
    """A peer's check-in to the current round."""

    base: DigestField
    digest: DigestField
    size: int
    weightage: int


class PeerView(_Schema):
    """One enrolled peer."""

    uid: NodeIdField
    endpoint: str
    """File server, ``host:port``."""
    fingerprint: str
    container: str
    live: bool
    """False once it left or was lost; a new check-in brings it back."""
    may_lead: bool
    """Never after it was exposed."""
    state: PeerState
    checkin: CheckInView | None
    """To the current round."""
    participant: bool
    """Part of the frozen round."""
    dropped: str
    """Why the leader dropped it from the current round, or empty."""
    perf: Perf | None
    perf_round: int
    rounds: int
    """How many published rounds it contributed to."""
    left: str
    """Why it is not live, or empty."""
    exposed: bool = False
    """It led a round of this generation and published what the others did not get."""


class Merged(_Schema):
    """A published merge."""

    round: int
    digest: DigestField
    size: int
    leader: NodeIdField
    next_interval: int


class Dispute(_Schema):
    """A participant that got another merge than the leader published."""

    peer: NodeIdField
    digest: DigestField
    size: int


class Proposal(_Schema):
    """What the present leader published, while it waits for attestations."""

    digest: DigestField
    size: int
    contributors: list[NodeIdField]
    next_interval: int
    attested: list[NodeIdField] = []
    """Who got the same."""
    disputed: list[Dispute] = []
    """Who did not."""


class ContractView(_Schema):
    """All that a peer or an operator needs to know of a contract now."""

    name: str
    generation: int
    phase: Phase
    round: int
    """The round that is open, from 1; 0 while UNINITIALIZED."""
    term: int
    """Grows with each leader of the round; 0 before its first quorum."""
    leader: str
    """UID, or empty."""
    terms: Terms | None
    peers: list[PeerView]
    """Sorted by UID."""
    merged: Merged | None
    """The latest."""
    quorum_age_s: float | None
    """Seconds since the present term's leader was elected; None without one."""
    waiting_for: str
    """What the contract waits for, in words; empty once it is completed."""
    proposal: Proposal | None = None
    """Only where merges must be attested."""


class Event(_Schema):
    """One event of a training contract, in chain order."""

    seq: int
    """1 for the contract's first event."""
    kind: str
    """``Enrolled``, ``CheckedIn``, ``LeaderElected``, ``Frozen``, ``Dropped``, ``Reopened``,
    ``Proposed``, ``Attested``, ``Exposed``, ``Published``, ``Left``, ``Returned``, ``Refused``,
    ``PerfReported``, ``Completed`` or ``Reset``."""
    generation: int
    round: int
    data: dict[str, object]
    """The event's other fields by name."""
    block: int
    time: int
    """Chain time, Unix seconds."""


class ContractState(_Schema):
    """Answer to every read and write of a contract: its view, and where to continue watching."""

    cursor: str
    """Pass as ``after`` to wait for the next change. Opaque; valid at any SN."""
    view: ContractView
    events: list[Event] = []
    """Events after the ``after`` given, where they are known to this SN."""


class Contributor(_Schema):
    """One model that went into a merge."""

    peer: NodeIdField
    digest: DigestField
    size: int
    weightage: int


class DropRecord(_Schema):
    """One participant dropped from a round."""

    peer: NodeIdField
    term: int
    reason: str


class LeaderRecord(_Schema):
    """One leader of a round; more than one means failover."""

    term: int
    leader: NodeIdField
    reason: str


class ExposedRecord(_Schema):
    """A leader that published another merge than the others got."""

    term: int
    leader: NodeIdField
    digest: DigestField
    """What it published."""
    computed: DigestField
    """What they got."""
    disputed: list[NodeIdField]
    """Who got that."""


class RoundRecord(_Schema):
    """One published round, from the ledger."""

    generation: int
    round: int
    term: int
    leader: NodeIdField
    leaders: list[LeaderRecord]
    digest: DigestField
    size: int
    contributors: list[Contributor]
    drops: list[DropRecord]
    block: int
    time: int
    attested: list[NodeIdField] = []
    """Who made the same merge, where that is asked for; in the order in which they said so."""
    exposed: list[ExposedRecord] = []
    """Leaders of the round's earlier terms."""


class RoundsPage(_Schema):
    """Answer to ``GET /v1/contracts/{name}/rounds?after=R&limit=N&generation=G``."""

    generation: int
    """Of these rounds: the present one, or an earlier one on request."""
    total: int
    """How many rounds of this generation are published; their numbers are 1 to that."""
    rounds: list[RoundRecord]
    """Those after round ``after``, oldest first, at most ``limit``."""
    more_after: int | None
    """Pass as ``after`` for the next ones; None: these are the last so far."""


class PeerPerf(_Schema):
    """What one peer measured of a merged model."""

    peer: NodeIdField
    perf: Perf


class PerfRecord(_Schema):
    """What the peers measured of one round's merged model, each on its own validation data."""

    round: int
    peers: list[PeerPerf]
    """Sorted by uid; those that measured it before the next round was published."""


class PerfPage(_Schema):
    """Answer to ``GET /v1/contracts/{name}/perf?after=R&limit=N&generation=G``."""

    generation: int
    """Of these rounds: the present one, or an earlier one on request."""
    total: int
    """How many rounds of this generation are published; the last one's record may still grow."""
    rounds: list[PerfRecord]
    """Those after round ``after``, oldest first, at most ``limit``; one for each round."""
    more_after: int | None
    """Pass as ``after`` for the next ones; None: these are the last so far."""


class ContractSummary(_Schema):
    """A row of ``GET /v1/contracts``."""

    name: str
    kind: Literal["TRAINING"] = "TRAINING"
    address: str
    created: int
    phase: Phase
    round: int
    min_peers: int
    peers: int
    completed_peers: int
