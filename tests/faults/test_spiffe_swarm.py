"""A swarm without certificate files: license server, SN, SLs and SWCI have SVIDs, which rotate."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from services.common.settings import NodeSettings
from services.common.tls import load_identity
from tests.fakes.workload_api import TrustDomain, WorkloadApi
from tests.faults.network import ENDS_WITH_US
from tests.faults.standing import Standing, free_port, until

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]
PATIENCE = 60.0


class Agents:
    """Stands for ``tests.pki.Pki``: an agent, and so a socket, for each node; one trust domain."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.domain = folder, TrustDomain("swarm.example")
        self.apis: dict[str, WorkloadApi] = {}
        folder.mkdir()

    def files(self, role, name="1"):
        node = f"{role.lower()}-{name}"
        if node not in self.apis:
            self.apis[node] = WorkloadApi(self.folder / f"{node}.sock").start()
            self.issue(node)
        socket = f"unix:{self.apis[node].socket}"
        return {"SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH": socket}

    def identity(self, role, name="1"):
        socket = self.files(role, name)["SWARM_SPIFFE_WORKLOAD_API_SOCKET_PATH"]
        return load_identity(NodeSettings(swarm_spiffe_workload_api_socket_path=socket), role)

    def issue(self, node):
        self.apis[node].send(self.domain.svid(f"/site/{node}"), domain=self.domain)

    def rotate(self):
        """New SVIDs for all."""
        for node in self.apis:
            self.issue(node)

    def close(self):
        for api in self.apis.values():
            api.stop()


@pytest.fixture
def swarm(tmp_path):
    agents = Agents(tmp_path / "agents")
    made = Standing(tmp_path)
    made.pki = agents
    made.agents = agents
    try:
        made.start_sn()
        yield made
    finally:
        made.close()
        agents.close()


@pytest.fixture
def license_server(tmp_path, swarm):
    """A license server on SPIFFE; gives the SLs' settings and its log."""
    port, log = free_port(), tmp_path / "license.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*ENDS_WITH_US, sys.executable, "-m", "services.license"], cwd=REPOSITORY,
            stdout=out, stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
                "SWARM_BIND_IP": "127.0.0.1", "LICENSE_PORT": str(port),
                "LICENSE_DATA_DIR": str(tmp_path / "license"),
                **swarm.agents.files(NodeKind.LICENSE),
            },
        )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while "License server ready" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)  # a log has no event to wait for
    yield {
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP": "127.0.0.1",
        "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT": str(port),
    }
    process.terminate()
    process.wait()


def swci(swarm, *commands):
    """What SWCI says."""
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        [sys.executable, "-m", "services.swci", *words], cwd=REPOSITORY, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
        env={
            "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
            **swarm.agents.files(NodeKind.SWCI, "shell"),
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def until_all_say(swarm, pairs, text, times=1):
    """Wait until the logs of SN, license server and SLs have these words so often."""
    logs = [swarm.folder / "sn-1.log", swarm.folder / "license.log"]
    logs += [pair.folder / "sl.log" for pair in pairs]
    await until(
        lambda: all(log.read_text().count(text) >= times for log in logs), f"not all say {text!r}"
    )


async def test_a_training_on_svids_that_rotate_to_another_ca(swarm, license_server):
    training = await swarm.training("spiffe", 3)
    try:
        pairs = await training.start(3, **license_server)
        training.sync(2)
        await training.synced(2)
        agents = swarm.agents
        agents.domain.prepare()
        agents.rotate()
        await until_all_say(swarm, pairs, "CA trusted from now on: O=swarm.example 1")
        agents.domain.signer = agents.domain.cas[-1]
        agents.rotate()
        training.sync(2)
        await training.synced(4)
        await until_all_say(swarm, pairs, "certificate renewed: ", 2)
        agents.domain.forget()
        agents.rotate()
        training.sync(2)
        await training.synced(6)
        await until_all_say(swarm, pairs, "CA not trusted any more: O=swarm.example 0")
        said = swci(
            swarm, f"CREATE CONTEXT c WITH IP 127.0.0.1 {swarm.port}", "SWITCH CONTEXT c",
            "LIST NODES",
        )  # fmt: skip
        assert said.count("SL") >= 3
        await training.end()
        digests = {pair.result["final_digest"] for pair in pairs}
        assert len(digests) == 1
        for pair in pairs:
            log = (pair.folder / "sl.log").read_text()
            assert "certificate renewed: spiffe://swarm.example/site/sl-" in log
            assert "another certificate: registering again" in log
    finally:
        await training.close()
