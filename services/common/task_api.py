"""Schemas of the SN's state API (30304) about tasks and taskrunners, for SWCI and SWOP.

A *task* is a header, a body in numbered lines of text, and a prerequisite; once finalized it never
changes. A *taskrunner* runs one task at a time on the SWOPs that listen to it. Each ASSIGN TASK
opens a new *run*, numbered from 1; writes of SWOPs name the run, so that repeating one is harmless
and one that comes too late is refused.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from services.common.ids import ContractNameField, NodeIdField

DEFAULT_TASKRUNNER = "defaulttaskbb.taskdb.sml.hpe"
"""The taskrunner that exists from the start (HPE's name)."""
ROOTTASK = "ROOTTASK"
"""The task that exists from the start: prerequisite of those that have no other."""
LONGEST_TEXT = 160
"""Characters of a name, an author, an outcome or a description (HPE's limit)."""
LONGEST_LINE = 1024
"""Bytes of one body line (UTF-8). Ours: HPE says 160 characters, its files hold longer ones."""
MOST_LINES = 2000
MOST_NODES = 250
"""SL/ML pairs of one SWOP: what one transaction can carry."""
LINES_AT_ONCE = 4
"""Body lines that one APPEND carries (HPE's batches)."""


def _no_dots(name: str) -> str:
    if name in {".", ".."}:
        raise ValueError("'.' and '..' are no names: in a URL they mean something else")
    return name


TaskNameField = Annotated[ContractNameField, AfterValidator(_no_dots)]
"""Name of a task, or of a taskrunner that is to be made."""
_ONE_LINE = StringConstraints(
    max_length=LONGEST_TEXT, pattern=r"^[^\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]*$"
)
"""No line ends and no other control characters, which would show people what is not so."""
Text = Annotated[str, Field(min_length=1), _ONE_LINE]
Line = Annotated[
    str, StringConstraints(max_length=LONGEST_LINE, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")
]
Description = Annotated[str, _ONE_LINE]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskType(StrEnum):
    """What a task does; the order is that of the contract's numbers, from 0."""

    ROOT_TASK = "ROOT_TASK"
    RUN_SWARM = "RUN_SWARM"
    MAKE_SWARM_USER_CONTENT = "MAKE_SWARM_USER_CONTENT"
    MAKE_USER_CONTAINER = "MAKE_USER_CONTAINER"
    PULL_IMAGE = "PULL_IMAGE"


class RunnerState(StrEnum):
    """Where a taskrunner stands; the order is that of the contract's numbers, from 0."""

    IDLE = "IDLE"
    ASSIGNED = "ASSIGNED"
    """A task is assigned, no SWOP has enrolled yet."""
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    """As many peers as needed completed."""
    ERROR = "ERROR"
    """So many peers failed that not enough can complete any more."""


class TaskPeerState(StrEnum):
    """Where one peer of a run stands; the order is that of the contract's numbers, from 0."""

    ACTIVE = "ACTIVE"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"


class Assignment(StrEnum):
    """Whom ASSIGN TASK is meant for; the order is that of the contract's numbers, from 0."""

    PEERS = "PEERS"
    """WITH n PEERS."""
    ALL = "ALL"
    """WITH ALL PEERS: those that listen now."""
    TARGET = "TARGET"
    """TARGET uid: one SWOP."""


# --- tasks


class TaskHeader(_Schema):
    """``POST /v1/tasks``: CREATE TASK."""

    name: TaskNameField
    type: TaskType
    author: Text
    prereq: TaskNameField
    """An existing, finalized task."""
    outcome: Text
    request: NodeIdField
    """Random, chosen by the caller: creating the same task once more under it is harmless."""


class BodyLines(_Schema):
    """``PUT /v1/tasks/{name}/body``: adds or overwrites lines."""

    first: Annotated[int, Field(ge=1, le=MOST_LINES)]
    """Number of the first one, from 1; at most one more than there are."""
    lines: Annotated[list[Line], Field(min_length=1, max_length=64)]


class TaskSummary(_Schema):
    """A row of ``GET /v1/tasks``; answer to every write of a task."""

    name: str
    type: TaskType
    author: str
    prereq: str
    """Empty for ROOTTASK."""
    outcome: str
    finalized: bool
    lines: int
    """Of the body."""
    created: int
    """Chain time, Unix seconds."""


class TaskInfo(TaskSummary):
    """``GET /v1/tasks/{name}``."""

    body: list[str]
    """Its lines, in order."""


# --- taskrunners


class CreateTaskRunner(_Schema):
    """``POST /v1/taskrunners``."""

    name: TaskNameField


class Assign(_Schema):
    """``POST /v1/taskrunners/{name}/assign``: ASSIGN TASK."""

    task: TaskNameField
    mode: Assignment
    peers: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Mode PEERS: how many are needed: SL/ML pairs for RUN_SWARM, else SWOPs."""
    target: NodeIdField | None = None
    """Mode TARGET: the SWOP."""
    request: NodeIdField
    """Random, chosen by the caller: assigning once more under it is harmless."""


class Listen(_Schema):
    """``POST /v1/taskrunners/{name}/swops/{uid}/listen``: a SWOP offers its work."""

    nodes: Annotated[int, Field(ge=0, le=MOST_NODES)]
    """SL/ML pairs of its profile."""


class _OfRun(_Schema):
    run: Annotated[int, Field(ge=1, lt=2**32)]


class EnrolInRun(_OfRun):
    """``POST .../swops/{uid}/enrol``: the SWOP takes part in the run."""

    peers: Annotated[list[NodeIdField], Field(min_length=1, max_length=MOST_NODES)]
    """RUN_SWARM: uids of the SLs that it is about to start, in the order of the profile; else its
    own uid. Enrolling again (a retry) replaces the peers that failed."""


class PeerReport(_OfRun):
    """``POST .../swops/{uid}/report``: how one of the SWOP's peers fares."""

    peer: NodeIdField
    state: TaskPeerState
    description: Description = ""


class Quit(_Schema):
    """``POST .../swops/{uid}/quit``: the SWOP does not listen any more."""

    reason: Description = ""


class TaskPeer(_Schema):
    """One peer of a run."""

    uid: NodeIdField
    state: TaskPeerState
    description: str
    since: int
    """Chain time of its last report, Unix seconds."""


class SwopView(_Schema):
    """One SWOP that listens, or that enrolled in the present run."""

    uid: NodeIdField
    container: str
    nodes: int
    """SL/ML pairs of its profile."""
    listening: bool
    """False once it quit or was lost."""
    enrolled: bool
    retry: bool = False
    """It enrolled, peers of it failed, and a TARGET asks it to enrol again."""
    peers: list[TaskPeer] = []
    """In the present run."""


class TaskRunnerView(_Schema):
    """All that an operator or a SWOP needs to know of a taskrunner now."""

    name: str
    state: RunnerState
    run: int
    """Number of the last run; 0 before the first."""
    task: str
    """Name, or empty while IDLE."""
    type: TaskType | None
    mode: Assignment | None
    targets: list[NodeIdField] = []
    """Mode TARGET, and SWOPs added later by it: who may enrol, beside the others' right."""
    needed: int
    """Peers that must complete."""
    swops: list[SwopView]
    """Sorted by uid; PEER STATUS counts the enrolled ones of them from 0."""
    active: int
    completed: int
    failed: int
    waiting_for: str
    """In words; empty where nothing is waited for."""
    created: int
    """Chain time (Unix seconds) of these and of the following; 0: not yet."""
    assigned: int = 0
    started: int = 0
    updated: int = 0
    ended: int = 0


class TaskRunnerState(_Schema):
    """Answer to every read and write of a taskrunner."""

    cursor: str
    """Pass as ``after`` to ``GET .../events?after=C&wait=S`` to wait for the next change. Opaque;
    valid at any SN."""
    view: TaskRunnerView


class TaskRunnerSummary(_Schema):
    """A row of ``GET /v1/taskrunners``."""

    name: str
    address: str
    created: int
    state: RunnerState
    task: str
