"""WAIT FOR TASKRUNNER and SLEEP."""

import asyncio

import pytest

from services.common.task_api import TaskPeerState
from services.swci.adapters import waiting
from tests.component.swci.conftest import RUN, Operator


@pytest.fixture
async def impatient(sn, tmp_path):
    """An operator whose waits end soon."""
    made = Operator(
        sn.pki, tmp_path, swci_run_task_max_wait_time=0.002, swci_generic_task_max_wait_time=0.004
    )
    yield await made.use(sn)
    await made.interpreter.close()


async def begun(operator, runner):
    """A WAIT under way, and what it said so far."""
    said, started = [], asyncio.Event()

    def progress(text):
        said.append(text)
        started.set()

    task = asyncio.create_task(operator.reply(f"WAIT FOR TASKRUNNER {runner} ", progress))
    await asyncio.wait_for(started.wait(), 30)
    return task, said


@pytest.mark.parametrize("state", [TaskPeerState.COMPLETE, TaskPeerState.ERROR])
async def test_it_ends_with_the_run(operator, swop, state):
    task, runner = await operator.task(), await operator.runner()
    agent = await swop(runner)
    await operator.good(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")
    wait, said = await begun(operator, runner)
    assert said == ["WAITING FOR TASKRUNNER TO COMPLETE , MAX WAIT TIME : 120 MINUTES"]
    assert not wait.done()
    await agent.report(await agent.enrol(), state, "no such image")
    reply = await asyncio.wait_for(wait, 30)
    if state is TaskPeerState.COMPLETE:
        assert (reply.error, reply.lines) == (False, ("TASK_STATE : COMPLETE",))
    else:
        assert reply.error
        assert "TASK_STATE : ERROR" in reply.lines[0]
        assert "no such image" in reply.lines[0]
        assert task in reply.lines[0]


async def test_an_idle_one_is_done_at_once(operator):
    lines = await operator.good(f"WAIT FOR TASKRUNNER {await operator.runner()}")
    assert lines[0].startswith("WAITING FOR TASKRUNNER TO COMPLETE")
    assert lines[-1] == "TASK_STATE : IDLE"


@pytest.mark.parametrize("kind", ["run", "build"])
async def test_the_limit_of_the_tasks_type_ends_it_with_a_warning_that_is_no_failure(
    impatient, kind, swop
):
    runner, task = await impatient.runner(), await impatient.task()
    if kind == "run":
        task = await impatient.task(RUN, task)
    await impatient.good(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")
    limit = {"run": "0.002", "build": "0.004"}[kind]
    assert await impatient.good(f"WAIT FOR TASKRUNNER {runner}") == [
        f"WAITING FOR TASKRUNNER TO COMPLETE , MAX WAIT TIME : {limit} MINUTES",
        "WARNING - Maximum configured SWCI wait time is over",
        "TASK_STATE : ASSIGNED",
    ]


async def test_a_reset_by_somebody_else_ends_it(operator):
    task, runner = await operator.task(), await operator.runner()
    await operator.good(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")
    wait, _ = await begun(operator, runner)
    await operator.good(f"RESET TASKRUNNER {runner}")
    reply = await asyncio.wait_for(wait, 30)
    assert reply.lines[0] == "TASK_STATE : IDLE"


async def test_marks_show_that_time_passes(operator, monkeypatch):
    monkeypatch.setattr(waiting, "MARK_SECONDS", 0.05)
    task, runner = await operator.task(), await operator.runner()
    await operator.good(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")
    wait, said = await begun(operator, runner)
    async with asyncio.timeout(30):
        while said.count("#") < 3:
            await asyncio.sleep(0.01)
    await operator.good(f"RESET TASKRUNNER {runner}")
    await asyncio.wait_for(wait, 30)


async def test_sleep(stranger):
    assert await stranger.good("SLEEP 0") == ["SLEPT : 0 SECONDS"]
    loop = asyncio.get_running_loop()
    before = loop.time()
    await stranger.good("sleep 0.2")
    assert loop.time() - before >= 0.2


async def test_a_cancelled_wait_leaves_the_session_usable(operator):
    task, runner = await operator.task(), await operator.runner()
    await operator.good(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")
    wait, _ = await begun(operator, runner)
    wait.cancel()
    await asyncio.wait([wait])
    assert wait.cancelled()
    assert "ROOTTASK" in await operator.good("LIST TASKS")
