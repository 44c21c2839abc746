"""An SN is killed in mid-round and restarted from disk; the SLs wait and go on."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from tests.faults.conftest import PROGRAM
from tests.pki import Pki

PEERS = 3
BATCHES = 40
PATIENCE = 90.0


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(path, text, seconds=PATIENCE):
    """Wait until a log holds a line; its text so far."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and text in (content := path.read_text()):
            return content
        time.sleep(0.05)  # a file has no event to wait for
    raise AssertionError(f"no {text!r} in {path}: {path.read_text()[-2000:]}")


class Nodes:
    """Processes of one swarm without a license server, each with a log file."""

    def __init__(self, folder):
        self.folder, self.pki = folder, Pki(folder / "pki")
        self.running = {}
        self.api, self.p2p = free_port(), free_port()

    def start(self, name, command, role=None, **environment):
        files = self.pki.files(role) if role else {}
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
                    "THIS_NODE_IP": "127.0.0.1", "SWARM_BIND_IP": "127.0.0.1",
                    "SN_API_SERVER_PORT": str(self.api), **files, **environment,
                },
            )  # fmt: skip
        self.running[name] = process
        return process

    def start_sn(self):
        self.start(
            "sn", ["-m", "services.sn"], NodeKind.SN, SN_I_AM_SENTINEL="True",
            SN_P2P_LISTEN_PORT=str(self.p2p), SN_DATA_DIR=str(self.folder / "chain"),
        )  # fmt: skip

    def start_peer(self, number):
        own = self.folder / str(number)
        own.mkdir()
        shared = {
            "SL_REQUEST_CHANNEL": str(own / "request"),
            "SL_RESPONSE_CHANNEL": str(own / "response"),
            "SL_WEIGHTS_DIR": str(own), "MODEL_DIR": str(own), "MIN_PEERS": str(PEERS),
        }  # fmt: skip
        port = str(free_port())
        self.start(
            f"sl-{number}", ["-m", "services.sl"], NodeKind.SL, SN_NODE_IP="127.0.0.1",
            SL_FS_PORT=port, SL_FS_LISTEN_PORT=port, SL_STORE_DIR=str(own / "store"), **shared,
        )  # fmt: skip
        self.start(f"ml-{number}", [str(PROGRAM), str(number), str(BATCHES)], **shared)

    def stop(self):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def nodes(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.stop()


@pytest.mark.swarm
def test_a_killed_sn_that_restarts_from_disk_loses_nothing(nodes):
    nodes.start_sn()
    until(nodes.folder / "sn.log", "Starting SWARM-API-SERVER")
    for number in range(PEERS):
        nodes.start_peer(number)
    until(nodes.folder / "sl-0.log", "installed merged model", PATIENCE)
    nodes.running["sn"].send_signal(signal.SIGKILL)
    nodes.running["sn"].wait()
    nodes.start_sn()
    for name, process in nodes.running.items():
        if name != "sn":
            log = nodes.folder / f"{name}.log"
            assert process.wait(PATIENCE) == 0, log.read_text()[-3000:]
    ends = {(nodes.folder / str(n) / "end.json").read_text() for n in range(PEERS)}
    assert len(ends) == 1
    log = (nodes.folder / "sl-0.log").read_text()
    assert f"training complete after {BATCHES + 1} rounds" in log  # begin, batch ends, close
