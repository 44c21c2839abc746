"""A composition as its own process, with fake services, read through its --json output."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.plan import REPOSITORY

HERE = Path(__file__).resolve().parent
PATIENCE = 60.0


def wait_gone(pid: int, seconds: float = 15.0) -> None:
    """Wait until a process that need not be our child has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([handle], [], [], seconds)
    finally:
        os.close(handle)
    assert ready, f"process {pid} is still there after {seconds} s"


class Composition:
    """A running `compose.local` and what it said so far."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "drive.py"), *arguments], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pids: dict[str, int] = {}
        self.last: dict[str, Any] = {}

    def until(self, happened: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read status lines until one is as wanted."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        for line in self.process.stdout:
            assert time.monotonic() < deadline, f"still waiting; last: {self.last}"
            self.last = json.loads(line)
            for node in self.last.get("nodes", []):
                if isinstance(node, dict):
                    self.pids[node["name"]] = node["pid"]
            if happened(self.last):
                return self.last
        raise AssertionError(f"it ended: {self.process.communicate()[1]}; last: {self.last}")

    def until_enrolled(self, count: int) -> dict[str, Any]:
        """Read until that many SLs are in the round."""
        return self.until(lambda s: sum(n["round"] > 0 for n in s.get("nodes", [])) >= count)

    def result(self) -> dict[str, Any]:
        """Read to the end."""
        result = self.until(lambda status: status["event"] == "result")
        assert self.process.wait(PATIENCE) == result["exit_code"]
        return result

    def assert_nothing_left(self) -> None:
        """Every process that it ever named is gone."""
        assert self.pids
        for pid in self.pids.values():
            wait_gone(pid)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Composition]]:
    """Starts `compose.local WORDS` with a run folder tmp_path/run, telling JSON lines."""
    started: list[Composition] = []
    (tmp_path / "fake").mkdir()
    environment = {
        **os.environ, "FAKE_SWARM": str(tmp_path / "fake"), "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip

    def start(command: str, *words: str, **variables: str) -> Composition:
        common = ["--run-dir", str(tmp_path / "run"), "--json"]
        composition = Composition([command, *common, *words], {**environment, **variables})
        started.append(composition)
        return composition

    yield start
    for composition in started:
        if composition.process.poll() is None:
            composition.process.send_signal(signal.SIGKILL)
        composition.process.communicate()


@pytest.fixture
def compose(launch: Callable[..., Composition]) -> Callable[..., Composition]:
    """Starts `compose.local run ... -- fake_program BEHAVIOUR`, or `up ...`."""

    def start(behaviour: str, *options: str, nodes: int = 2, **variables: str) -> Composition:
        program = ["--", "python", str(HERE / "fake_program.py"), behaviour, "{index}"]
        words = ["--nodes", str(nodes), *options]
        if behaviour == "up":
            return launch("up", *words, **variables)
        return launch("run", *words, *program, **variables)

    return start
