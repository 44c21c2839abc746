"""F14, F17: a SWOP killed at other moments, an SN that is away, two SWOPs that are too alike.

Real SN, chain, SWOPs with the process engine, SLs and programs, as in `test_swop`.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common import task_api as api
from services.common.task_api import RunnerState, TaskPeerState
from tests.component.swop.stand import POLICY, Stand, Swop, peers
from tests.faults.standing import until

pytestmark = pytest.mark.swarm


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    made.standing.start_sn()
    yield made
    await made.close()


async def test_killed_before_it_enrolled(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("run", "loopback", build)
    swop.kill()
    await stand.assign(task, 1)
    swop.start()
    view = await stand.ended()
    assert view.state is RunnerState.COMPLETE, stand.story()
    await swop.gone()


async def test_what_ended_while_the_sn_was_away_is_reported(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "wait gate 3", build), 1)
    await stand.until(lambda v: v.active == 1, "not enrolled")
    await swop.programs(2)
    stand.standing.kill_sn()
    [data] = swop.folder.glob("data-*")
    (data / "gate").touch()
    await until(lambda: "ML exited with code 3" in swop.said(), "the program did not end")
    stand.standing.start_sn()
    view = await stand.until(lambda v: v.failed == 1, "not reported")
    assert peers(view)[0].description.startswith("ML exited with code 3"), peers(view)
    await swop.gone()


async def test_killed_after_the_end_and_before_the_report(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "wait gate 3", build), 1)
    await stand.until(lambda v: v.active == 1, "not enrolled")
    await swop.programs(2)
    stand.standing.kill_sn()
    [data] = swop.folder.glob("data-*")
    (data / "gate").touch()
    await until(lambda: "ML exited with code 3" in swop.said(), "the program did not end")
    swop.kill()
    stand.standing.start_sn()
    swop.start()
    view = await stand.until(lambda v: v.failed == 1, "not reported")
    assert peers(view)[0].description.startswith("ML exited with code 3"), peers(view)
    await swop.gone()


async def test_a_program_that_prints_100_mb(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "flood 100", build), 1)
    view = await stand.ended()
    assert peers(view)[0].description == "ML exited with code 3: the end"
    await swop.gone()
    [log] = (swop.usr / "logs").glob("*-u-*")
    assert log.stat().st_size < 70 << 20
    assert log.read_bytes().endswith(b"the end")


async def test_told_to_end_it_takes_a_stubborn_program_along(stand: Stand):
    swop = stand.swop("swop-1", nodes=1, SWOP_ON_STOP="stop")
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "stubborn", build), 1)
    await swop.programs(2)
    [data] = swop.folder.glob("data-*")
    await until((data / "stubborn").exists, "the program does not run")
    began = time.monotonic()
    assert await asyncio.to_thread(swop.end) == 0
    assert time.monotonic() - began < 10
    await swop.gone()
    view = await stand.until(lambda v: v.failed == 1, "not reported")
    assert peers(view)[0].description == "SWOP was stopped"


async def test_two_swops_of_one_group_share_a_folder(stand: Stand, tmp_path: Path):
    """Each has its own pairs, though volumes of both have the same names."""
    more = {"GROUP": "same", "SWOP_PROCESS_DIR": str(tmp_path / "engine")}
    one, two = (stand.swop(f"swop-{n}", nodes=1, **more) for n in (1, 2))
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "train 2", build, MIN_PEERS="2"), 2)
    view = await stand.ended()
    assert view.state is RunnerState.COMPLETE, stand.story()
    assert [peer.description for peer in peers(view)] == ["training complete"] * 2
    assert {swop.uid for swop in view.swops} == {one.uid, two.uid}
    left = tmp_path / "engine" / "containers"
    await until(lambda: not list(left.iterdir()), "containers are left")


async def test_the_same_state_twice_is_refused(stand: Stand):
    one = stand.swop("swop-1", nodes=1)
    await stand.listening()
    twin = Swop(stand, "twin", 1, POLICY, {"SWOP_STATE_DIR": str(one.usr / ".swop-swop_profile")})
    stand.swops.append(twin)
    twin.start()
    assert twin.wait() == 2
    assert "another SWOP uses" in twin.said().splitlines()[-1]
    assert "SWOP_STATE_DIR of its own" in twin.said().splitlines()[-1]


async def test_content_leaves_volumes_of_others_alone(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await stand.listening()
    volume = swop.usr / ".swop-swop_profile" / "engine" / "volumes" / "sl-cli-lib"
    volume.mkdir()
    body = (
        "ContentType: BUILDCONTENT\nOpsList:\n"
        "- Operation: DOWNLOAD\n  Target: http://127.0.0.1:1/x\n  Options: [Out: x]\n"
    )
    kind = api.TaskType.MAKE_SWARM_USER_CONTENT
    await stand.assign(await stand.task("content", kind, body, outcome="sl-cli-lib"), 1)
    [peer] = peers(await stand.ended())
    assert peer.state is TaskPeerState.ERROR
    assert peer.description == (
        "Outcome would overwrite the volume sl-cli-lib, which no task made; overwrite of the "
        "policy would allow it"
    )


async def test_a_reset_at_every_moment_leaves_nothing(stand: Stand):
    swop = stand.swop("swop-1")
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("run", "idle", build)
    for number in range(6):
        await stand.assign(task, 2)
        await asyncio.sleep(0.15 * number)  # not to wait for something: to be early or late
        await stand.reset()
    await stand.assign(await stand.swarm("last", "loopback", build), 2)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()
    await swop.gone()
    assert swop.end(signal.SIGTERM) == 0
