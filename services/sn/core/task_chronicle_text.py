"""The history of tasks and runs as plain text: a line each, more only where something happened."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from services.common.task_api import Assignment, TaskType
from services.sn.core.chronicle_text import Names, aside, printable, time_text
from services.sn.core.nodes import Nodes
from services.sn.core.task_chronicle import Run, RunChronicle, TaskChronicle, TaskNote
from services.sn.core.tasks import Task
from services.sn.core.verdict import some


def render_tasks(
    tasks: TaskChronicle, runners: Iterable[RunChronicle], nodes: Nodes
) -> Iterator[str]:
    """The lines of the history.

    Args:
        tasks: of the task registry.
        runners: all taskrunners.
        nodes: for the names of containers.
    """
    names = Names(nodes)
    yield ""
    yield "tasks"
    for task in tasks.tasks.all():
        yield f"{'':>9}{time_text(task.created)}  {printable(_told(task))}"
    yield from _notes(tasks.notes, names)
    for runner in runners:
        yield ""
        yield f"taskrunner {printable(runner.runner.name)}: {runner.runner.state}"
        yield from _notes([note for note in runner.notes if note.run == 0], names)
        for run in runner.runs:
            yield from _run(run, names)
            yield from _notes([note for note in runner.notes if note.run == run.number], names)


def _told(task: Task) -> str:
    after = f" after {task.prereq}" if task.prereq else ""
    final = "final" if task.finalized else "not final"
    lines = some(len(task.body), "line")
    return (
        f"{task.name}: {task.type} by {task.author}{after}, makes {task.outcome} ({lines}, {final})"
    )


def _run(run: Run, names: Names) -> Iterator[str]:
    counts = f"{run.completed} completed, {run.failed} failed of {run.needed} needed"
    yield (
        f"{run.number:>7}{run.block:>9}  {time_text(run.assigned)}  {run.state:<8}  "
        f"{printable(run.task)} ({_whom(run)}): {counts}"
    )
    if run.swops:
        yield aside(run.block, "enrolled", ", ".join(names(uid) for uid in run.swops))


def _whom(run: Run) -> str:
    match run.mode:
        case Assignment.PEERS:
            what = "SL/ML pair" if run.type is TaskType.RUN_SWARM else "SWOP"
            return f"with {some(run.needed, what)}"
        case Assignment.ALL:
            return "with all peers"
        case Assignment.TARGET:
            return "targeted"


def _notes(notes: Sequence[TaskNote], names: Names) -> Iterator[str]:
    for key, same in groupby(notes, lambda n: (n.about, n.kind, n.node, n.reason)):
        (about, kind, node, reason), alike = key, list(same)
        times = f" ({len(alike)} times)" if len(alike) > 1 else ""
        who = names(node) if node.strip("0") else ""
        yield aside(alike[0].block, kind, ": ".join(w for w in (about, who, reason) if w) + times)
