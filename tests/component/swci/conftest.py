"""A real SN process, shared by the tests (each uses names of its own), and operators beside it."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from services.common import sn_api
from services.common import task_api as api
from services.common.ids import NodeKind
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from services.swci.adapters.connection import Connector
from services.swci.interpreter import Interpreter
from services.swci.settings import SwciSettings
from tests.pki import Pki

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Seconds after which something that should happen at once counts as never."""

BUILD = """\
Name: {name}
TaskType : MAKE_USER_CONTAINER
Author: HPE-TESTER
Prereq: ROOTTASK
Outcome: user-env
Body:
    BuildContext: sl-cli-lib
    BuildType: INLINE
    BuildSteps:
    - FROM python:3.11
    - ' '
    - RUN pip3 install --upgrade pip && pip3 install \\
    - "  numpy"
    - COPY x /tmp/x
"""
RUN = """\
Name: {name}
TaskType: RUN_SWARM
Author: HPE-TESTER
Prereq: {prereq}
Outcome: {name}
Body:
    Command: model/train.py
    Entrypoint: python3
    WorkingDir: /tmp/test
    Envvars: ["DATA_DIR": app-data, "MAX_EPOCHS": 2]
    PrivateContent: /tmp/test/
    SharedContent: null
"""


class SnProcess:
    """``python -m services.sn``."""

    def __init__(self, pki, folder, name="1", **changes):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SN_", "SWARM_"))},
            **pki.files(NodeKind.SN, name), "THIS_NODE_IP": "127.0.0.1",
            "SWARM_BIND_IP": "127.0.0.1", "SN_API_SERVER_PORT": "0", "SN_P2P_LISTEN_PORT": "0",
            "SN_DATA_DIR": str(folder / f"chain-{name}"), "SN_I_AM_SENTINEL": "true", **changes,
        }  # fmt: skip
        self.pki, self.lines = pki, []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.sn"], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.port = self._ready()
        self.endpoint = f"127.0.0.1:{self.port}"
        self._rest = threading.Thread(target=self._drain, daemon=True)
        self._rest.start()

    def _ready(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if ready := re.search(r"Starting SWARM-API-SERVER on port: (\d+)$", self.lines[-1]):
                return int(ready[1])
        raise AssertionError(self.lines)

    def _drain(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        self._rest.join(PATIENCE)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def sn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sn")
    running = SnProcess(Pki(folder), folder)
    yield running
    running.stop()


class Operator:
    """An interpreter, and short words for what tests do with it."""

    def __init__(self, pki, folder, **changes):
        given = {
            "swci_usr_dir": folder, "swci_wait_retry_seconds": 0.01, "swarm_id_capath": pki.capath,
        }  # fmt: skip
        self.settings = SwciSettings(**{**given, **changes})
        self.folder = folder
        self.interpreter = Interpreter(
            self.settings, Connector(pki.identity(NodeKind.SWCI), patience=1.0)
        )

    async def reply(self, line, progress=None):
        async with asyncio.timeout(PATIENCE):
            return await self.interpreter.execute(line, progress)

    async def good(self, line):
        """The lines of a success, as HPE's client takes them."""
        reply = await self.reply(line)
        assert not reply.error, reply.lines
        assert any(text.strip() for text in reply.lines), "HPE's client calls that a failure"
        assert not any(text.startswith("ERROR ") for text in reply.lines)
        return list(reply.lines)

    async def bad(self, line):
        """The error of a failure."""
        reply = await self.reply(line)
        assert reply.error, reply.lines
        assert reply.lines[0].startswith("ERROR : ")
        assert sum(text.startswith("ERROR ") for text in reply.lines) == 1
        assert reply.data["error"]
        assert reply.data["code"]
        return "\n".join(reply.lines)[len("ERROR : ") :]

    async def pairs(self, line):
        return dict(text.split(" : ", 1) for text in await self.good(line) if " : " in text)

    async def use(self, sn):
        await self.good(f"CREATE CONTEXT main WITH IP 127.0.0.1 {sn.port}")
        await self.good("SWITCH CONTEXT main")
        return self

    def write(self, text, name="t.yaml"):
        (self.folder / name).write_text(text)
        return name

    async def task(self, text=BUILD, prereq="ROOTTASK"):
        """A finalized task of a name of its own."""
        name = fresh("task")
        self.write(text.format(name=name, prereq=prereq))
        await self.good("CREATE TASK FROM t.yaml")
        await self.good(f"FINALIZE TASK {name}")
        return name

    async def runner(self):
        name = fresh("runner")
        await self.good(f"CREATE TASKRUNNER {name}")
        return name


def fresh(what):
    return f"{what}-{uuid4().hex[:8]}"


@pytest.fixture
async def stranger(sn, tmp_path):
    """An operator without a context."""
    made = Operator(sn.pki, tmp_path)
    yield made
    await made.interpreter.close()


@pytest.fixture
async def operator(sn, stranger):
    return await stranger.use(sn)


class Swop:
    """A SWOP as the SN sees it; keeps alive until it is closed."""

    def __init__(self, sn, runner, nodes=2):
        self.uid, self.runner, self.nodes = uuid4().hex, runner, nodes
        self.sn = SnClient(sn.pki.identity(NodeKind.SWOP), [sn.endpoint], patience=1.0)
        self.client = TaskClient(self.sn)
        self.me = sn_api.NodeRegistration(
            kind=NodeKind.SWOP, endpoint=sn.endpoint, container=f"swop-{self.uid[:4]}"
        )

    async def start(self):
        registered = await self.sn.register(self.uid, self.me)
        self._beats = asyncio.create_task(self._beat(registered.heartbeat_s))
        await self.client.swop(self.runner, self.uid, "listen", api.Listen(nodes=self.nodes))
        return self

    async def _beat(self, seconds):
        while True:
            await asyncio.sleep(seconds)
            await self.sn.alive(self.uid)

    async def enrol(self, *peers):
        run = (await self.client.runner(self.runner)).view.run
        body = api.EnrolInRun(run=run, peers=list(peers) or [self.uid])
        await self.client.swop(self.runner, self.uid, "enrol", body)
        return run

    async def report(self, run, state, description="", peer=""):
        body = api.PeerReport(run=run, peer=peer or self.uid, state=state, description=description)
        await self.client.swop(self.runner, self.uid, "report", body)

    async def close(self):
        self._beats.cancel()
        with suppress(asyncio.CancelledError):
            await self._beats
        await self.sn.close()


@pytest.fixture
async def swop(sn):
    """Starts SWOPs."""
    started = []

    async def start(runner, nodes=2):
        started.append(await Swop(sn, runner, nodes).start())
        return started[-1]

    yield start
    for each in started:
        await each.close()
