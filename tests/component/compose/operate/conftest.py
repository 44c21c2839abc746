"""Two places for the ``swarm`` command: a fake docker, and a real engine with a tiny image."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest

from compose.operate.main import main
from tests.component.swop import docker_place

TINY = docker_place.IMAGE
FOREVER = "sleep 600"
BUSY = ["--cmd", FOREVER, "--stop-signal=KILL"]
"""A container that goes on until it is stopped, and then ends at once."""


class Place:
    """Where the command runs; each test has containers of its own names."""

    def __init__(self, capfd):
        self.mark = f"swarmcmd-{uuid.uuid4().hex[:8]}"
        self._capfd = capfd
        self.out = self.err = ""

    def name(self, name):
        return f"{self.mark}-{name}"

    def swarm(self, *words):
        """Run the command in this process; its exit code."""
        self._capfd.readouterr()
        code = main([str(word) for word in words])
        self.out, self.err = self._capfd.readouterr()
        return code

    def run(self, component, name, *words):
        """Run a run command with the tiny image."""
        needed = {"sn": ["--host-ip=h", "--sentinel"], "sl": ["--host-ip=h", "--sn-ip=s"]}
        label = f"--label={docker_place.LABEL}={self.mark}"
        return self.swarm(
            f"run-{component}", f"--name={self.name(name)}", f"--image={TINY}", label,
            *needed.get(component, ()), *words,
        )  # fmt: skip

    def docker(self, *words):
        done = subprocess.run(["docker", *words], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def inspect(self, name):
        return json.loads(self.docker("container", "inspect", self.name(name)))[0]

    def left(self):
        """Names of this test's containers, without the mark."""
        mine = f"--filter=name={self.mark}"
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc", mine).split()
        if not ids:
            return []
        found = json.loads(self.docker("container", "inspect", *map(bytes.decode, ids)))
        return sorted(each["Name"][len(self.mark) + 2 :] for each in found)


class FakePlace(Place):
    """A fake docker that is first on the PATH."""

    def __init__(self, capfd, folder):
        super().__init__(capfd)
        self._folder = folder
        command = folder / "docker"
        shutil.copy(Path(__file__).with_name("fake_docker.py"), command)
        text = command.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
        command.write_text(text)
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        text = "Options:\n      --brand-new string   A new option\n"
        self.set(
            runs=True, images=[TINY], networks=["bridge", self.mark], containers=[], made=[],
            stubborn=[], going=[], volumes={}, help=text,
        )  # fmt: skip

    def set(self, **changes):
        path = self._folder / "state.json"
        state = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(state | changes))

    def asked(self, *words):
        """What it was asked for that begins with these words."""
        lines = (self._folder / "asked").read_text().splitlines()
        return [each for each in map(json.loads, lines) if each[: len(words)] == list(words)]

    def info_file(self, name):
        return self.inspect(name)["files"]["/tmp/container_info_file"]


class RealPlace(Place):
    """The engine of this machine."""

    def info_file(self, name):
        packed = self.docker("container", "cp", f"{self.name(name)}:/tmp/container_info_file", "-")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            (member,) = archive.getmembers()
            assert member.mode & 0o777 == 0o644
            return archive.extractfile(member).read().decode()


@pytest.fixture
def fake(tmp_path_factory, monkeypatch, capfd):
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    _calm(monkeypatch)
    return FakePlace(capfd, folder)


def _calm(monkeypatch):
    for name in ("SWARM_IMAGES", "SWARM_TAG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["fake", "docker"])
def place(request, monkeypatch, capfd):
    """Either of them; the real one is swept afterwards."""
    if request.param == "fake":
        yield request.getfixturevalue("fake")
        return
    if reason := docker_place.why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    _calm(monkeypatch)
    made = RealPlace(capfd)
    with docker_place.swept(made.mark) as client:
        network = client.networks.create(made.mark)
        try:
            yield made
        finally:
            for each in client.containers.list(all=True, filters={"name": made.mark}):
                each.remove(force=True, v=True)
            network.remove()
