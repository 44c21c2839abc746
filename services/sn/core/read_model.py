"""Everything folded from one history of the chain, and the same as text, to go on from later."""

from dataclasses import dataclass, field
from typing import assert_never

from pydantic import BaseModel, ConfigDict, ValidationError

from services.sn.core import ledger, task_events
from services.sn.core.directory import Directory
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.tasks import TASK_REGISTRY, Tasks
from services.sn.core.training import Training


@dataclass(slots=True)
class ReadModel:
    """The folds of all contracts, and who gets which event."""

    head: Block | None = None
    """Newest block whose events are in; None: not even the first one's."""
    directory: Directory = field(default_factory=Directory)
    nodes: Nodes = field(default_factory=Nodes)
    trainings: dict[str, Training] = field(default_factory=dict)
    """By name."""
    by_address: dict[str, Training] = field(default_factory=dict)
    tasks: Tasks = field(default_factory=Tasks)
    runners: dict[str, TaskRunner] = field(default_factory=dict)
    """By name."""
    runner_at: dict[str, TaskRunner] = field(default_factory=dict)
    """By address."""

    def apply(self, event: ledger.LedgerEvent, address: str, block: Block) -> None:
        """Advance the fold that ``event`` belongs to."""
        if isinstance(event, ledger.TrainingEvent):
            self.by_address[address].apply(event, block)
        elif isinstance(event, ledger.NodeEvent):
            self.nodes.apply(event, block)
        elif isinstance(event, task_events.RunnerEvent):
            self.runner_at[address].apply(event, block)
        elif isinstance(event, task_events.TaskEvent):
            self.tasks.apply(event, block)
        elif isinstance(event, ledger.DirectoryEvent):
            self.directory.apply(event)
            if isinstance(event, ledger.Registered):
                self._name(event)
        else:
            assert_never(event)

    def _name(self, event: ledger.Registered) -> None:
        if event.kind == ledger.TRAINING_KIND:
            training = Training(event.name, event.at, event.created)
            self.trainings[event.name] = self.by_address[event.at] = training
        elif event.kind == ledger.TASKRUNNER_KIND:
            runner = TaskRunner(event.name, event.at, event.created)
            self.runners[event.name] = self.runner_at[event.at] = runner
        elif event.name == TASK_REGISTRY:
            self.tasks.register(event)


class _Saved(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    head: Block
    directory: Directory
    nodes: Nodes
    trainings: list[Training]
    tasks: Tasks
    runners: list[TaskRunner]


def save(model: ReadModel) -> bytes:
    """The read model as JSON; it must have a head."""
    head = model.head
    assert head is not None, "nothing is folded yet"
    saved = _Saved.model_construct(
        head=Block(head.number, head.hash, head.time), directory=model.directory,
        nodes=model.nodes, trainings=list(model.trainings.values()), tasks=model.tasks,
        runners=list(model.runners.values()),
    )  # fmt: skip
    return saved.model_dump_json().encode()


def load(text: bytes) -> ReadModel:
    """The read model that :func:`save` made into ``text``.

    Raises:
        ValueError: it is something else.
    """
    try:
        saved = _Saved.model_validate_json(text)
    except ValidationError as exc:
        raise ValueError(f"not a read model: {exc}") from exc
    return ReadModel(
        saved.head, saved.directory, saved.nodes,
        {training.name: training for training in saved.trainings},
        {training.address: training for training in saved.trainings},
        saved.tasks,
        {runner.name: runner for runner in saved.runners},
        {runner.address: runner for runner in saved.runners},
    )  # fmt: skip
