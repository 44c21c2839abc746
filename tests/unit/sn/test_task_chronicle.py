"""The history of tasks and runs, and its text."""

from hypothesis import given
from hypothesis import strategies as st

from services.common.ids import NodeKind
from services.common.task_api import ROOTTASK, Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import ledger
from services.sn.core import task_events as on
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.task_chronicle import RunChronicle, TaskChronicle
from services.sn.core.task_chronicle_text import render_tasks
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.tasks import TASK_REGISTRY
from tests.unit.sn.task_histories import RunnerScript

A, B = "a" * 32, "b" * 32
ONE = "1" * 32
NOBODY = "0" * 32


def block(number):
    return Block(number, f"{number:064x}", 1_000_000_000 + number)


def tasks_of(*events):
    found = TaskChronicle()
    found.tasks.register(ledger.Registered(TASK_REGISTRY, ledger.SYSTEM_KIND, "0xT", 1_000_000_000))
    for number, event in enumerate(events, 1):
        found.apply(event, block(number))
    return found


def runs_of(*events):
    found = RunChronicle(TaskRunner("tr", "0xR", 1))
    for number, event in enumerate(events, 1):
        found.apply(event, block(number))
    return found


def assigned(run, mode=Assignment.PEERS, target=NOBODY):
    return on.Assigned(run, "train", TaskType.RUN_SWARM, mode, 1, target, NOBODY)


HISTORY = (
    on.RunnerRefused(0, NOBODY, "forbidden", "not you"),
    on.Listening(0, A, 1),
    assigned(1),
    on.SwopEnrolled(1, A, (ONE,)),
    on.Reported(1, A, ONE, TaskPeerState.ERROR, "no image"),
    on.StateChanged(1, RunnerState.ERROR),
    on.RunnerReset(1, "SWCI-1: again"),
    on.StateChanged(1, RunnerState.IDLE),
    assigned(2, Assignment.TARGET, A),
    on.SwopEnrolled(2, A, (ONE,)),
    on.Reported(2, A, ONE, TaskPeerState.COMPLETE, ""),
    on.StateChanged(2, RunnerState.COMPLETE),
)


def test_runs_stand_as_they_ended():
    first, second = runs_of(*HISTORY).runs
    assert (first.number, first.task, first.state, first.completed, first.failed) == (
        1, "train", RunnerState.ERROR, 0, 1,
    )  # fmt: skip
    assert (first.block, first.ended - first.assigned, first.swops) == (3, 3, [A])
    assert (second.state, second.completed, second.mode) == (
        RunnerState.COMPLETE, 1, Assignment.TARGET,
    )  # fmt: skip


def test_what_happened_beside_is_noted_with_its_run():
    notes = [(n.run, n.kind, n.node, n.reason, n.block) for n in runs_of(*HISTORY).notes]
    assert notes == [
        (0, "refused", NOBODY, "forbidden: not you", 1),
        (1, "failed", A, f"peer {ONE[:8]}: no image", 5),
        (1, "reset", "", "SWCI-1: again", 7),
    ]


def test_tasks_that_are_gone_and_refusals_are_noted():
    created = on.TaskCreated("t", TaskType.PULL_IMAGE, "me", ROOTTASK, "an image", NOBODY)
    found = tasks_of(created, on.TaskRemoved("t"), on.TaskRefused("u", A, "forbidden", "no"))
    assert [(n.about, n.kind, n.node, n.reason) for n in found.notes] == [
        ("t", "removed", "", ""), ("u", "refused", A, "forbidden: no"),
    ]  # fmt: skip


def test_the_text_has_a_line_each():
    nodes = Nodes()
    swop = ledger.NodeRegistered(A, NodeKind.SWOP, False, "h:1", "swop1", "1", B, "f" * 64)
    nodes.apply(swop, block(1))
    created = on.TaskCreated("t\x1b[31m", TaskType.PULL_IMAGE, "me", ROOTTASK, "an image", NOBODY)
    refused = [on.TaskRefused("u", NOBODY, "forbidden", "no")] * 2
    tasks = tasks_of(created, on.TaskAppended("t\x1b[31m", 1, ("x",)), *refused)
    assert list(render_tasks(tasks, [runs_of(*HISTORY)], nodes)) == [
        "",
        "tasks",
        "         2001-09-09 01:46:40  ROOTTASK: ROOT_TASK by HPE, makes ROOTTASK (0 lines, final)",
        "         2001-09-09 01:46:41  t?[31m: PULL_IMAGE by me after ROOTTASK, makes an image "
        "(1 line, not final)",
        "               3  refused    u: forbidden: no (2 times)",
        "",
        "taskrunner tr: COMPLETE",
        "               1  refused    forbidden: not you",
        "      1        3  2001-09-09 01:46:43  ERROR     train (with 1 SL/ML pair): "
        "0 completed, 1 failed of 1 needed",
        "               3  enrolled   swop1 (aaaaaaaa)",
        "               5  failed     swop1 (aaaaaaaa): peer 11111111: no image",
        "               7  reset      SWCI-1: again",
        "      2        9  2001-09-09 01:46:49  COMPLETE  train (targeted): "
        "1 completed, 0 failed of 1 needed",
        "               9  enrolled   swop1 (aaaaaaaa)",
    ]


@st.composite
def scripts(draw):
    script = RunnerScript(draw, "tr")
    return [script.event() for _ in range(draw(st.integers(0, 40)))]


@given(scripts())
def test_whatever_a_taskrunner_writes_can_be_told(events):
    found = runs_of(*events)
    assert [run.number for run in found.runs] == list(range(1, found.runner.run + 1))
    assert all("\n" not in line for line in render_tasks(tasks_of(), [found], Nodes()))
