"""Commands about taskrunners."""

from services.common.errors import NotFoundError
from services.common.task_api import Assign, Assignment
from services.swci.adapters.session import Session, Talk, new_request
from services.swci.core import commands as c
from services.swci.core import shown_tasks as shown
from services.swci.core.reply import Reply, fields, listed, success

REASON = "SWCI: RESET TASKRUNNER"


async def create(session: Session, command: c.CreateTaskRunner, _talk: Talk) -> Reply:
    """CREATE TASKRUNNER name."""
    await session.swarm.tasks.create_runner(command.name)
    return success(f"TASKRUNNER CREATED : {command.name}", data={"taskrunner": command.name})


async def assign(session: Session, command: c.AssignTask, _talk: Talk) -> Reply:
    """ASSIGN TASK task TO runner WITH n PEERS."""
    asked = Assign(
        task=command.task, mode=Assignment.PEERS, peers=command.peers, request=new_request()
    )
    return await _assign(session, command.taskrunner, asked)


async def assign_all(session: Session, command: c.AssignTaskToAll, _talk: Talk) -> Reply:
    """ASSIGN TASK task TO runner WITH ALL PEERS."""
    asked = Assign(task=command.task, mode=Assignment.ALL, request=new_request())
    return await _assign(session, command.taskrunner, asked)


async def assign_target(session: Session, command: c.AssignTaskToTarget, _talk: Talk) -> Reply:
    """ASSIGN TASK task TO runner TARGET uid."""
    asked = Assign(
        task=command.task, mode=Assignment.TARGET, target=command.swop, request=new_request()
    )
    return await _assign(session, command.taskrunner, asked)


async def _assign(session: Session, runner: str, asked: Assign) -> Reply:
    view = (await session.swarm.tasks.assign(runner, asked)).view
    return fields(
        {
            "TASK ASSIGNED": asked.task, "TASKRUNNER": runner, "PEER_TYPE": shown.peer_type(view),
            "PEERS_NEEDED": view.needed,
        },
        {"task": asked.task, "taskrunner": runner, "run": view.run, "peers_needed": view.needed},
    )  # fmt: skip


async def info(session: Session, command: c.GetTaskRunnerInfo, _talk: Talk) -> Reply:
    """GET TASKRUNNER INFO runner."""
    for runner in await session.swarm.tasks.runners():
        if runner.name == command.taskrunner:
            return shown.runner_info(runner)
    raise NotFoundError(
        f"no taskrunner {command.taskrunner}: LIST TASKRUNNERS shows those there are"
    )


async def status(session: Session, command: c.GetTaskRunnerStatus, _talk: Talk) -> Reply:
    """GET TASKRUNNER STATUS runner."""
    return shown.runner_status((await session.swarm.tasks.runner(command.taskrunner)).view)


async def peer_status(session: Session, command: c.GetTaskRunnerPeerStatus, _talk: Talk) -> Reply:
    """GET TASKRUNNER PEER STATUS runner peer."""
    state = await session.swarm.tasks.runner(command.taskrunner)
    return shown.peer_status(state.view, command.peer)


async def list_runners(session: Session, _command: c.ListTaskRunners, _talk: Talk) -> Reply:
    """LIST TASKRUNNERS."""
    found = await session.swarm.tasks.runners()
    return listed((runner.name for runner in found), "NO TASKRUNNERS")


async def list_peers(session: Session, command: c.ListTaskRunnerPeers, _talk: Talk) -> Reply:
    """LIST TASKRUNNER PEERS runner."""
    return shown.runner_peers((await session.swarm.tasks.runner(command.taskrunner)).view)


async def reset(session: Session, command: c.ResetTaskRunner, _talk: Talk) -> Reply:
    """RESET TASKRUNNER runner: also one that is idle."""
    await session.swarm.tasks.reset(command.taskrunner, REASON)
    return success(
        f"TASKRUNNER RESET : {command.taskrunner}", data={"taskrunner": command.taskrunner}
    )
