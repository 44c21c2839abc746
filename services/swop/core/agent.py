"""`Agent`: which task a SWOP works on, and what it tells the taskrunner; one task at a time.

The taskrunner's contract is the authority. The agent compares each view of it with what it knows of
its own work and asks for what is missing. That alone also covers a SWOP that was killed and started
again: the contract says in which run it is enrolled, and the engine has its containers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from services.common.ids import NodeId
from services.common.task_api import (
    Assignment,
    RunnerState,
    SwopView,
    TaskPeerState,
    TaskRunnerView,
    TaskType,
)
from services.swop.core import events as ev
from services.swop.core.outcome import LOST, Outcome

_OPEN = (RunnerState.ASSIGNED, RunnerState.RUNNING, RunnerState.ERROR)
"""States in which the contract takes enrolments."""


_OfJob = ev.Drop | ev.Enrol | ev.Report | ev.Clear | ev.Start


@dataclass(slots=True)
class Job:
    """Our part in a run."""

    run: int
    task: str
    type: TaskType
    peers: list[NodeId]
    """In the order of the profile's nodes."""
    enrolled: bool = False
    started: set[NodeId] = field(default_factory=set)
    outcomes: dict[NodeId, Outcome] = field(default_factory=dict)
    reported: set[NodeId] = field(default_factory=set)
    """Those whose end the contract knows, or does not want to know."""
    cleared: set[NodeId] = field(default_factory=set)
    dropped: bool = False

    def is_over(self, view: TaskRunnerView) -> bool:
        """Whether its run was reset; once seen that stays, whatever an SN that is behind shows."""
        self.dropped |= view.run != self.run or view.state is RunnerState.IDLE
        return self.dropped

    def failed(self) -> list[NodeId]:
        """Peers that ended with an error which the contract knows."""
        return [
            peer
            for peer in self.peers
            if peer in self.reported and self.outcomes[peer].state is TaskPeerState.ERROR
        ]


class Agent:
    """The decisions of one SWOP.

    Args:
        me: its uid.
        nodes: SL/ML pairs of its profile.
        mint: makes a new uid.
    """

    def __init__(self, me: NodeId, nodes: int, mint: Callable[[], NodeId]) -> None:
        self.me, self.nodes = me, nodes
        self.job: Job | None = None
        self._mint = mint
        self._view: TaskRunnerView | None = None
        self._swept = False
        self._listening = False
        self._under_way: set[ev.Command] = set()
        self._cursor = ""
        self._dropped = 0
        """The last run that we saw reset: an SN that is behind must not bring it back."""
        self._declined = "none"
        """Cursor of the view in which the contract did not want us; a change may change that."""

    def handle(self, event: ev.Event) -> list[ev.Command]:
        """Take an event.

        Returns:
            What to do now; each command ends in `Done` or `Refused`.
        """
        match event:
            case ev.RunnerSeen(view, cursor):
                self._see(view, cursor)
            case ev.Done(command):
                self._under_way.discard(command)
                self._done(command)
            case ev.Refused(command, _):
                self._under_way.discard(command)
                self._refused(command)
            case ev.PeerEnded(run, peer, outcome):
                if self.job is not None and self.job.run == run and peer in self.job.peers:
                    self.job.outcomes.setdefault(peer, outcome)
            case _:
                assert_never(event)
        wanted = [each for each in self._decide() if each not in self._under_way]
        self._under_way.update(wanted)
        return wanted

    # --- what happened

    def _see(self, view: TaskRunnerView, cursor: str) -> None:
        if self._view is not None and view.run < self._view.run:
            return  # from an SN that is behind
        self._view, self._cursor = view, cursor
        mine = self._mine(view)
        self._listening = mine is not None and mine.listening and mine.nodes == self.nodes
        if mine is None or not mine.enrolled or not mine.peers or view.type is None:
            return
        if self.job is None and view.state is not RunnerState.IDLE and view.run > self._dropped:
            self.job = _adopted(view, view.type, mine)

    def _done(self, command: ev.Command) -> None:
        if isinstance(command, ev.Listen):
            self._listening = True
        elif isinstance(command, ev.Sweep):
            self._swept = True
        elif self.job is not None and self.job.run == command.run:
            self._done_for(self.job, command)

    def _done_for(self, job: Job, command: _OfJob) -> None:
        match command:
            case ev.Drop(run):
                self.job, self._dropped = None, run
            case ev.Enrol(_, _, peers):
                if job.enrolled and job.type is not TaskType.RUN_SWARM and job.failed():
                    _forget(job, self.me)  # the same peer, ourselves, is to try again
                job.peers, job.enrolled = list(peers), True
            case ev.Report(_, peer, _):
                job.reported.add(peer)
            case ev.Clear(_, peer):
                job.cleared.add(peer)
            case ev.Start():
                pass
            case _:
                assert_never(command)

    def _refused(self, command: ev.Command) -> None:
        job = self.job
        match command:
            case ev.Enrol(run) if job is not None and job.run == run:
                self._declined = self._cursor
                self.job = job if job.enrolled or job.dropped else None
            case ev.Report(run, peer, _) if job is not None and job.run == run:
                job.reported.add(peer)
            case _:
                pass

    # --- what to do

    def _decide(self) -> Sequence[ev.Command]:
        view, job = self._view, self.job
        if view is None:
            return []
        if not self._swept:
            return [ev.Sweep(self.job.run if self.job is not None else 0)]
        if job is not None and job.is_over(view):
            return [ev.Drop(job.run)]
        if not self._listening:
            return [ev.Listen(self.nodes)]
        if job is None:
            return self._begin(view)
        return [*self._again(job, view), *self._go_on(job, view)] if job.enrolled else []

    def _begin(self, view: TaskRunnerView) -> Sequence[ev.Command]:
        if view.type is None or not self._may_enrol(view) or self._declined == self._cursor:
            return []
        count = self.nodes if view.type is TaskType.RUN_SWARM else 0
        peers = [self._mint() for _ in range(count)] or [self.me]
        self.job = Job(view.run, view.task, view.type, peers)
        return [ev.Enrol(view.run, view.task, tuple(peers))]

    def _may_enrol(self, view: TaskRunnerView) -> bool:
        """Whether the contract would let us in; asking in vain would stay on the ledger."""
        if view.run <= self._dropped or view.state not in _OPEN:
            return False
        if view.type is TaskType.RUN_SWARM and not self.nodes:
            return False
        if self.me in view.targets:
            return True
        if view.mode is Assignment.TARGET:
            return False
        return view.type is TaskType.RUN_SWARM or view.active + view.completed < view.needed

    def _again(self, job: Job, view: TaskRunnerView) -> Sequence[ev.Command]:
        """Enrol once more: because we were taken for lost, or a TARGET asks for a retry."""
        mine = self._mine(view)
        enrolling = any(isinstance(each, ev.Enrol) for each in self._under_way)
        if mine is None or enrolling or self._declined == self._cursor:
            return []
        lost = {p.uid for p in mine.peers if _is_lost(p.state, p.description)}
        if any(peer in lost and peer not in job.outcomes for peer in job.peers):
            return [ev.Enrol(job.run, job.task, tuple(job.peers))]
        failed = job.failed()
        if not failed or not mine.retry:
            return []
        pairs = job.type is TaskType.RUN_SWARM
        peers = [self._mint() if pairs and peer in failed else peer for peer in job.peers]
        return [ev.Enrol(job.run, job.task, tuple(peers))]

    def _go_on(self, job: Job, view: TaskRunnerView) -> Sequence[ev.Command]:
        commands: list[ev.Command] = []
        ready = [
            ev.Peer(position, peer)
            for position, peer in enumerate(job.peers)
            if peer not in job.started and peer not in job.outcomes
        ]
        if ready:
            job.started.update(peer.uid for peer in ready)
            fresh = view.state is not RunnerState.COMPLETE
            commands.append(ev.Start(job.run, job.task, job.type, tuple(ready), fresh))
        for peer in job.peers:
            if peer in job.outcomes and peer not in job.reported:
                commands.append(ev.Report(job.run, peer, job.outcomes[peer]))
            elif peer in job.reported and peer not in job.cleared:
                commands.append(ev.Clear(job.run, peer))
        return commands

    # --- what we know

    def _mine(self, view: TaskRunnerView) -> SwopView | None:
        return next((swop for swop in view.swops if swop.uid == self.me), None)


def _adopted(view: TaskRunnerView, kind: TaskType, mine: SwopView) -> Job:
    """The job of a SWOP that finds itself enrolled: what ended before it came is reported."""
    job = Job(view.run, view.task, kind, [NodeId(peer.uid) for peer in mine.peers], enrolled=True)
    for peer in mine.peers:
        if peer.state is not TaskPeerState.ACTIVE and not _is_lost(peer.state, peer.description):
            job.outcomes[NodeId(peer.uid)] = Outcome(peer.state, peer.description)
            job.reported.add(NodeId(peer.uid))
    return job


def _forget(job: Job, peer: NodeId) -> None:
    """The same peer is to work once more."""
    for known in (job.started, job.reported, job.cleared):
        known.discard(peer)
    job.outcomes.pop(peer, None)


def _is_lost(state: TaskPeerState, description: str) -> bool:
    return state is TaskPeerState.ERROR and description == LOST
