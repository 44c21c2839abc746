"""Events of the task contracts, as plain values; the beginning of ``ledger.py`` says more.

``TaskRegistry`` holds the tasks, each ``TaskRunner`` runs one at a time.
"""

from dataclasses import dataclass

from services.common.ids import NodeId
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType

# --- TaskRegistry


@dataclass(frozen=True, slots=True)
class TaskCreated:
    """A task got its header."""

    name: str
    task_type: TaskType
    author: str
    prereq: str
    outcome: str
    request: str
    """Uid of the request that created it."""


@dataclass(frozen=True, slots=True)
class TaskAppended:
    """Body lines were added or overwritten."""

    name: str
    first: int
    """Number of the first of them, from 1."""
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskFinalized:
    """A task never changes any more."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskRemoved:
    """A task that was not final is gone; its name is free again."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskRefused:
    """A write was refused; kept for the record, changes nothing."""

    name: str
    by: str
    """Uid of the node that asked; zeros: of none."""
    code: str
    detail: str


TaskEvent = TaskCreated | TaskAppended | TaskFinalized | TaskRemoved | TaskRefused


# --- TaskRunner


@dataclass(frozen=True, slots=True)
class _OfRun:
    run: int
    """The present one, or the last one; 0 before the first."""


@dataclass(frozen=True, slots=True)
class Listening(_OfRun):
    """A SWOP offers its work, or offers another number of nodes."""

    swop: NodeId
    nodes: int
    """SL/ML pairs of its profile."""


@dataclass(frozen=True, slots=True)
class Quit(_OfRun):
    """A SWOP does not listen any more: it said so, or it was lost."""

    swop: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Assigned(_OfRun):
    """A task was assigned: the run begins."""

    task: str
    task_type: TaskType
    mode: Assignment
    needed: int
    target: NodeId
    """Zeros, but in mode TARGET."""
    request: str


@dataclass(frozen=True, slots=True)
class Targeted(_OfRun):
    """One more SWOP was named in the run, or one to try again."""

    target: NodeId
    needed: int
    """From now on."""
    request: str


@dataclass(frozen=True, slots=True)
class SwopEnrolled(_OfRun):
    """A SWOP takes part with these peers."""

    swop: NodeId
    peers: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Reported(_OfRun):
    """How one peer of a SWOP fares."""

    swop: NodeId
    peer: NodeId
    state: TaskPeerState
    description: str


@dataclass(frozen=True, slots=True)
class StateChanged(_OfRun):
    """What the peers' states make of the run."""

    state: RunnerState


@dataclass(frozen=True, slots=True)
class RunnerReset(_OfRun):
    """RESET TASKRUNNER ended the run."""

    by: str


@dataclass(frozen=True, slots=True)
class RunnerRefused(_OfRun):
    """A write was refused; kept for the record, changes nothing."""

    by: str
    code: str
    detail: str


RunnerEvent = (
    Listening | Quit | Assigned | Targeted | SwopEnrolled | Reported | StateChanged
    | RunnerReset | RunnerRefused
)  # fmt: skip
