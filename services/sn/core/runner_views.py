"""What the API answers about a taskrunner, made from its fold and that of the nodes."""

from services.common import task_api as api
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core.nodes import Nodes
from services.sn.core.taskrunners import Swop, TaskRunner
from services.sn.core.views import name_of


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
            failed = _some(runner.count(TaskPeerState.ERROR), "peer")
            return (
                f"waiting for an operator: {failed} failed, so "
                f"{runner.needed} cannot complete. Try again with ASSIGN TASK {runner.task} TO "
                f"{runner.name} TARGET <SWOP uid>, or give up with RESET TASKRUNNER {runner.name}"
            )


def _missing(runner: TaskRunner, nodes: Nodes) -> str:
    """Who has to complete still, and who has to come first."""
    completed = runner.count(TaskPeerState.COMPLETE)
    busy = [swop.uid for swop in runner.swops.values() if swop.busy]
    words = f"{completed} of {runner.needed} peers completed"
    active = runner.count(TaskPeerState.ACTIVE)
    parts = []
    if busy:
        names = ", ".join(name_of(uid, nodes) for uid in sorted(busy))
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
        if is_listening(swop, nodes) and not swop.enrolled and _may_enrol(runner, swop)
    ]
    if free:
        return " or ".join(name_of(uid, nodes) for uid in sorted(free))
    if runner.mode is Assignment.TARGET:
        return f"the targeted SWOP {', '.join(name_of(uid, nodes) for uid in runner.targets)}"
    return f"a SWOP (none that is free listens: start one with taskrunner {runner.name})"


def _may_enrol(runner: TaskRunner, swop: Swop) -> bool:
    if runner.mode is Assignment.TARGET:
        return swop.uid in runner.targets
    return runner.type is not TaskType.RUN_SWARM or swop.nodes > 0


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
