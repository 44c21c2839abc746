"""Commands that wait."""

import asyncio

from services.common.errors import RemoteError, SnUnavailableError
from services.common.task_api import TaskRunnerState, TaskType
from services.swci.adapters.contexts import UP
from services.swci.adapters.session import Session, Talk
from services.swci.core import commands as c
from services.swci.core import shown_tasks as shown
from services.swci.core.commands import Address
from services.swci.core.reply import Reply, success

MARK_SECONDS = 5.0
"""A ``#`` is shown this often."""
TIME_OVER = "WARNING - Maximum configured SWCI wait time is over"
"""Not a failure (HPE calls it a warning): the script goes on."""


async def wait_for_ip(session: Session, command: c.WaitForIp, talk: Talk) -> Reply:
    """WAIT FOR IP ip [port] [retries]."""
    return await _wait_for(session, Address(command.ip, command.port), command.retries, talk)


async def wait_for_service(session: Session, command: c.WaitForService, talk: Talk) -> Reply:
    """WAIT FOR SERVICE fqdn[:port] [retries]."""
    return await _wait_for(session, command.service, command.retries, talk)


async def _wait_for(session: Session, address: Address, retries: int, talk: Talk) -> Reply:
    """Ask until an API server answers, as often as ``retries`` says.

    Raises:
        SnUnavailableError: none did, or TLS refused a certificate, which waiting does not mend.
    """
    for tried in range(1, retries + 1):
        trouble = await session.connect.probe(address)
        if trouble is None:
            return success(UP, data={"host": address.host, "port": address.port, "tries": tried})
        if not trouble.waiting_helps or tried == retries:
            raise SnUnavailableError(f"{address} is not up after {_tries(tried)}. {trouble.why}")
        talk.mark()
        await asyncio.sleep(session.settings.swci_wait_retry_seconds)
    raise AssertionError("at least one try")


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"


async def sleep(_session: Session, command: c.Sleep, _talk: Talk) -> Reply:
    """SLEEP seconds."""
    await asyncio.sleep(command.seconds)
    return success(f"SLEPT : {command.seconds:g} SECONDS", data={"seconds": command.seconds})


async def wait_for_runner(session: Session, command: c.WaitForTaskRunner, talk: Talk) -> Reply:
    """WAIT FOR TASKRUNNER runner: until its run ends, or the limit for its task's type."""
    tasks = session.swarm.tasks
    state = await tasks.runner(command.taskrunner)
    is_run = state.view.type is TaskType.RUN_SWARM
    minutes = session.settings.run_minutes() if is_run else session.settings.generic_minutes()
    talk.line(f"WAITING FOR TASKRUNNER TO COMPLETE , MAX WAIT TIME : {minutes:g} MINUTES")
    last = await _until_ended(session, state, minutes * 60, talk)
    if last.view.run == state.view.run and last.view.state not in shown.ENDED:
        data = {
            "taskrunner": last.view.name, "task": last.view.task,
            "task_state": last.view.state.value, "time_over": True,
        }  # fmt: skip
        return success(TIME_OVER, f"TASK_STATE : {last.view.state.value}", data=data)
    if last.view.run != state.view.run:
        return success(
            "TASK_STATE : IDLE",
            f"THE TASKRUNNER WAS RESET, RUN {last.view.run} HAS BEGUN SINCE",
            data={"taskrunner": last.view.name, "task": "", "task_state": "IDLE"},
        )
    return shown.outcome(last.view)


async def _until_ended(
    session: Session, state: TaskRunnerState, seconds: float, talk: Talk
) -> TaskRunnerState:
    """Follow a run by long polls; an SN that is away for a while does not end it."""
    loop = asyncio.get_running_loop()
    run, tasks = state.view.run, session.swarm.tasks
    give_up, marked = loop.time() + seconds, loop.time()
    while state.view.run == run and state.view.state not in shown.ENDED:
        left = give_up - loop.time()
        if left <= 0:
            break
        try:
            async with asyncio.timeout(left + 1.0):
                state = await tasks.watch(state.view.name, state.cursor, min(left, MARK_SECONDS))
        except TimeoutError:
            break
        except RemoteError:
            await asyncio.sleep(min(left, 1.0))
        if loop.time() - marked >= MARK_SECONDS:
            marked = loop.time()
            talk.mark()
    return state
