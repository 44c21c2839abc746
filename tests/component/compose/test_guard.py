"""The guard ends the containers of SWOPs' process engines, whoever died before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compose import guard
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.core.engine import BuildSpec, ContainerSpec, Role
from tests.component.compose.conftest import wait_gone

STUBBORN = (
    "import os, signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}\\n')\n"
    "time.sleep(1000)\n"
)


@pytest.fixture
async def pids(tmp_path):
    """A container that does not want to end, and its child: their process ids."""
    engine = ProcessEngine(tmp_path / "engine", "127.0.0.1", "127.0.0.1")
    await engine.check()
    await engine.build(BuildSpec("env:latest", "FROM x", None), lambda line: None)
    spec = ContainerSpec(
        Role.ML, "stubborn", "env:latest", ("python3",), ("-c", STUBBORN, str(tmp_path / "pids")),
    )  # fmt: skip
    await engine.start(await engine.create(spec))
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        os.sched_yield()  # a file has no event to wait for
    yield [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await engine.remove("stubborn")


async def test_when_the_pipe_closes(tmp_path, pids):
    engine = tmp_path / "engine"
    assert guard.runs(engine / "containers" / "stubborn")
    subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__], check=True, text=True, timeout=60,
        input=f"containers {engine}/containers\ncontainers {engine}/none\nrm {engine}\n",
    )  # fmt: skip
    for pid in pids:
        wait_gone(pid, 1.0)
    assert not engine.exists()


async def test_a_container_that_ended_is_left_alone(tmp_path, pids):
    folder = tmp_path / "engine" / "containers" / "stubborn"
    guard.end_containers([folder])
    for pid in pids:
        wait_gone(pid, 1.0)
    shim = Path(folder / "shim.json")
    shim.write_text(f'{{"pid": {os.getpid()}}}')  # a number that somebody else has by now
    guard.end_containers([folder])  # and we live
    assert not guard.runs(folder)
