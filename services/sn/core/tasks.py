"""Read model of the task registry: a fold over its events, and what the API answers of it."""

from dataclasses import dataclass, field
from typing import assert_never

from services.common import task_api as api
from services.sn.core import task_events as on
from services.sn.core.ledger import Block, Registered

TASK_REGISTRY = "taskdb.sml.hpe"
"""Name under which the SwarmRegistry knows the TaskRegistry (our choice)."""


@dataclass(slots=True)
class Task:
    """One task."""

    name: str
    type: api.TaskType
    author: str
    prereq: str
    outcome: str
    created: int
    """Chain time, Unix seconds."""
    request: str
    """Uid of the request that created it: no other task has it; zeros: of ROOTTASK."""
    finalized: bool = False
    body: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tasks:
    """All tasks, after the events applied so far."""

    address: str = ""
    """Of the contract; empty until it is registered."""
    by_name: dict[str, Task] = field(default_factory=dict)

    def register(self, event: Registered) -> None:
        """The registry got its name.

        Events before that one are nobody's, so ROOTTASK, which its constructor made, is made here.
        """
        self.address = event.at
        self.by_name[api.ROOTTASK] = Task(
            api.ROOTTASK, api.TaskType.ROOT_TASK, "HPE", "", api.ROOTTASK, event.created,
            "0" * 32, finalized=True,
        )  # fmt: skip

    def get(self, name: str) -> Task | None:
        """The task called ``name``."""
        return self.by_name.get(name)

    def all(self) -> list[Task]:
        """Every task, in the order of their creation."""
        return list(self.by_name.values())

    def apply(self, event: on.TaskEvent, block: Block) -> None:
        """Advance by one event of the registry, in chain order."""
        match event:
            case on.TaskCreated():
                self.by_name[event.name] = Task(
                    event.name, event.task_type, event.author, event.prereq, event.outcome,
                    block.time, event.request,
                )  # fmt: skip
            case on.TaskAppended():
                begin, end = event.first - 1, event.first - 1 + len(event.lines)
                self.by_name[event.name].body[begin:end] = event.lines
            case on.TaskFinalized():
                self.by_name[event.name].finalized = True
            case on.TaskRemoved():
                del self.by_name[event.name]
            case on.TaskRefused():
                pass  # the event itself is the record
            case _:
                assert_never(event)


def summary_of(task: Task) -> api.TaskSummary:
    """A row of the list of tasks."""
    return api.TaskSummary(
        name=task.name, type=task.type, author=task.author, prereq=task.prereq,
        outcome=task.outcome, finalized=task.finalized, lines=len(task.body), created=task.created,
    )  # fmt: skip


def info_of(task: Task) -> api.TaskInfo:
    """A task with its body."""
    return api.TaskInfo(**summary_of(task).model_dump(), body=task.body)
