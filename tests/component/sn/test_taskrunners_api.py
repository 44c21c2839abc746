"""Taskrunners through the API of a real SN, over real TLS, on the real chain."""

import asyncio
import time

import pytest

from services.common import task_api as api
from services.common.errors import ConfigError, NotFoundError, ProtocolError
from services.common.ids import NodeKind
from services.common.task_api import RunnerState, TaskPeerState, TaskType
from services.common.task_client import TaskClient
from services.sn.core import runner_views
from services.sn.core.liveness import Pace
from tests.component.sn.conftest import PATIENCE, on_both_engines
from tests.component.sn.swops import RUNNER, Operator, Swop, new_id
from tests.component.sn.test_many_sns import joining
from tests.component.sn.test_nodes_api import QUICK, fetch

COMPLETE, ERROR = TaskPeerState.COMPLETE, TaskPeerState.ERROR


def refused(code):
    return pytest.raises(ProtocolError, check=lambda exc: exc.code == code)


@on_both_engines
async def test_a_run_from_assignment_to_reset(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    view = (await swop.listen(nodes=2)).view
    assert (view.name, view.state, view.run) == (RUNNER, RunnerState.IDLE, 0)
    assert [(s.uid, s.container, s.nodes, s.listening) for s in view.swops] == [
        (swop.uid, "swop1", 2, True)
    ]

    view = (await operator.assign()).view
    assert (view.state, view.run, view.task, view.type, view.mode, view.needed) == (
        RunnerState.ASSIGNED, 1, "t", TaskType.PULL_IMAGE, api.Assignment.PEERS, 1,
    )  # fmt: skip
    assert view.waiting_for == f"waiting for swop1 ({swop.uid[:8]}) to take the task"
    view = (await swop.enrol(1)).view
    assert (view.state, view.active) == (RunnerState.RUNNING, 1)
    view = (await swop.report(1, COMPLETE, said="pulled")).view
    assert (view.state, view.completed, view.waiting_for) == (RunnerState.COMPLETE, 1, "")
    (peer,) = view.swops[0].peers
    assert (peer.uid, peer.state, peer.description) == (swop.uid, COMPLETE, "pulled")
    assert view.created <= view.assigned <= view.started <= view.ended <= view.updated

    view = (await operator.client.reset(RUNNER, "next one")).view
    assert (view.state, view.run, view.task, view.needed) == (RunnerState.IDLE, 1, "", 0)
    assert [(s.listening, s.enrolled, s.peers) for s in view.swops] == [(True, False, [])]
    assert (await operator.client.reset(RUNNER, "twice")).view.state is RunnerState.IDLE
    view = (await swop.quit("done")).view
    assert view.swops == []


@on_both_engines
async def test_a_training_of_several_swops_needs_as_many_pairs_as_were_asked_for(swarm):
    sn = await swarm.sn()
    operator = Operator(swarm, sn)
    await operator.final_task("train", TaskType.RUN_SWARM)
    first, second = [await Swop(swarm, sn, name).register() for name in "12"]
    await first.listen(nodes=2)
    await second.listen(nodes=1)
    view = (await operator.assign("train", everybody=True)).view
    assert (view.needed, view.mode) == (3, api.Assignment.ALL)
    ours, theirs = [new_id(), new_id()], [new_id()]
    with refused("duplicate-peer"):
        await first.enrol(1, *ours)
        await second.enrol(1, ours[0])
    await second.enrol(1, *theirs)
    for peer in ours:
        view = (await first.report(1, COMPLETE, peer)).view
    assert (view.state, view.completed, view.active) == (RunnerState.RUNNING, 2, 1)
    assert "1 peer of swop2" in view.waiting_for, "never a success while one is missing (F17)"
    view = (await second.report(1, ERROR, theirs[0], "container ended with exit code 3")).view
    assert (view.state, view.failed) == (RunnerState.ERROR, 1)
    assert f"ASSIGN TASK train TO {RUNNER} TARGET" in view.waiting_for

    await operator.assign("train", target=second.uid)
    view = (await second.enrol(1, new_id())).view
    assert (view.state, view.active, view.failed, view.targets) == (
        RunnerState.RUNNING, 1, 0, [second.uid],
    )  # fmt: skip
    (retried,) = [s for s in view.swops if s.uid == second.uid]
    view = (await second.report(1, COMPLETE, retried.peers[0].uid)).view
    assert (view.state, view.completed) == (RunnerState.COMPLETE, 3)


@on_both_engines
async def test_what_the_contract_refuses_comes_with_its_word(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    tasks = operator.client
    await operator.final_task()
    with refused("unknown-task"):
        await operator.assign("nowhere")
    with refused("bad-value"):
        await operator.assign(api.ROOTTASK)
    with refused("no-swop"):
        await operator.assign(everybody=True)
    with refused("no-swop"):
        await operator.assign(target=swop.uid)
    with refused("wrong-run"):
        await swop.enrol(1)
    await swop.listen()
    await operator.assign(target=swop.uid)
    with pytest.raises(ProtocolError, match="RESET TASKRUNNER") as busy:
        await operator.assign()
    assert busy.value.code == "busy"
    with refused("not-enrolled"):
        await swop.report(1, COMPLETE)
    with refused("name-taken"):
        await tasks.create_runner(RUNNER)
    with pytest.raises(NotFoundError, match=f"CREATE TASKRUNNER other, or use one of {RUNNER}"):
        await tasks.runner("other")
    with pytest.raises(ConfigError, match="at least one peer"):
        await operator.assign(peers=0)
    aimless = api.Assign(task="t", mode=api.Assignment.TARGET, request=new_id())
    with pytest.raises(ConfigError, match="name the SWOP"):
        await tasks.assign(RUNNER, aimless)


@on_both_engines
async def test_what_was_said_in_a_run_is_refused_in_the_next(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    await operator.client.reset(RUNNER, "stuck", run=1)
    await operator.assign()
    for attempt in (
        swop.enrol(1), swop.report(1, COMPLETE), operator.client.reset(RUNNER, "late", run=1),
    ):  # fmt: skip
        with refused("wrong-run"):
            await attempt
    view = (await operator.client.runner(RUNNER)).view
    assert (view.state, view.run, view.active) == (RunnerState.ASSIGNED, 2, 0)


@on_both_engines
async def test_repeating_a_write_is_harmless(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    asked = api.Assign(task="t", mode=api.Assignment.PEERS, peers=1, request=new_id())
    steps = [
        lambda: swop.listen(), lambda: operator.client.assign(RUNNER, asked),
        lambda: swop.enrol(1), lambda: swop.report(1, TaskPeerState.ACTIVE, said="half"),
        lambda: swop.report(1, COMPLETE, said="all"),
        lambda: operator.client.reset(RUNNER, "done", run=1), lambda: swop.quit("bye"),
    ]  # fmt: skip
    for step in steps:
        once = await step()
        assert await step() == once


async def test_a_request_of_a_run_that_was_reset_starts_no_other_one(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    asked = api.Assign(task="t", mode=api.Assignment.PEERS, peers=1, request=new_id())
    await operator.client.assign(RUNNER, asked)
    await operator.client.reset(RUNNER, "done")
    with refused("stale-request"):
        await operator.client.assign(RUNNER, asked)
    assert (await operator.client.runner(RUNNER)).view.state is RunnerState.IDLE


@on_both_engines
async def test_a_new_taskrunner_works_beside_the_default_one(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    made = await operator.client.create_runner("zwei ter")
    assert (made.view.name, made.view.state) == ("zwei ter", RunnerState.IDLE)
    assert made.view.created > 0
    await swop.listen(runner="zwei ter")
    await operator.assign(runner="zwei ter")
    rows = [(r.name, r.state, r.task) for r in await operator.client.runners()]
    assert rows == [(RUNNER, RunnerState.IDLE, ""), ("zwei ter", RunnerState.ASSIGNED, "t")]
    assert (await operator.client.runner(RUNNER)).view.swops == []


# --- long polls


@on_both_engines
async def test_a_long_poll_wakes_with_every_change_and_with_nothing_else(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    state = await swop.listen()
    for step in (
        operator.assign, lambda: swop.enrol(1), lambda: swop.report(1, COMPLETE),
        lambda: operator.client.reset(RUNNER, ""),
    ):  # fmt: skip
        watching = asyncio.create_task(swop.client.watch(RUNNER, state.cursor, 60))
        answer = await step()
        async with asyncio.timeout(PATIENCE):
            state = await watching
        while state != answer:  # one write may be two events in two looks
            async with asyncio.timeout(PATIENCE):
                state = await swop.client.watch(RUNNER, state.cursor, 60)
    watching = asyncio.create_task(swop.client.watch(RUNNER, state.cursor, 1))
    await operator.client.create_runner("another")
    assert await watching == state


async def test_a_change_is_put_into_words_once_for_all_that_watch(swarm, monkeypatch):
    sn = await swarm.sn()
    operator, made = Operator(swarm, sn), []
    view_of = runner_views.view_of
    monkeypatch.setattr(
        runner_views, "view_of", lambda *given: made.append(view_of(*given)) or made[-1]
    )
    await operator.final_task()
    state = await operator.client.runner(RUNNER)
    clients = [TaskClient(swarm.client(sn, str(n), NodeKind.SWOP)) for n in range(8)]
    watching = [asyncio.create_task(c.watch(RUNNER, state.cursor, 30)) for c in clients]
    made.clear()
    answer = await operator.assign()
    assert await asyncio.gather(*watching) == [answer] * 8
    assert len(made) <= 2


async def test_an_sn_that_stops_answers_long_polls(swarm):
    sn = await swarm.sn()
    operator = Operator(swarm, sn)
    state = await operator.client.runner(RUNNER)
    watching = asyncio.create_task(operator.client.watch(RUNNER, state.cursor, 50))
    async with asyncio.timeout(PATIENCE):
        while not (await asyncio.wait([watching], timeout=0.1))[1]:
            pass
        await sn.stop()
        assert await watching == state


# --- SWOPs that are lost


async def beat(*swops):
    while True:
        await asyncio.gather(*(swop.sn.alive(swop.uid) for swop in swops))
        await asyncio.sleep(QUICK / 5)


@on_both_engines
async def test_a_silent_swop_is_reaped_and_goes_on_where_it_was(swarm):
    sn = await swarm.sn(pace=Pace(lost_after=QUICK, swop_after=QUICK))
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    state = await operator.until(lambda view: view.state is RunnerState.ERROR)
    (gone,) = state.view.swops
    assert (gone.listening, gone.enrolled) == (False, True)
    assert [(p.state, p.description) for p in gone.peers] == [(ERROR, "SWOP lost")]

    view = (await swop.listen()).view  # at once, before any heartbeat
    assert view.swops[0].listening
    view = (await swop.enrol(1)).view
    assert (view.state, view.active, view.failed) == (RunnerState.RUNNING, 1, 0)
    assert (await swop.report(1, COMPLETE)).view.state is RunnerState.COMPLETE


async def test_a_swop_at_work_has_time_to_come_back(swarm):
    """Its pairs go on while it is restarted, and nobody is told that they failed."""
    sn = await swarm.sn(pace=Pace(lost_after=QUICK, swop_after=600))
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    async with asyncio.timeout(PATIENCE):
        while any(node.alive for node in await operator.sn.nodes() if node.uid == swop.uid):
            await asyncio.sleep(QUICK / 5)
    view = (await operator.client.runner(RUNNER)).view
    assert (view.state, view.active, view.failed) == (RunnerState.RUNNING, 1, 0)
    await swop.listen()
    assert (await swop.report(1, COMPLETE)).view.state is RunnerState.COMPLETE


async def test_a_swop_that_signs_off_without_a_word_is_reaped(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await swop.listen()
    await swop.sn.leave_network(swop.uid, "stopped")
    await operator.until(lambda view: view.swops == [])


async def test_the_swops_of_a_dead_sn_are_reaped_by_another(swarm):
    pace = Pace(lost_after=QUICK, report_every=0.5, orphan_after=5)
    first = await swarm.sn("1", pace=pace)
    second = await swarm.sn("2", pace=pace, **joining(first))
    operator, swop = Operator(swarm, first), await Swop(swarm, second, "1").register()
    beating = asyncio.create_task(beat(swop))
    await swop.listen()
    await operator.until(lambda view: [s.listening for s in view.swops] == [True])
    beating.cancel()
    await asyncio.wait([beating])
    await second.stop()
    await operator.until(lambda view: view.swops == [])


# --- many, and after a restart


async def test_64_swops_are_listed_at_once(swarm):
    sn = await swarm.sn(pace=Pace(lost_after=600))
    operator = Operator(swarm, sn)
    await operator.final_task("train", TaskType.RUN_SWARM)
    client = swarm.client(sn, kind=NodeKind.SWOP)
    swops = [Swop(swarm, sn, str(number), client) for number in range(64)]
    await asyncio.gather(*(swop.register() for swop in swops))
    await asyncio.gather(*(swop.listen(nodes=2) for swop in swops))
    assert (await operator.assign("train", everybody=True)).view.needed == 128
    await asyncio.gather(*(swop.enrol(1, new_id(), new_id()) for swop in swops))
    state = await operator.client.runner(RUNNER)
    assert [s.uid for s in state.view.swops] == sorted(swop.uid for swop in swops)
    assert (state.view.active, state.view.state) == (128, RunnerState.RUNNING)
    started = time.monotonic()
    for _ in range(20):
        assert await operator.client.runner(RUNNER) == state
    assert (time.monotonic() - started) / 20 < 0.5, "seconds for each"


@on_both_engines
async def test_another_sn_and_a_restarted_one_tell_the_same(swarm):
    first = await swarm.sn()
    operator, swop = Operator(swarm, first), await Swop(swarm, first, "1").register()
    await operator.final_task()
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    told = await swop.report(1, COMPLETE, said="fine")
    second = Operator(swarm, await swarm.sn("2", **joining(first)))
    assert await second.client.watch(RUNNER, "", 0) == told
    await first.stop()
    again = Operator(swarm, await swarm.sn())
    assert (await again.client.runner(RUNNER)).view == told.view
    state = await again.client.watch(RUNNER, told.cursor, 0)
    assert state.cursor == told.cursor, "who waits may go on at any SN"


@on_both_engines
async def test_metrics_tell_the_taskrunners(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    await operator.assign()
    await swop.enrol(1)
    text = await fetch(swarm, sn, "/metrics")
    name = f'taskrunner="{RUNNER}"'
    assert f'swarm_taskrunner_state{{{name},state="RUNNING"}} 1.0\n' in text
    assert f'swarm_taskrunner_state{{{name},state="IDLE"}} 0.0\n' in text
    assert f'swarm_taskrunner_peers{{{name},state="ACTIVE"}} 1.0\n' in text
