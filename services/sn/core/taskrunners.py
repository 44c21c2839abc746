"""Read model of one taskrunner: a fold over its events, nothing else.

The Solidity contract is the authority and has checked every write; this fold repeats only what the
write did. ``runner_views.py`` turns the result into what the API answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from services.common.ids import NodeId
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import task_events as on
from services.sn.core.ledger import Block

ENDED = (RunnerState.COMPLETE, RunnerState.ERROR)


@dataclass(slots=True)
class Peer:
    """One peer of a SWOP in the present run."""

    uid: NodeId
    state: TaskPeerState
    description: str
    since: int
    """Chain time of its last report, Unix seconds."""


@dataclass(slots=True)
class Swop:
    """One SWOP that listens, or that enrolled in the present run."""

    uid: NodeId
    nodes: int = 0
    listening: bool = False
    enrolled: bool = False
    retry: bool = False
    """A TARGET asks it to enrol again."""
    peers: list[Peer] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether it enrolled and a peer of it failed."""
        return any(peer.state is TaskPeerState.ERROR for peer in self.peers)

    @property
    def busy(self) -> bool:
        """Whether a peer of it works still."""
        return any(peer.state is TaskPeerState.ACTIVE for peer in self.peers)


@dataclass(slots=True)
class TaskRunner:
    """State of one taskrunner after the events applied so far."""

    name: str
    address: str
    created: int
    """Chain time of this and the following ones, Unix seconds; 0: not yet."""
    state: RunnerState = RunnerState.IDLE
    run: int = 0
    task: str = ""
    type: TaskType | None = None
    mode: Assignment | None = None
    needed: int = 0
    targets: list[NodeId] = field(default_factory=list)
    swops: dict[NodeId, Swop] = field(default_factory=dict)
    assigned: int = 0
    started: int = 0
    updated: int = 0
    ended: int = 0
    seq: int = 0
    """How many events there were that changed something."""
    last_block: str = ""
    """Hash of the block of the last of them."""

    @property
    def cursor(self) -> str:
        """Names this state: the same on every SN, another after a change or a reorganisation."""
        return f"{self.seq}-{self.last_block[:16]}"

    @property
    def peers(self) -> Iterator[Peer]:
        """The peers of all SWOPs in the present run."""
        return (peer for swop in self.swops.values() for peer in swop.peers)

    def count(self, state: TaskPeerState) -> int:
        """How many peers of the present run are in a state."""
        return sum(peer.state is state for peer in self.peers)

    def apply(self, event: on.RunnerEvent, block: Block) -> None:
        """Advance by one event of this contract, in chain order."""
        if isinstance(event, on.RunnerRefused):
            return  # the event itself is the record
        self.seq += 1
        self.last_block = block.hash
        match event:
            case on.Listening() | on.Quit():
                self._listening(event)
            case on.Assigned():
                self._assigned(event, block)
            case on.RunnerReset():
                self._forget_run()
            case _:
                self._within_run(event, block)
        self.updated = block.time

    def _listening(self, event: on.Listening | on.Quit) -> None:
        swop = self.swops.setdefault(event.swop, Swop(event.swop))
        swop.listening = isinstance(event, on.Listening)
        if isinstance(event, on.Listening):
            swop.nodes = event.nodes
        elif not swop.enrolled:
            del self.swops[event.swop]

    def _assigned(self, event: on.Assigned, block: Block) -> None:
        self._forget_run()
        self.state, self.run = RunnerState.ASSIGNED, event.run
        self.task, self.type, self.mode = event.task, event.task_type, event.mode
        self.needed, self.assigned = event.needed, block.time
        if event.mode is Assignment.TARGET:
            self.targets = [event.target]

    def _forget_run(self) -> None:
        self.state, self.task, self.type, self.mode = RunnerState.IDLE, "", None, None
        self.needed, self.targets = 0, []
        self.assigned = self.started = self.ended = 0
        self.swops = {
            uid: Swop(uid, swop.nodes, listening=True)
            for uid, swop in self.swops.items()
            if swop.listening
        }

    def _within_run(
        self, event: on.Targeted | on.SwopEnrolled | on.Reported | on.StateChanged, block: Block
    ) -> None:
        match event:
            case on.Targeted():
                self.needed = event.needed
                if event.target not in self.targets:
                    self.targets.append(event.target)
                swop = self.swops.get(event.target)
                if swop is not None and swop.enrolled:
                    swop.retry = True
            case on.SwopEnrolled():
                self._enrolled(event, block)
            case on.Reported():
                self._reported(event, block)
            case on.StateChanged():
                self._changed(event, block)
            case _:
                assert_never(event)

    def _reported(self, event: on.Reported, block: Block) -> None:
        swop = self.swops[event.swop]
        peer = next(p for p in swop.peers if p.uid == event.peer)
        peer.state, peer.description, peer.since = event.state, event.description, block.time
        swop.retry &= swop.failed  # nothing is left to be tried again

    def _enrolled(self, event: on.SwopEnrolled, block: Block) -> None:
        """Peers that are named again go on as they are, but that one that failed begins anew."""
        swop = self.swops.setdefault(event.swop, Swop(event.swop))
        kept = {peer.uid: peer for peer in swop.peers if peer.state is not TaskPeerState.ERROR}
        swop.enrolled, swop.retry = True, False
        swop.peers = [
            kept.get(uid) or Peer(uid, TaskPeerState.ACTIVE, "", block.time) for uid in event.peers
        ]

    def _changed(self, event: on.StateChanged, block: Block) -> None:
        self.state = event.state
        if event.state is RunnerState.RUNNING and not self.started:
            self.started = block.time
        self.ended = block.time if event.state in ENDED else 0
