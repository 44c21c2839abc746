"""The whole history of the tasks and of the taskrunners' runs, with what lay between.

Folds like :class:`Tasks` and :class:`TaskRunner`, which keep only what is so now.
"""

from dataclasses import dataclass, field

from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import task_events as on
from services.sn.core.ledger import Block
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.tasks import Tasks


@dataclass(frozen=True, slots=True)
class TaskNote:
    """Something that happened beside what the tasks and runs themselves tell."""

    about: str
    """Name of a task, or empty."""
    run: int
    """That was the present one; 0: none, or it is about a task."""
    kind: str
    """``removed``, ``refused``, ``targeted``, ``failed``, ``quit`` or ``reset``."""
    node: str
    """Uid of the SWOP concerned, or empty."""
    reason: str
    block: int
    time: int
    """Chain time, Unix seconds."""


@dataclass(slots=True)
class Run:
    """One run of a taskrunner, as it stood at its end, or stands now."""

    number: int
    task: str
    type: TaskType
    mode: Assignment
    needed: int
    state: RunnerState
    completed: int
    failed: int
    swops: list[str]
    """Uids of those that enrolled."""
    block: int
    """In which it was assigned."""
    assigned: int
    """Chain time of this and the next, Unix seconds."""
    ended: int
    """0: it never ended, or not yet."""


@dataclass(slots=True)
class TaskChronicle:
    """History of the task registry, after the events applied so far."""

    tasks: Tasks = field(default_factory=Tasks)
    notes: list[TaskNote] = field(default_factory=list)

    def apply(self, event: on.TaskEvent, block: Block) -> None:
        """Advance by one event, in chain order."""
        self.tasks.apply(event, block)
        found: tuple[str, str, str] | None = None
        match event:
            case on.TaskRemoved():
                found = "removed", "", ""
            case on.TaskRefused():
                found = "refused", event.by, f"{event.code}: {event.detail}"
            case _:
                pass
        if found is not None:
            self.notes.append(TaskNote(event.name, 0, *found, block.number, block.time))


class RunChronicle:
    """History of one taskrunner, after the events applied so far.

    Args:
        runner: before its first event.
    """

    def __init__(self, runner: TaskRunner) -> None:
        self.runner = runner
        self.runs: list[Run] = []
        self.notes: list[TaskNote] = []

    def apply(self, event: on.RunnerEvent, block: Block) -> None:
        """Advance by one event, in chain order."""
        self.runner.apply(event, block)
        if isinstance(event, on.Assigned):
            self.runs.append(
                Run(
                    event.run, event.task, event.task_type, event.mode, event.needed,
                    RunnerState.ASSIGNED, 0, 0, [], block.number, block.time, 0,
                )
            )  # fmt: skip
        if self.runner.state is not RunnerState.IDLE:
            self._update(self.runs[-1])
        found = _note(event)
        if found is not None:
            self.notes.append(TaskNote("", event.run, *found, block.number, block.time))

    def _update(self, run: Run) -> None:
        runner = self.runner
        run.state, run.needed, run.ended = runner.state, runner.needed, runner.ended
        run.completed = runner.count(TaskPeerState.COMPLETE)
        run.failed = runner.count(TaskPeerState.ERROR)
        run.swops = sorted(swop.uid for swop in runner.swops.values() if swop.enrolled)


def _note(event: on.RunnerEvent) -> tuple[str, str, str] | None:
    match event:
        case on.RunnerRefused():
            return "refused", event.by, f"{event.code}: {event.detail}"
        case on.Targeted():
            return "targeted", event.target, ""
        case on.Reported(state=TaskPeerState.ERROR):
            words = event.description or "no reason given"
            peer = f"peer {event.peer[:8]}: " if event.peer != event.swop else ""
            return "failed", event.swop, f"{peer}{words}"
        case on.Quit():
            return "quit", event.swop, event.reason
        case on.RunnerReset():
            return "reset", "", event.by
        case _:
            return None
