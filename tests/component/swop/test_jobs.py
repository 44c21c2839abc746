"""The work of runs where tasks are hostile or SWOP itself has a bug."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.common.ids import NodeId
from services.common.task_api import TaskPeerState, TaskType
from services.common.task_definition import TaskDefinition, parse
from services.swop.adapters.jobs import Jobs
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.adapters.work import Tools
from services.swop.core import events as ev
from services.swop.core.plan import Surroundings
from services.swop.core.policy import Policy, ProcessPolicy
from services.swop.core.profile import parse as parse_profile
from tests.unit.common.task_files import RUN

ME = NodeId("a" * 32)
PROFILE = """
groupname: demo
nodes:
- slnodedef: {idx: 0, identity: [], slhostname: null, slenvvars: null, privatedata: null,
    usrhostname: null, usrenvvars: null}
"""
PEER = ev.Peer(0, NodeId("b" * 32))
START = ev.Start(1, "t", TaskType.RUN_SWARM, (PEER,))


class Place:
    """Jobs, and the task that they are given next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = ProcessEngine(folder / "engine", "127.0.0.1", "127.0.0.1")
        self.task: tuple[TaskDefinition, str] | Exception = ValueError("a bug")

    def tools(self) -> Tools:
        profile, _ = parse_profile(PROFILE, "p.yaml")
        policy = Policy(binds=("/*",), process=ProcessPolicy(entrypoints=("*",)))
        return Tools(
            runner="runner", engine=self.engine, profile=profile, policy=policy,
            around=Surroundings(ME, "process/sl", {"SN_NODE_IP": "127.0.0.1"}),
            usr_dir=self.folder, scratch=self.folder / "scratch", isolated=False,
            own_images=(), keep_containers=False, grace=0.0, task=self._task,
            had_session=self._no_session,
        )  # fmt: skip

    async def _task(self, name: str) -> tuple[TaskDefinition, str]:
        if isinstance(self.task, Exception):
            raise self.task
        return self.task

    async def _no_session(self, peer: NodeId) -> bool:
        return False

    async def end(self) -> ev.PeerEnded:
        """How the peer of START ends."""
        ended: asyncio.Queue[ev.PeerEnded] = asyncio.Queue()
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            Jobs(self.tools(), group, ended.put_nowait).start(START)
            return await ended.get()


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    await made.engine.check()
    return made


async def test_a_bug_fails_the_peer_and_not_the_swop(place: Place):
    ended = await place.end()
    assert ended.outcome.state is TaskPeerState.ERROR
    assert ended.outcome.description == "SWOP failed, see its log: ValueError: a bug"


@pytest.mark.parametrize("outcome", ["ROOTTASK", "a label", "\u3042" * 160, "../x", "-x", " "])
async def test_a_prerequisite_that_makes_no_image_is_named(place: Place, outcome: str):
    place.task = parse(RUN, "t.yaml"), outcome
    said = (await place.end()).outcome.description
    assert said.startswith("Prereq ")
    assert said.endswith("is no image. Name the task that builds or pulls it")
    assert len(said) <= 160


async def test_what_a_killed_swop_had_under_way_is_swept(place: Place):
    left = place.folder / "scratch" / "content-1-abcd"
    left.mkdir(parents=True)
    async with asyncio.TaskGroup() as group:
        await Jobs(place.tools(), group, print).sweep(0)
    assert not left.exists()


def test_no_thread_keeps_a_program_from_ending():
    script = """
import asyncio, time
from services.swop.adapters.threads import in_thread

async def main():
    task = asyncio.ensure_future(in_thread(lambda: time.sleep(100)))
    await asyncio.sleep(0)
    task.cancel()

asyncio.run(main())
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert time.monotonic() - began < 50
