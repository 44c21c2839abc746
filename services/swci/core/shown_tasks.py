"""How tasks and taskrunners are shown."""

from services.common import task_api as api
from services.common.task_api import RunnerState, TaskPeerState, TaskType
from services.swci.core.reply import Reply, failure, fields, success, when

PEERS_HEADER = "Index, UUID, ContainerName, Listening, Peers"
"""First line of LIST TASKRUNNER PEERS."""
EMPTY = "Empty"
"""TASK_NAME of a taskrunner without a task (HPE)."""
ENDED = frozenset({RunnerState.IDLE, RunnerState.COMPLETE, RunnerState.ERROR})
"""States in which nothing happens any more by itself; also to HPE's client."""


def task_info(task: api.TaskSummary) -> Reply:
    """GET TASK INFO."""
    return fields(
        {
            "TASK_NAME": task.name, "TASK_TYPE": task.type.value, "AUTHOR": task.author,
            "PREREQ": task.prereq, "OUTCOME": task.outcome, "FINALIZED": task.finalized,
            "BODY_LINES": task.lines, "TS_CREATED": when(task.created),
        }
    )  # fmt: skip


def task_body(task: api.TaskInfo) -> Reply:
    """GET TASK BODY."""
    if not any(line.strip() for line in task.body):
        return success("TASK BODY IS EMPTY", data=task.body)
    return success(*(line.replace("\t", "    ") for line in task.body), data=task.body)


def runner_info(runner: api.TaskRunnerSummary) -> Reply:
    """GET TASKRUNNER INFO: what never changes."""
    return fields(
        {
            "TASKRUNNER_NAME": runner.name, "CONTRACT_TYPE": "TASKRUNNER",
            "CONTRACT_ADDRESS": runner.address, "TS_CREATED": when(runner.created),
        }
    )  # fmt: skip


def peer_type(view: api.TaskRunnerView) -> str:
    """What the peers of a run are."""
    return "SL" if view.type is TaskType.RUN_SWARM else "SWOP"


def runner_status(view: api.TaskRunnerView) -> Reply:
    """GET TASKRUNNER STATUS; HPE's client reads the line with TASK_STATE."""
    return fields(
        {
            "TASKRUNNER_NAME": view.name,
            "TASK_NAME": view.task or EMPTY,
            "PEER_TYPE": peer_type(view),
            "TASK_STATE": view.state.value,
            "PEERS_NEEDED": view.needed,
            "LISTENING_SWOP": sum(swop.listening for swop in view.swops),
            "ENROLLED_SWOP": len(enrolled(view)),
            "ACTIVE_PEERS": view.active,
            "COMPLETED_PEERS": view.completed,
            "FAILED_PEERS": view.failed,
            "WAITING_FOR": view.waiting_for.removeprefix("waiting for "),
            "TS_ASSIGNED": when(view.assigned),
            "TS_STARTED": when(view.started),
            "TS_LAST_UPDATE": when(view.updated),
            "TS_COMPLETED": when(view.ended),
        }
    )


def enrolled(view: api.TaskRunnerView) -> list[api.SwopView]:
    """The SWOPs of the present run, sorted by uid: their places are the indexes of PEER STATUS."""
    return sorted((swop for swop in view.swops if swop.enrolled), key=lambda swop: swop.uid)


def runner_peers(view: api.TaskRunnerView) -> Reply:
    """LIST TASKRUNNER PEERS: a header, and a line for each enrolled SWOP."""
    rows = [
        {
            "index": index, "uid": swop.uid, "container": swop.container,
            "listening": swop.listening, "peers": len(swop.peers),
        }
        for index, swop in enumerate(enrolled(view))
    ]  # fmt: skip
    lines = [
        f"{row['index']}, {row['uid']}, {str(row['container']).replace(',', '_') or '-'}, "
        f"{'YES' if row['listening'] else 'NO'}, {row['peers']}"
        for row in rows
    ]
    return success(PEERS_HEADER, *lines, data=rows)


def peer_status(view: api.TaskRunnerView, peer: int | str) -> Reply:
    """GET TASKRUNNER PEER STATUS, of a SWOP by its index or uid; an SL's uid finds its SWOP."""
    swops = enrolled(view)
    if isinstance(peer, int):
        found = swops[peer] if peer < len(swops) else None
    else:
        found = next((s for s in swops if peer in (s.uid, *(p.uid for p in s.peers))), None)
    if found is None:
        have = f"indexes 0 to {len(swops) - 1}" if swops else "none yet"
        return failure(
            f"{view.name} has no enrolled SWOP {peer} (enrolled: {have}). "
            f"LIST TASKRUNNER PEERS {view.name} shows them",
            "not-found",
        )
    head = []
    if view.type is TaskType.RUN_SWARM:
        head = [f"SWOP_UID : {found.uid}", f"SL_PEERS : {len(found.peers)}"]
    lines = [
        line
        for each in found.peers
        for line in (
            f"UID : {each.uid}",
            f"STATUS : {each.state.value}",
            f"DESCRIPTION : {each.description or '-'}",
        )
    ]
    return success(*head, *lines, data=found.model_dump(mode="json"))


def outcome(view: api.TaskRunnerView) -> Reply:
    """The final state, as WAIT FOR TASKRUNNER reports it; ERROR is a failure, with its reasons."""
    data = {"taskrunner": view.name, "task": view.task, "task_state": view.state.value}
    if view.state is not RunnerState.ERROR:
        return fields({"TASK_STATE": view.state.value}, data)
    why = "; ".join(
        f"peer {peer.uid[:8]} of {swop.container or swop.uid[:8]}: {peer.description or 'failed'}"
        for swop in enrolled(view)
        for peer in swop.peers
        if peer.state is TaskPeerState.ERROR
    )
    failed = "1 peer" if view.failed == 1 else f"{view.failed} peers"
    text = (
        f"TASK_STATE : ERROR, task {view.task} on {view.name}: {failed} failed, "
        f"{view.needed} had to complete ({why}). GET TASKRUNNER PEER STATUS shows more"
    )
    told = failure(text, "task-failed")
    return Reply(told.lines, {**data, **_dict(told.data)}, error=True)


def _dict(data: object) -> dict[str, object]:
    return data if isinstance(data, dict) else {}
