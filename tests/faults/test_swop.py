"""F14: a SWOP killed in mid-task, its programs killed, resets while it is away.

Real SN, chain, SWOPs with the process engine, SLs and programs. In the end the ledger is right and
nothing that was started is left.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.common.task_api import RunnerState, TaskPeerState
from tests.component.swop.stand import Stand, Swop, peers

pytestmark = pytest.mark.swarm


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    made.standing.start_sn()
    yield made
    await made.close()


async def _training(stand: Stand, swop: Swop, count: int = 2) -> None:
    """A task under way, whose programs wait for `_open_gates` after their first batch."""
    await stand.listening()
    build = await stand.image()
    task = await stand.swarm("run", "train 2", build, MIN_PEERS=str(count), GATE="gate")
    await stand.assign(task, count)
    await stand.until(lambda v: v.active == count, "not running")
    await swop.programs(2 * count)
    await stand.training(count)


def _open_gates(swop: Swop) -> None:
    for folder in swop.folder.glob("data-*"):
        (folder / "gate").touch()


async def _all_complete(stand: Stand, swop: Swop) -> None:
    view = await stand.ended()
    assert view.state is RunnerState.COMPLETE, stand.story()
    assert {peer.description for peer in peers(view)} == {"training complete"}
    await swop.gone()


async def test_killed_in_mid_task_it_goes_on_with_its_programs(stand: Stand):
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    before = peers(await stand.until(lambda v: True, ""))
    programs = sorted(swop.running())
    swop.kill()
    swop.start()
    await stand.until(lambda v: "was there already" in swop.said(), "not adopted")
    assert sorted(set(swop.running()) & set(programs)) == programs, "the same processes go on"
    _open_gates(swop)
    await _all_complete(stand, swop)
    after = peers(await stand.until(lambda v: True, ""))
    assert [peer.uid for peer in after] == [peer.uid for peer in before]


async def test_what_ends_while_it_is_away_is_reported(stand: Stand):
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    pair = [swop.program("u", 1), swop.program("s", 1)]
    swop.kill()
    os.kill(pair[0], signal.SIGKILL)
    async with asyncio.timeout(20):
        while any(pid in swop.running() for pid in pair):
            await asyncio.sleep(0.05)  # they are not our children
    swop.start()
    view = await stand.until(lambda v: v.failed == 1, "not reported")
    [failed] = [peer for peer in peers(view) if peer.state is TaskPeerState.ERROR]
    assert failed.description.startswith("ML was killed by SIGKILL (exit code -9"), failed
    assert view.active == 1, "the other pair goes on"
    await stand.reset()
    await swop.gone()


async def test_lost_and_back_again(stand: Stand):
    """The task waits for it, as long as its programs may be at work."""
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    swop.kill()
    await stand.lost(swop.uid)
    view = await stand.until(lambda v: True, "")
    assert (view.state, view.active, view.failed) == (RunnerState.RUNNING, 2, 0)
    swop.start()
    await stand.until(lambda v: "was there already" in swop.said(), "not adopted")
    _open_gates(swop)
    await _all_complete(stand, swop)


async def test_reset_while_it_is_away(stand: Stand):
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    swop.kill()
    await stand.reset()
    swop.start()
    await swop.gone()
    await stand.listening()
    await stand.assign(await stand.swarm("next", "loopback", "build"), 2)
    assert (await stand.ended()).state is RunnerState.COMPLETE, stand.story()


async def test_killed_while_it_starts_a_pair(stand: Stand):
    swop = stand.swop("swop-1", nodes=4)
    await stand.listening()
    build = await stand.image()
    await stand.assign(await stand.swarm("run", "train 1", build, MIN_PEERS="4"), 4)
    await stand.until(lambda v: v.active == 4, "not enrolled")
    swop.kill()
    swop.start()
    await _all_complete(stand, swop)


async def test_an_ml_program_killed_for_memory(stand: Stand):
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    os.kill(swop.program("u", 0), signal.SIGKILL)
    view = await stand.until(lambda v: v.failed >= 1, "not noticed")
    failed = [peer for peer in peers(view) if peer.state is TaskPeerState.ERROR]
    assert failed[0].description.startswith("ML was killed by SIGKILL")
    await stand.reset()
    await swop.gone()


async def test_an_sl_that_crashes_stops_its_program(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await _training(stand, swop, count=1)
    os.kill(swop.program("s", 0), signal.SIGKILL)
    view = await stand.ended()
    [peer] = peers(view)
    assert peer.description.startswith("SL was killed by SIGKILL"), peer
    await swop.gone()


async def test_a_shim_that_is_killed_takes_its_program_along(stand: Stand):
    swop = stand.swop("swop-1", nodes=1)
    await _training(stand, swop, count=1)
    [folder] = [each for each in swop.containers() if "-u-" in each.name]
    os.kill(swop.shim(folder), signal.SIGKILL)
    view = await stand.ended()
    assert view.state is RunnerState.ERROR
    assert peers(view)[0].description.startswith("ML was killed by SIGKILL")
    await swop.gone()


async def test_told_to_end_it_leaves_its_programs_to_the_next(stand: Stand):
    swop = stand.swop("swop-1")
    await _training(stand, swop)
    assert swop.end() == 0
    swop.start()
    await stand.until(lambda v: "was there already" in swop.said(), "not adopted")
    _open_gates(swop)
    await _all_complete(stand, swop)


async def test_told_to_end_it_takes_its_programs_along(stand: Stand):
    swop = stand.swop("swop-1", SWOP_ON_STOP="stop")
    await _training(stand, swop)
    assert swop.end() == 0
    await swop.gone()
    view = await stand.ended()
    assert {peer.description for peer in peers(view)} == {"SWOP was stopped"}
    assert not any(each.listening for each in view.swops)
