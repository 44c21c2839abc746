"""What can happen to a SWOP, and what it can want done.

Commands are values: `Agent` remembers those that are under way by what they say.
"""

from dataclasses import dataclass

from services.common.ids import NodeId
from services.common.task_api import TaskRunnerView, TaskType
from services.swop.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of a run that is ours: a pair of the profile, or this SWOP itself."""

    position: int
    """Of its node in the profile; 0 for the SWOP itself."""
    uid: NodeId


# --- commands


@dataclass(frozen=True, slots=True)
class Listen:
    """Offer our work to the taskrunner."""

    nodes: int


@dataclass(frozen=True, slots=True)
class Enrol:
    """Take part in a run."""

    run: int
    task: str
    peers: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Do the work of these peers, or go on with what the engine has of them already."""

    run: int
    task: str
    type: TaskType
    peers: tuple[Peer, ...]
    fresh: bool = True
    """False: only go on; a peer of which nothing is left failed."""


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the taskrunner how a peer ended."""

    run: int
    peer: NodeId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove what is left of a peer that ended and was reported."""

    run: int
    peer: NodeId


@dataclass(frozen=True, slots=True)
class Drop:
    """Break off all work of a run and remove it."""

    run: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Remove what a SWOP before us, under our uid, left of other runs."""

    keep: int
    """The present run, if we are enrolled in it; 0: of none."""


Command = Listen | Enrol | Start | Report | Clear | Drop | Sweep


# --- events


@dataclass(frozen=True, slots=True)
class RunnerSeen:
    """The taskrunner as it is now."""

    view: TaskRunnerView
    cursor: str
    """Names this state: another one after any change."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command was carried out."""

    command: Command


@dataclass(frozen=True, slots=True)
class Refused:
    """A command was refused, and trying again would not help."""

    command: Command
    code: str
    """The contract's word."""


@dataclass(frozen=True, slots=True)
class PeerEnded:
    """The work of a peer is over."""

    run: int
    peer: NodeId
    outcome: Outcome


Event = RunnerSeen | Done | Refused | PeerEnded
