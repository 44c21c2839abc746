"""What can happen to an SL node in its training, and what it can ask for.

Events flow in from the adapters; commands flow out to them. Both are plain values, so a run can be
written down and replayed. Neither carries weights: a model is named by its digest and lies in the
store. Rounds and terms are the training contract's.
"""

from dataclasses import dataclass, replace

from services.common.ids import Digest, NodeId
from services.common.sn_api import ContractView, PeerState, Perf

Seconds = float
"""A point on the monotonic clock. Cores never read a clock; it is handed to them."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model file in the store."""

    digest: Digest
    size: int
    """Bytes."""


# --- events ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ViewArrived:
    """The training contract as the SN shows it now."""

    view: ContractView
    now: Seconds


@dataclass(frozen=True, slots=True)
class MlAsked:
    """The ML program handed over its parameters and waits for the merged ones."""

    seq: int
    """Its sequence number, to be echoed."""
    model: Model
    weightage: int
    state: PeerState
    """TRAINING for a sync; otherwise this is the closing request, and the state is what to go on
    contributing (``checkinModelOnTrainEnd``)."""
    now: Seconds


@dataclass(frozen=True, slots=True)
class Installed:
    """The ML program loaded a merged model and measured it."""

    command: "Install"
    perf: Perf
    now: Seconds


@dataclass(frozen=True, slots=True)
class MergeFinished:
    """Our merge is in the store."""

    command: "Merge"
    model: Model
    now: Seconds


@dataclass(frozen=True, slots=True)
class Recomputed:
    """We made the leader's merge once more; it is in the store."""

    command: "Recompute"
    model: Model | None
    """None: its inputs are there and cannot be merged, whoever tries."""
    now: Seconds


@dataclass(frozen=True, slots=True)
class InputFailed:
    """A participant's model could not be fetched or must not be merged."""

    command: "Merge"
    peer: NodeId
    reason: str
    now: Seconds


@dataclass(frozen=True, slots=True)
class Done:
    """A command was carried out; ``Install``, ``Merge``, ``Recompute`` have events of their own."""

    command: "Command"
    now: Seconds


@dataclass(frozen=True, slots=True)
class Failed:
    """A command was refused or did not succeed; what is right to do now, the next view tells."""

    command: "Command"
    reason: str
    now: Seconds


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    now: Seconds


Event = (
    ViewArrived
    | MlAsked
    | Installed
    | MergeFinished
    | Recomputed
    | InputFailed
    | Done
    | Failed
    | Tick
)
"""Something that happened. A closed union: mypy reports every place that forgets one."""


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckIn:
    """Tell the contract that our parameters for this round are on our file server."""

    round: int
    base: Digest
    model: Model
    weightage: int
    state: PeerState
    perf: Perf | None


@dataclass(frozen=True, slots=True)
class Freeze:
    """We lead: close the round to late check-ins."""

    round: int
    term: int


@dataclass(frozen=True, slots=True)
class Input:
    """One model of a merge, and where to fetch it."""

    peer: NodeId
    endpoint: str
    model: Model
    weightage: int


@dataclass(frozen=True, slots=True)
class Merge:
    """We lead: fetch these models, merge them in this order, store the result."""

    round: int
    term: int
    method: str
    inputs: tuple[Input, ...]
    """Sorted by peer, ours included; none of weightage 0."""
    base: Model | None
    """The merged model of the round before, whose layout the inputs must have; None in round 1."""


@dataclass(frozen=True, slots=True)
class Drop:
    """We lead: drop a participant from the round."""

    round: int
    term: int
    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Publish:
    """We lead: record the merged model on the contract."""

    round: int
    term: int
    model: Model
    contributors: tuple[NodeId, ...]
    """Sorted; those of weightage 0 included."""
    next_interval: int
    """Batches; 0 leaves each peer its own."""


@dataclass(frozen=True, slots=True)
class Recompute:
    """We follow: make the leader's merge once more, to attest it."""

    merge: Merge
    sources: tuple[str, ...]
    """``host:port`` of who has all inputs, best first; to be asked where a peer does not serve its
    own."""

    @property
    def round(self) -> int:
        """Of the merge."""
        return self.merge.round


@dataclass(frozen=True, slots=True)
class Attest:
    """Tell the contract what we got for the leader's merge."""

    round: int
    term: int
    model: Model


@dataclass(frozen=True, slots=True)
class ReportLeader:
    """Ask the contract for another leader: the deadline passed."""

    round: int
    term: int


@dataclass(frozen=True, slots=True)
class Install:
    """Fetch a merged model from one of these file servers and hand it to the ML program."""

    round: int
    model: Model
    sources: tuple[str, ...]
    """``host:port``, best first; empty when it is ours."""
    seq: int
    """Of the ML program's request under way."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a merged model into our store; the ML program does not ask for it yet."""

    round: int
    model: Model
    sources: tuple[str, ...]
    """``host:port``, best first."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the training, so that it can end without us; we go on watching it."""

    round: int
    reason: str


@dataclass(frozen=True, slots=True)
class AnswerSync:
    """Let the ML program train on."""

    seq: int
    next_interval: int
    """Batches until its next sync; 0 keeps its own."""
    training_over: bool


@dataclass(frozen=True, slots=True)
class AnswerClose:
    """The training is complete: let the ML program end."""

    seq: int


@dataclass(frozen=True, slots=True)
class ReportPerf:
    """Record loss and metric of the last merged model; no check-in follows that could carry it."""

    round: int
    perf: Perf


Command = (
    CheckIn
    | Freeze
    | Merge
    | Drop
    | Publish
    | Recompute
    | Attest
    | ReportLeader
    | Install
    | Fetch
    | Leave
    | AnswerSync
    | AnswerClose
    | ReportPerf
)
"""Something an adapter must do next. A closed union, too."""


def key_of(command: Command) -> Command:
    """What makes two commands the same for holding back repeats.

    A check-in's perf does not, nor what an answer says (a request is answered once), nor where to
    fetch a model.
    """
    match command:
        case CheckIn():
            return replace(command, perf=None)
        case AnswerSync(seq):
            return AnswerSync(seq, 0, training_over=False)
        case Recompute() | Install() | Fetch():
            return replace(command, sources=())
        case _:
            return command
