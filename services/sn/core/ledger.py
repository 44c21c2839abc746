"""Events of the system and training contracts, as plain values; ``task_events.py`` has the others.

One class per Solidity event, with the same fields in snake_case; uids and digests are hex strings.
The adapters decode logs into these, the folds beside this module turn them into read models.
"""

from dataclasses import dataclass

from services.common.ids import Digest, NodeId, NodeKind
from services.common.sn_api import PeerState, Perf
from services.sn.core.task_events import RunnerEvent, TaskEvent

TRAINING_KIND, TASKRUNNER_KIND, SYSTEM_KIND = 1, 2, 3
"""The SwarmRegistry's kinds of entries: what a name is the name of."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block, as far as the folds need it."""

    number: int
    hash: str
    """64 hex digits."""
    time: int
    """Chain time, Unix seconds."""


# --- SwarmRegistry


@dataclass(frozen=True, slots=True)
class WriterAdded:
    """An SN's account may write from now on."""

    writer: str


@dataclass(frozen=True, slots=True)
class WriterRemoved:
    """An SN's account may no longer write."""

    writer: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A contract got a name."""

    name: str
    kind: int
    at: str
    """Address of the contract."""
    created: int
    """Chain time, Unix seconds."""


DirectoryEvent = WriterAdded | WriterRemoved | Registered


# --- NodeRegistry


@dataclass(frozen=True, slots=True)
class NodeRegistered:
    """A node announced itself, or announced something new of itself."""

    uid: NodeId
    kind: NodeKind
    sentinel: bool
    endpoint: str
    container: str
    version: str
    parent: NodeId
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NodesAlive:
    """These nodes were heard lately."""

    uids: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class NodesLost:
    """These nodes missed their heartbeats."""

    uids: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node signed off."""

    uid: NodeId
    reason: str


NodeEvent = NodeRegistered | NodesAlive | NodesLost | NodeLeft


# --- TrainingContract


@dataclass(frozen=True, slots=True)
class _OfRound:
    generation: int
    round: int


@dataclass(frozen=True, slots=True)
class Enrolled(_OfRound):
    """A peer joined, or joined again after its ML program restarted."""

    peer: NodeId
    min_peers: int
    method: str
    adaptive: bool
    may_lead: bool
    leader_timeout: int
    """Seconds."""
    attestations: int = 0


@dataclass(frozen=True, slots=True)
class CheckedIn(_OfRound):
    """A peer's parameters for the round are on its file server."""

    peer: NodeId
    base: Digest
    digest: Digest
    size: int
    weightage: int
    state: PeerState
    perf: Perf | None


@dataclass(frozen=True, slots=True)
class LeaderElected(_OfRound):
    """The contract named a leader; each one of a round opens a new term."""

    term: int
    leader: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Frozen(_OfRound):
    """The leader closed the round to late check-ins."""

    term: int
    leader: NodeId
    participants: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Dropped(_OfRound):
    """The leader dropped a participant."""

    term: int
    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Reopened(_OfRound):
    """The round takes check-ins again."""

    reason: str

    @property
    def after_drop(self) -> bool:
        """Whether drops left too little to merge; then the dropped check-ins are gone, too."""
        return self.reason in {"below min peers", "nothing new to merge"}


@dataclass(frozen=True, slots=True)
class Published(_OfRound):
    """The round's merge is there; the next round opens."""

    term: int
    leader: NodeId
    digest: Digest
    size: int
    contributors: tuple[NodeId, ...]
    next_interval: int


@dataclass(frozen=True, slots=True)
class Proposed(_OfRound):
    """The leader published a merge that others must attest before it counts."""

    term: int
    leader: NodeId
    digest: Digest
    size: int
    contributors: tuple[NodeId, ...]
    next_interval: int


@dataclass(frozen=True, slots=True)
class Attested(_OfRound):
    """A participant made the merge once more, and got this."""

    term: int
    peer: NodeId
    digest: Digest
    size: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Exposed(_OfRound):
    """The attesters agree on another merge than the leader published."""

    term: int
    leader: NodeId
    digest: Digest
    size: int
    computed: Digest
    computed_size: int


@dataclass(frozen=True, slots=True)
class Left(_OfRound):
    """A peer is not live any more."""

    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Returned(_OfRound):
    """A peer that was not live is live again."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Refused(_OfRound):
    """A peer's write was refused; kept for the record, changes nothing."""

    peer: NodeId
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PerfReported(_OfRound):
    """Loss and metric of a peer that no check-in follows."""

    peer: NodeId
    perf: Perf


@dataclass(frozen=True, slots=True)
class Completed(_OfRound):
    """Every live peer is closed: the training is over."""


@dataclass(frozen=True, slots=True)
class Reset(_OfRound):
    """RESET CONTRACT ended ``generation``; the next one begins."""

    by: str


TrainingEvent = (
    Enrolled | CheckedIn | LeaderElected | Frozen | Dropped | Reopened | Proposed | Attested
    | Exposed | Published | Left | Returned | Refused | PerfReported | Completed | Reset
)  # fmt: skip

LedgerEvent = DirectoryEvent | NodeEvent | TrainingEvent | TaskEvent | RunnerEvent
