"""A run of ``compose.yaml`` under a name of its own."""

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from compose.plan import REPOSITORY
from tests.containers.conftest import grace

PATIENCE = 900
"""Seconds for a whole run on a machine that does other things, too."""
FILE = str(REPOSITORY / "compose" / "compose.yaml")


class Run:
    """The containers of ``compose.yaml``, and what they leave.

    Args:
        folder: gets the run folder.
        client: of the engine.
    """

    def __init__(self, folder: Path, client: docker.DockerClient) -> None:
        self.mark = f"swarmtest-{uuid.uuid4().hex[:8]}"
        self.folder, self._client = folder / "run", client
        self._log = folder / "up.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, "COMPOSE_PROJECT_NAME": self.mark}
        self.variables(
            SWARM_RUN_DIR=str(self.folder), MAX_EPOCHS="2",
            SL_STRAGGLER_TIMEOUT=str(PATIENCE),  # nobody is given up because a test is slow
        )  # fmt: skip

    def variables(self, **more: str) -> None:
        """Set variables of the composition."""
        self._environment |= more

    def program(self, text: str) -> None:
        """Make ``text`` the ML program; the digits example is there as ``train_digits``."""
        folder = self.folder.parent / "examples" / "mine"
        folder.mkdir(parents=True)
        source = REPOSITORY / "examples" / "digits"
        shutil.copy(source / "data.py", folder)
        shutil.copy(source / "train.py", folder / "train_digits.py")
        (folder / "train.py").write_text(text)
        self.variables(SWARM_EXAMPLES=str(folder.parent), EXAMPLE="mine", ML_RESTARTS="2")

    def example(self, name: str) -> None:
        """Run one of the repository's examples, as it is, but for one epoch only."""
        self.variables(SWARM_EXAMPLES=str(REPOSITORY / "examples"), EXAMPLE=name, MAX_EPOCHS="1")

    # --- doing

    def start(self) -> None:
        """Begin ``up --exit-code-from result``."""
        words = ["docker", "compose", "-f", FILE, "up", "--exit-code-from", "result"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log
            )

    def end(self) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def whole(self) -> int:
        """Run from start to end; the exit code."""
        self.start()
        return self.end()

    def compose(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Another command of Compose."""
        return self._call("docker", "compose", "-f", FILE, *words)

    def make(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a target of the Makefile to its end."""
        return self._call("make", "--no-print-directory", *words, f"RUN_DIR={self.folder}")

    def _call(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, cwd=REPOSITORY, env=self._environment, text=True, timeout=PATIENCE, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def stop(self, container: Container) -> None:
        """`docker stop`, then look at it."""
        container.stop(timeout=grace())  # then it would be killed
        container.reload()

    # --- looking

    def service(self, name: str) -> Container:
        """The container of a service."""
        return self._client.containers.get(f"{self.mark}-{name}")

    def said(self, service: str = "result") -> str:
        """What a service wrote; empty before it was there."""
        try:
            return self.service(service).logs().decode()
        except docker.errors.NotFound:
            return ""

    def until(self, pattern: str, service: str = "result", after: int = 0) -> "re.Match[str]":
        """Wait until a service has said something; the last time that it did.

        Args:
            pattern: regular expression for it.
            service: its name.
            after: where in what it said; what came before does not count.
        """
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = re.finditer(pattern, self.said(service)[after:])
            return bool(found)

        self.wait(look, f"{service} said {pattern}")
        return found[-1]

    def wait(self, what: Callable[[], object], why: str) -> None:
        """Wait for a condition while the run goes on."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            over = self._process is not None and self._process.poll() is not None
            assert not over, f"the run was over before {why}:\n{self.printed()}"
            assert time.monotonic() < deadline, f"not in {PATIENCE} s: {why}\n{self.said()}"
            time.sleep(0.3)

    def printed(self) -> str:
        """What ``up`` printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def result(self) -> dict[str, Any]:
        """What ``result`` wrote for programs."""
        found: dict[str, Any] = json.loads((self.folder / "results" / "result.json").read_text())
        return found

    def network(self) -> Any:
        """Its network."""
        return self._client.networks.get(self.mark)

    def left(self) -> list[str]:
        """What is left of it on the engine."""
        things = [*self._client.containers.list(all=True), *self._client.volumes.list()]
        things += self._client.networks.list()
        return [each.name for each in things if self.mark in each.name]

    def clear(self) -> None:
        """Remove whatever is left of it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.compose("down", "--volumes", "--timeout", "2")
        shutil.rmtree(self.folder, ignore_errors=True)
