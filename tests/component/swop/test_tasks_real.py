"""Tasks from the ledger to processes and back: a real SN, a real chain, real SLs and programs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common import task_api as api
from services.common.task_api import RunnerState, TaskPeerState
from tests.component.swop.stand import Stand, peers

pytestmark = pytest.mark.swarm


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    made.standing.start_sn()
    yield made
    await made.close()


async def test_two_swops_build_and_train(stand: Stand):
    one, two = stand.swop("swop-1"), stand.swop("swop-2")
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("run", "train 2", build, MIN_PEERS="4")
    await stand.assign(task, 4)
    view = await stand.ended()
    said = stand.story()
    assert view.state is RunnerState.COMPLETE, said
    assert [peer.description for peer in peers(view)] == ["training complete"] * 4
    models = [path.read_text() for swop in (one, two) for path in swop.folder.glob("data-*/*.txt")]
    assert len(models) == 4
    assert len(set(models)) == 1, "all trained the same model"
    await one.gone()
    await two.gone()
    logs = sorted(path.name for path in (one.usr / "logs").glob("*.log"))
    assert ["-s-0-" in logs[0], "-s-1-" in logs[1], "-u-0-" in logs[2], "-u-1-" in logs[3]]
    assert "Enrol was refused" not in said
    await stand.reset()
    await stand.until(lambda v: v.state is RunnerState.IDLE, "not reset")


async def test_a_program_without_a_session_completes(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("alone", "loopback", build), 1)
    view = await stand.ended()
    assert view.state is RunnerState.COMPLETE, stand.story()
    assert [peer.description for peer in peers(view)] == ["no swarm session"]
    await swop.gone()


async def test_a_program_that_crashes_fails_its_peer(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("broken", "crash", build), 1)
    view = await stand.ended()
    [peer] = peers(view)
    assert (view.state, peer.state) == (RunnerState.ERROR, TaskPeerState.ERROR)
    assert peer.description.startswith("ML exited with code 1: ")
    assert peer.description.endswith("ValueError: there is no data in /nowhere")
    await swop.gone()
    [log] = (swop.usr / "logs").glob("*-u-*")
    assert "Traceback" in log.read_text()
    await stand.assign("broken", 0, swop.uid)
    view = await stand.until(
        lambda v: [p.uid for p in peers(v)] != [peer.uid] and v.failed == 1, "not tried again"
    )
    assert view.state is RunnerState.ERROR


async def test_a_missing_image_is_said_at_once(stand: Stand):
    stand.swop("swop-1", nodes=1)
    await stand.listening()
    pull = "Tag: '1'\nRepoName: ml\nOrgAndReg: here/\nAuth: null"
    prereq = await stand.task("pull", api.TaskType.PULL_IMAGE, pull, outcome="here/ml:1")
    await stand.assign(await stand.swarm("early", "train 1", prereq), 1)
    view = await stand.ended()
    assert view.state is RunnerState.ERROR
    assert [peer.description for peer in peers(view)] == [
        "image here/ml:1 is missing on this host: run the task that makes it first"
    ]


async def test_what_the_policy_forbids_is_on_the_ledger(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    (swop.usr / "policy.yaml").write_text("process: {entrypoints: []}\n")
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("forbidden", "crash", build), 1)
    view = await stand.ended()
    assert view.state is RunnerState.ERROR
    assert all(p.description.startswith("refused by the policy: ") for p in peers(view))


async def test_reset_in_mid_run_leaves_nothing(stand: Stand):
    swop = stand.swop("swop-1", nodes=2)
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("long", "idle", build)
    await stand.assign(task, 2)
    await stand.until(lambda v: v.active == 2, "not running")
    await stand.reset()
    await stand.until(lambda v: v.state is RunnerState.IDLE, "not reset")
    await swop.gone()
    await stand.assign(await stand.swarm("next", "loopback", build), 2)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()
