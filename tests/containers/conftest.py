"""Compositions of our images on this machine's engine, under names that nothing else has.

They run where an engine runs containers (as `tests/component/swop` finds out) and has our images,
built from these sources; else they are skipped and say why.
"""

import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from compose.images.catalogue import IMAGES, SOURCES, VERSION, full_name
from compose.images.sources import digest
from compose.plan import REPOSITORY
from services.swop.core.engine import LABEL_ROLE, LABEL_SWOP
from tests.component.swop import docker_place

TAG = os.environ.get("SWARM_TAG") or VERSION
NEEDED = ("license", "sn", "sl", "swop", "swci", "tools", "ml-pytorch")
PATIENCE = 900
"""Seconds for a whole flow on a machine that does other things, too."""


@cache
def why_not(needed: tuple[str, ...] = NEEDED) -> str | None:
    """Why there can be no such tests here; None where there can.

    Args:
        needed: images that the tests want.
    """
    if reason := docker_place.why_not():
        return reason
    if shutil.which("docker") is None:
        return "there is no docker command, only an engine"
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        return "the docker command has no compose plugin"
    client = docker.DockerClient(docker_place.URL, version="auto", timeout=60)
    try:
        for name in needed:
            image = full_name(name, tag=TAG)
            try:
                found = client.images.get(image).labels.get(SOURCES)
            except docker.errors.ImageNotFound:
                return f"image {image} is missing: make images"
            if IMAGES[name].service and found != digest(REPOSITORY, name):
                return f"image {image} was built from other sources than these: make images"
    finally:
        client.close()
    return None


def grace() -> int:
    """Seconds that `docker stop` gives: its own ten, and more on a machine that is busy."""
    return 60 if os.getloadavg()[0] > (os.cpu_count() or 1) else 10


class Composition:
    """The flow of ``compose.swop.yaml`` in containers of this test's own.

    Args:
        folder: gets the flow's files and the run folder.
        client: of the engine.
    """

    def __init__(self, folder: Path, client: docker.DockerClient) -> None:
        self.mark = f"swarmtest-{uuid.uuid4().hex[:8]}"
        self.run, self._flow, self._client = folder / "run", folder / "flow", client
        self._environment = {
            **os.environ, "COMPOSE_PROJECT_NAME": self.mark, "SWARM_FLOW": str(self._flow),
        }  # fmt: skip
        self._environment.pop("COMPOSE_PROFILES", None)
        self._copy()

    def _copy(self) -> None:
        """The example as it is, but for names that all flows of a host share."""
        source = REPOSITORY / "examples" / "digits"
        shutil.copytree(source, self._flow, ignore=shutil.ignore_patterns("__pycache__"))
        self.edit("swop/*_profile.yaml", r"groupname: ", f"groupname: {self.mark}-")
        self.edit("swci/taskdefs/user*.yaml", r"Outcome: ", f"Outcome: {self.mark}-")

    def edit(self, pattern: str, old: str, new: str) -> None:
        """Replace a regular expression in files of the flow; it must be there."""
        for path in self._flow.glob(pattern):
            text, times = re.subn(old, new, path.read_text())
            assert times, f"{path} has no {old}"
            path.write_text(text)

    def variables(self, **more: str) -> None:
        """Set variables of the composition."""
        self._environment |= more

    # --- doing

    def make(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a target of the Makefile to its end."""
        return self._call("make", "--no-print-directory", *words, f"RUN_DIR={self.run}")

    def compose(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Compose, as the Makefile does."""
        self.run.mkdir(exist_ok=True)
        self.variables(SWARM_RUN_DIR=str(self.run))
        file = str(REPOSITORY / "compose" / "compose.swop.yaml")
        return self._call("docker", "compose", "-f", file, *words)

    def _call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, cwd=REPOSITORY, env=self._environment, text=True, timeout=PATIENCE, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def start(self) -> None:
        """Start it without following it."""
        done = self.compose("up", "--detach")
        assert done.returncode == 0, done.stdout

    def service(self, name: str) -> Container:
        """The container of a service."""
        return self._client.containers.get(f"{self.mark}-{name}")

    def end_of_script(self) -> int:
        """Wait until SWCI's script is over; its exit code."""
        return int(self.service("swci").wait(timeout=PATIENCE)["StatusCode"])

    def transcript(self) -> str:
        """What SWCI printed."""
        return self.service("swci").logs(stderr=False).decode()

    # --- looking

    def pairs(self, role: str, state: str = "running") -> list[Container]:
        """Containers of this test's SWOPs."""
        filters = {"label": [LABEL_SWOP, f"{LABEL_ROLE}={role}"]}
        if state != "all":
            filters["status"] = state
        found = self._client.containers.list(all=True, filters=filters)
        return [each for each in found if each.name.startswith(self.mark)]

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait for a condition, while SWCI's script runs."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            over = self.service("swci").status == "exited"
            assert not over, f"the script was over before {why}:\n{self.transcript()}"
            assert time.monotonic() < deadline, f"not in {PATIENCE} s: {why}"
            time.sleep(0.2)

    def left(self) -> list[str]:
        """What is left of it on the engine."""
        things = [*self._client.containers.list(all=True), *self._client.volumes.list()]
        things += self._client.networks.list()
        return [each.name for each in things if self.mark in each.name]

    def clear(self) -> None:
        """Remove whatever is left of it."""
        self.make("down-swop")
        for container in self._client.containers.list(all=True):
            if self.mark in container.name:
                container.remove(force=True, v=True)
        for image in self._client.images.list(filters={"reference": f"{self.mark}*"}):
            self._client.images.remove(image.id, force=True)


@pytest.fixture
def composition(tmp_path: Path) -> Iterator[Composition]:
    """A flow that has not been started."""
    if reason := why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    client = docker.DockerClient(docker_place.URL, version="auto", timeout=120)
    made = Composition(tmp_path, client)
    try:
        yield made
    finally:
        made.clear()
        left = made.left()
        client.close()
        shutil.rmtree(made.run, ignore_errors=True)
    assert left == []
