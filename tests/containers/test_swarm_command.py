"""A whole swarm by the `swarm` command alone, carried as one file (docs/swarm-command.md)."""

import json
import os
import shutil
import subprocess
import sys
import uuid

import docker
import pytest

from compose.images.catalogue import full_name
from compose.operate.pack import pack
from compose.plan import REPOSITORY
from tests.component.swop import docker_place
from tests.containers.conftest import PATIENCE, TAG, why_not

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

SCRIPT = """EXIT ON FAILURE
WAIT FOR IP {mark}-sn2
CREATE CONTEXT it WITH IP {mark}-sn2
SWITCH CONTEXT it
LIST NODES
EXIT
"""


class Desk:
    """An operator's folder and names; nothing of the repository is in it."""

    def __init__(self, folder, client):
        self.mark = f"swarmcmd-{uuid.uuid4().hex[:8]}"
        self.folder, self.client = folder, client
        pack(folder / "swarm.pyz")
        self.network = client.networks.create(self.mark)

    def swarm(self, *words, code=0):
        """Run the command; what it printed."""
        done = subprocess.run(
            [sys.executable, "swarm.pyz", *words], cwd=self.folder, capture_output=True, text=True,
            timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "SWARM_TAG": TAG},
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, component, number, *words):
        """Start a node that has what all nodes have."""
        kind = "lic" if component == "license" else component
        server = [] if component == "license" else [f"--apls-ip={self.mark}-license"]
        cert = "workspace/it/cert"
        return self.swarm(
            f"run-{component}", f"--name={self.mark}-{component}{number}", f"--network={self.mark}",
            f"--key={cert}/{kind}-1-key.pem", f"--cert={cert}/{kind}-1-cert.pem",
            f"--capath={cert}/ca/capath", *server, *words,
        )  # fmt: skip

    def left(self):
        """Names of this test's containers."""
        found = self.client.containers.list(all=True, filters={"name": self.mark})
        return sorted(each.name[len(self.mark) + 1 :] for each in found)

    def clear(self):
        for each in self.client.containers.list(all=True, filters={"name": self.mark}):
            each.remove(force=True, v=True)
        self.network.remove()
        for each in self.client.volumes.list():
            if each.name.startswith(self.mark):
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


def test_a_swarm_from_certificates_to_stop(desk):
    mark = desk.mark
    shutil.copytree(REPOSITORY / "examples" / "digits", desk.folder / "model")
    (desk.folder / "usr").mkdir()
    (desk.folder / "usr" / "swci-init").write_text(SCRIPT.format(mark=mark))

    desk.swarm("gen-cert", "-e", "it", "-i", "1", f"--host={mark}-sn1")
    desk.swarm("gen-cert", "-e", "it", "-i", "1", code=2)  # keys are never replaced silently
    assert "all certificates" in desk.swarm("gen-cert", "-e", "it", "-i", "1", "--keep")
    key = desk.folder / "workspace/it/cert/sn-1-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600

    desk.run("license", "", "-d", "--wait", f"--data={mark}-license")
    for number, entry in ((1, "--sentinel"), (2, f"--sentinel-ip={mark}-sn1")):
        volume = f"--volume={mark}-sn{number}:/platform/swarm/SMLNODE"
        desk.run("sn", number, "-d", "--wait", f"--host-ip={mark}-sn{number}", entry, volume)

    for number in (1, 2):
        (desk.folder / f"out{number}").mkdir()
        desk.run(
            "sl", number, "-d", f"--host-ip={mark}-sl{number}", f"--sn-ip={mark}-sn{number}",
            f"--ml-image={full_name('ml-pytorch', tag=TAG)}", f"--ml-name={mark}-ml{number}",
            "--ml-v=./model:/tmp/test/model:ro", f"--ml-v=./out{number}:/tmp/out",
            "--ml-w=/tmp/test", f"--ml-e=NODE_ID=user-{number}", "--ml-e=MIN_PEERS=2", "--ml-e=MAX_EPOCHS=3",
            "--ml-e=MODEL_DIR=/tmp/out", "--ml-entrypoint=python3",
            "--ml-cmd=model/train.py --organisations 4",
        )  # fmt: skip

    transcript = desk.run("swci", "", "--usr-dir=usr")
    assert "> LIST NODES" in transcript
    assert f"{mark}-sn1" in transcript

    for number in (1, 2):
        ended = desk.client.containers.get(f"{mark}-ml{number}").wait(timeout=PATIENCE)
        logs = desk.client.containers.get(f"{mark}-ml{number}").logs().decode()
        assert ended["StatusCode"] == 0, logs
    results = [json.loads((desk.folder / f"out{n}" / "result.json").read_text()) for n in (1, 2)]
    accuracies = [each["swarm"]["accuracy"] for each in results]
    assert accuracies[0] == accuracies[1] > max(each["alone"]["accuracy"] for each in results)
    assert (desk.folder / "out1" / "result.json").stat().st_uid == os.getuid()

    mine = f"--filter=name={mark}"
    lines = desk.swarm("list", "--json", mine).splitlines()
    assert [json.loads(line)["component"] for line in lines] == [
        "sn", "sn", "sl", "sl", "ml", "ml", "license",
    ]  # fmt: skip
    stopped = [line.split()[0] for line in desk.swarm("stop-swarm", mine).splitlines()]
    assert stopped == ["sl", "sl", "ml", "ml", "sn", "sn", "license"]
    assert desk.left() == []


def test_retagged_images_are_found(desk):
    """HPE's scripts, for one, want other names."""
    image = desk.client.images.get(full_name("sn", tag=TAG))
    assert image.tag(f"{desk.mark}/other-name", "1")
    try:
        desk.client.containers.create(f"{desk.mark}/other-name:1", name=f"{desk.mark}-x")
        assert desk.swarm("stop-swarm", f"--filter=name={desk.mark}").split()[0] == "sn"
        assert desk.left() == []
    finally:
        desk.client.images.remove(f"{desk.mark}/other-name:1")
