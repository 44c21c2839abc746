"""`collect-logs` and `preflight` against a small swarm in containers.

A license server, an SN, an SL that cannot start, an ML program that fails, and a SWCI whose task
definitions have credentials in them.
"""

import json
import os
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.images.catalogue import VERSION, full_name
from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from tests.component.swop import docker_place
from tests.containers.conftest import why_not
from tests.pki import Pki

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

TAG = os.environ.get("SWARM_TAG") or VERSION
NEEDED = ("license", "sn", "sl", "swci", "tools")
PATIENCE = 400.0
"""Seconds on a machine that does other things, too."""
SECRETS = {
    "variable": "v4r-Zq9xT7", "log": "l0g-Kw3nB8", "task": "t4sk-Pm5cR2", "proxy": "pr0xy-Hj6dF1",
}  # fmt: skip


class Swarm:
    """The containers of one test module.

    Args:
        folder: gets certificates and files.
    """

    def __init__(self, folder: Path) -> None:
        self.mark = f"swarmtest-{uuid.uuid4().hex[:8]}"
        self.pki = Pki(folder)
        self.users = folder / "usr"

    def files(self, kind: NodeKind) -> list[str]:
        """Mounts and variables of an identity."""
        pairs = self.pki.files(kind).items()
        folder = self.pki.folder
        return [f"-v={folder}:{folder}:ro", *(f"-e={name}={value}" for name, value in pairs)]

    def run(
        self, name: str, image: str, *words: str, command: tuple[str, ...] = (), how: str = "run"
    ) -> None:
        options = ["--detach"] if how == "run" else []
        host = ["--network", self.mark, "--hostname", name]
        call(
            "docker", how, *options, "--name", f"{self.mark}-{name}", *host, *words, image, *command
        )

    def start(self) -> None:
        call("docker", "network", "create", self.mark)
        license_ip = "-e=SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP=license"
        self.run("license", full_name("license", tag=TAG), *self.files(NodeKind.LICENSE))
        self.until("license", "{{.State.Health.Status}}", "healthy")
        self.run("sn-1", full_name("sn", tag=TAG), *self.files(NodeKind.SN), license_ip,
                 "-e=THIS_NODE_IP=sn-1", "-e=SN_I_AM_SENTINEL=true",
                 f"-e=REGISTRY_PASSWORD={SECRETS['variable']}",
                 f"-e=https_proxy=http://anna:{SECRETS['proxy']}@proxy:3128",
                 "-e=no_proxy=license,sn-1")  # fmt: skip
        self.run("sl-1", full_name("sl", tag=TAG), "-e=THIS_NODE_IP=sl-1")  # without an identity
        key = Path(self.pki.files(NodeKind.SL)["SWARM_ID_KEY"]).read_text()
        said = f"echo 'calling with password={SECRETS['log']}'; echo '{key}'; "
        said += "echo 'ERROR: no data'; exit 3"
        self.run(
            "ml-1",
            docker_place.IMAGE,
            f"--volumes-from={self.mark}-sl-1",
            command=("sh", "-c", said),
        )
        tasks = self.users / "taskdefs"
        tasks.mkdir(parents=True)
        (tasks / "pull.yaml").write_text(
            f"Name: pull\nTaskType: PULL_IMAGE\nBody:\n  Auth:\n    Username: anna\n"
            f"    Password: {SECRETS['task']}\n  RepoName: x/y\n"
        )
        (self.users / "swci-init").write_text("LIST NODES\n")
        self.run(
            "swci", full_name("swci", tag=TAG), f"-v={self.users}:/platform/swarm/usr", how="create"
        )
        self.until("sn-1", "{{.State.Health.Status}}", "healthy")
        for name in ("sl-1", "ml-1"):
            self.until(name, "{{.State.Status}}", "exited")

    def until(self, name: str, what: str, wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (now := self.state(name, what)) != wanted:
            assert time.monotonic() < deadline, f"{name} is {now}, not {wanted}"
            ended = wanted == "healthy" and self.state(name, "{{.State.Status}}") == "exited"
            assert not ended, call("docker", "logs", f"{self.mark}-{name}")
            time.sleep(0.2)

    def state(self, name: str, what: str) -> str:
        return call("docker", "inspect", f"--format={what}", f"{self.mark}-{name}").strip()

    def clear(self) -> None:
        ids = call("docker", "ps", "-aq", f"--filter=name={self.mark}").split()
        if ids:
            call("docker", "rm", "--force", "--volumes", *ids)
        call("docker", "network", "rm", self.mark)


def call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def command(module: str, *words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A command as on a host that has neither our packages nor more than the standard library."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SWARM_TAG": TAG}
    return subprocess.run(
        [sys.executable, "-S", "-m", f"compose.operate.{module}", *words], cwd=cwd,
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    if reason := why_not(NEEDED):
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    made = Swarm(tmp_path_factory.mktemp("operate"))
    try:
        made.start()
        yield made
    finally:
        made.clear()


def test_all_is_collected_and_no_secret_with_it(swarm: Swarm, tmp_path: Path) -> None:
    done = command("collect", "--name", swarm.mark, "--output", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("swarm_logs_*.tar.gz")
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        content = {
            m.name.partition("/")[2]: archive.extractfile(m).read()  # type: ignore[union-attr]
            for m in archive.getmembers()
        }
    everything = b"\0".join(content.values())
    for what, secret in SECRETS.items():
        assert secret.encode() not in everything, what
    for key in swarm.pki.folder.glob("*-key.pem"):
        lines = [line for line in key.read_bytes().splitlines()[1:-1] if len(line) > 8]
        assert lines
        assert not any(line in everything for line in lines), key.name
    name = swarm.mark
    for file in ("summary.txt", "manifest.json", "host.json", "docker/version.json",
                 "docker/images.json", "docker/networks-volumes.json", "docker/events.jsonl",
                 f"containers/{name}-sn-1/inspect.json", f"containers/{name}-sn-1/certificates.txt",
                 f"containers/{name}-ml-1/log.txt", f"containers/{name}-swci/files/usr/swci-init",
                 f"containers/{name}-swci/files/usr/taskdefs/pull.yaml",
                 f"ledger/{name}-sn-1.json"):  # fmt: skip
        assert file in content, f"{file} is missing:\n{content['summary.txt'].decode()}"
    assert b"RepoName: x/y" in content[f"containers/{name}-swci/files/usr/taskdefs/pull.yaml"]
    summary = content["summary.txt"].decode()
    assert f"{name}-sn-1" in summary and "running, healthy" in summary
    assert f"{name}-ml-1: exited, exit code 3" in summary and "ERROR: no data" in summary
    assert f"{name}-sl-1: exited, exit code 2" in summary, summary
    assert "Exiting SL. Reason: " in summary, summary


def test_before_the_next_node_starts(swarm: Swarm, tmp_path: Path) -> None:
    files = swarm.pki.files(NodeKind.SL)
    words = [f"--network={swarm.mark}", "--sn-ip=sn-1", "--apls-ip=license", "--needs=sl=2"]
    words += [f"--key={files['SWARM_ID_KEY']}", f"--cert={files['SWARM_ID_CERT']}"]
    words += [f"--capath={files['SWARM_ID_CAPATH']}", "--json"]
    done = command("preflight", *words, cwd=tmp_path)
    found = {each["subject"]: each for each in json.loads(done.stdout)}
    assert found["docker engine"]["level"] == "ok"
    assert found["identity"]["text"].startswith("SL-1, role SL")
    for subject in ("SN sn-1:30304", "license server license:5814", "clock, SN sn-1:30304",
                    "licence, license:5814"):  # fmt: skip
        assert found[subject]["level"] == "ok", found
    assert [x for x in found.values() if x["level"] == "FAIL"] == []
    assert done.returncode == 0


def test_before_a_node_of_strangers_starts(swarm: Swarm, tmp_path: Path) -> None:
    files = Pki(tmp_path, "CA-2").files(NodeKind.SL)
    words = [f"--network={swarm.mark}", "--sn-ip=sn-1", "--peer=nobody.invalid",
             f"--key={files['SWARM_ID_KEY']}", f"--cert={files['SWARM_ID_CERT']}",
             f"--capath={files['SWARM_ID_CAPATH']}"]  # fmt: skip
    done = command("preflight", *words, cwd=tmp_path)
    assert "FAIL  SN sn-1:30304" in done.stdout
    assert "put the certificate of CA-1 into our --capath" in done.stdout
    assert "FAIL  SL file server nobody.invalid:30305" in done.stdout
    assert done.returncode == 1
