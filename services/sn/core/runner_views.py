"""What the API answers about a taskrunner, made from its fold and that of the nodes."""

from collections.abc import Iterable

from services.common import task_api as api
from services.common.ids import NodeId
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core.nodes import Nodes
from services.sn.core.taskrunners import Swop, TaskRunner
from services.sn.core.views import name_of

MOST_NAMES = 4
"""SWOPs that a sentence names before it counts the others."""


def cursor_of(runner: TaskRunner, nodes: Nodes) -> str:
    """Names what :func:`view_of` shows: another string whenever that may differ."""
    revision = max((nodes.shown_at(uid) for uid in runner.swops), default=0)
    return f"{runner.cursor}-{revision}"


def view_of(runner: TaskRunner, nodes: Nodes) -> api.TaskRunnerView:
    """A taskrunner as operators and SWOPs see it.

    Args:
        runner: the taskrunner.
        nodes: for the SWOPs' containers, and whether they are alive.
    """
    return api.TaskRunnerView(
        name=runner.name, state=runner.state, run=runner.run, task=runner.task, type=runner.type,
        mode=runner.mode, targets=list(runner.targets), needed=runner.needed,
        swops=[_swop_view(runner.swops[uid], nodes) for uid in sorted(runner.swops)],
        active=runner.count(TaskPeerState.ACTIVE), completed=runner.count(TaskPeerState.COMPLETE),
        failed=runner.count(TaskPeerState.ERROR), waiting_for=waiting_for(runner, nodes),
        created=runner.created, assigned=runner.assigned, started=runner.started,
        updated=runner.updated, ended=runner.ended,
    )  # fmt: skip


def summary_of(runner: TaskRunner) -> api.TaskRunnerSummary:
    """A row of the list of taskrunners."""
    return api.TaskRunnerSummary(
        name=runner.name, address=runner.address, created=runner.created, state=runner.state,
        task=runner.task,
    )  # fmt: skip


def is_listening(swop: Swop, nodes: Nodes) -> bool:
    """Whether a SWOP would take work now."""
    node = nodes.get(swop.uid)
    return swop.listening and node is not None and node.alive


def waiting_for(runner: TaskRunner, nodes: Nodes) -> str:
    """What the taskrunner waits for, in words; empty where it waits for nothing."""
    match runner.state:
        case RunnerState.IDLE | RunnerState.COMPLETE:
            return ""
        case RunnerState.ASSIGNED:
            return f"waiting for {_who_could(runner, nodes)} to take the task"
        case RunnerState.RUNNING:
            return _missing(runner, nodes)
        case RunnerState.ERROR:
            who = _names((s.uid for s in runner.swops.values() if s.failed), nodes, "and")
            return (
                f"waiting for an operator: {_some(runner.count(TaskPeerState.ERROR), 'peer')} of "
                f"{who} failed, so {runner.needed} cannot complete. Try again with "
                f"ASSIGN TASK {runner.task} TO {runner.name} TARGET <SWOP uid>, or give up with "
                f"RESET TASKRUNNER {runner.name}"
            )


def _missing(runner: TaskRunner, nodes: Nodes) -> str:
    """Who has to complete still, and who has to come first."""
    completed = runner.count(TaskPeerState.COMPLETE)
    busy = [swop.uid for swop in runner.swops.values() if swop.busy]
    words = f"{completed} of {runner.needed} peers completed"
    active = runner.count(TaskPeerState.ACTIVE)
    parts = []
    if busy:
        names = _names(busy, nodes, "and")
        parts.append(f"{_some(active, 'peer')} of {names} to complete")
    absent = runner.needed - completed - active
    if absent > 0:
        parts.append(f"{_some(absent, 'more peer')} of {_who_could(runner, nodes)}")
    return f"waiting for {' and '.join(parts)} ({words})"


def _who_could(runner: TaskRunner, nodes: Nodes) -> str:
    """Names the SWOPs that may enrol and have not; where there are none, says so."""
    free = [
        swop.uid
        for swop in runner.swops.values()
        if is_listening(swop, nodes) and _may_enrol(runner, swop)
    ]
    if free:
        return _names(free, nodes, "or")
    if runner.mode is Assignment.TARGET:
        return f"the targeted SWOP {_names(runner.targets, nodes, 'or')}"
    return f"a SWOP (none that is free listens: start one with taskrunner {runner.name})"


def _may_enrol(runner: TaskRunner, swop: Swop) -> bool:
    if swop.enrolled:
        return swop.retry
    if runner.mode is Assignment.TARGET:
        return swop.uid in runner.targets
    return runner.type is not TaskType.RUN_SWARM or swop.nodes > 0


def _names(uids: Iterable[NodeId], nodes: Nodes, last: str) -> str:
    """``a, b or c``; of many only the first ones."""
    names = [name_of(uid, nodes) for uid in sorted(uids)]
    if len(names) > MOST_NAMES:
        names = [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _swop_view(swop: Swop, nodes: Nodes) -> api.SwopView:
    node = nodes.get(swop.uid)
    return api.SwopView(
        uid=swop.uid, container=node.container if node else "", nodes=swop.nodes,
        listening=is_listening(swop, nodes), enrolled=swop.enrolled,
        retry=swop.retry,
        peers=[
            api.TaskPeer(uid=p.uid, state=p.state, description=p.description, since=p.since)
            for p in swop.peers
        ],
    )  # fmt: skip
