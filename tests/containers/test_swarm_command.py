"""A whole swarm by the `swarm` command alone, carried as one file (docs/swarm-command.md)."""

import json
import os
import re
import shutil
import subprocess
import uuid

import docker
import pytest

from compose.images.catalogue import full_name
from compose.operate.pack import pack
from compose.plan import REPOSITORY
from tests.component.swop import docker_place
from tests.containers.conftest import PATIENCE, TAG, why_not

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

GUIDE = REPOSITORY / "docs" / "swarm-command.md"


class Desk:
    """An operator's folder and names; nothing of the repository is in it."""

    def __init__(self, folder, client):
        self.mark = f"swarmcmd-{uuid.uuid4().hex[:8]}"
        self.folder, self.client = folder, client
        (folder / "bin").mkdir()
        pack(folder / "bin" / "swarm")
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "SWARM_TAG": TAG, "PATH": path}

    def shell(self, text, code=0):
        """Run lines of the documentation, with names of this test's own; what they printed."""
        for old, new in (
            (r"\b(sn|sl|ml|license|swci)(?=[12$])", rf"{self.mark}-\1"),
            (r"host-1-net", self.mark),
            (r"ml-pytorch:[\w.]+", f"ml-pytorch:{TAG}"),
            (r"--ml-e=MIN_PEERS=2", "--ml-e=MIN_PEERS=2 --ml-e=MAX_EPOCHS=2"),
        ):
            text = re.sub(old, new, text)
        done = subprocess.run(
            ["sh", "-eu"], input=text, cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=PATIENCE, env=self._environment,
        )  # fmt: skip
        assert done.returncode == code, f"{done.stdout}{done.stderr}"
        return done.stdout

    def left(self):
        """Names of this test's containers."""
        found = self.client.containers.list(all=True, filters={"name": self.mark})
        return sorted(each.name[len(self.mark) + 1 :] for each in found)

    def things(self):
        """This test's volumes and networks."""
        found = [*self.client.volumes.list(), *self.client.networks.list()]
        return [each for each in found if each.name.startswith(self.mark)]

    def clear(self):
        for each in self.client.containers.list(all=True, filters={"name": self.mark}):
            each.remove(force=True, v=True)
        for each in self.things():
            each.remove()


@pytest.fixture
def desk(tmp_path):
    if reason := why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    client = docker.DockerClient(docker_place.URL, version="auto", timeout=120)
    made = Desk(tmp_path, client)
    try:
        yield made
    finally:
        made.clear()
        client.close()


def test_the_example_of_the_documentation(desk):
    shutil.copytree(REPOSITORY / "examples" / "digits", desk.folder / "examples" / "digits")
    section = GUIDE.read_text().partition("\n## One host\n")[2].partition("\n## ")[0]
    start, end = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)

    printed = desk.shell(start)
    assert "> LIST NODES" in printed
    for name in ("sn1", "sn2", "sl1", "sl2"):
        assert f"{desk.mark}-{name}" in printed
    results = [
        json.loads((desk.folder / f"results-{number}" / "result.json").read_text())
        for number in (1, 2)
    ]
    accuracies = [each["swarm"]["accuracy"] for each in results]
    assert accuracies[0] == accuracies[1] > max(each["alone"]["accuracy"] for each in results)
    assert (desk.folder / "results-1" / "result.json").stat().st_uid == os.getuid()

    key = desk.folder / "workspace/digits/cert/sn-1-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    desk.shell("swarm gen-cert -e digits -i 1", code=2)  # keys are never replaced silently
    desk.shell("swarm gen-cert -e digits -i 1 --keep")
    assert key.read_bytes() == before
    desk.shell("swarm gen-cert -e digits -i 1 --force --host=10.0.0.1")
    assert key.read_bytes() != before

    stopped = [line.split()[0] for line in desk.shell(end).splitlines()[:7]]
    assert stopped == ["sl", "sl", "ml", "ml", "sn", "sn", "license"]
    assert desk.left() == desk.things() == []


def test_retagged_images_are_found(desk):
    """HPE's scripts, for one, want other names."""
    image = desk.client.images.get(full_name("sn", tag=TAG))
    assert image.tag(f"{desk.mark}/other-name", "1")
    try:
        desk.client.containers.create(f"{desk.mark}/other-name:1", name=f"{desk.mark}-x")
        assert desk.shell(f"swarm stop-swarm --filter=name={desk.mark}").split()[0] == "sn"
        assert desk.left() == []
    finally:
        desk.client.images.remove(f"{desk.mark}/other-name:1")
