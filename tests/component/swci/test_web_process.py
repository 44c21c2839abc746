"""``python -m services.swci`` in web mode and a real SN: HPE's way and ours, from start to stop."""

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import swarmlearning.swci as sw
from services.common import task_api
from services.common.ids import NodeKind
from services.common.sn_api import NodeRegistration
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from tests.component.swci.web_world import PATIENCE, HpeClient
from tests.pki import Pki

ROOT = Path(__file__).parents[3]
RUNNER = "defaulttaskbb.taskdb.sml.hpe"
CONTRACT = "defaultbb.cqdb.sml.hpe"
SWOP = "5" * 32
TASK = """\
Name: {name}
TaskType: PULL_IMAGE
Author: somebody
Prereq: ROOTTASK
Outcome: image-of-{name}
Body:
  OrgAndReg: registry.example.org/team
  RepoName: image
  Tag: latest
"""


class Process:
    """A service that prints a port when it is ready."""

    def __init__(self, module, environment):
        self.module = module
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("SN_", "SWARM_", "SWCI_"))
        } | environment
        self.lines = []

    async def start(self, ready):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self.module, cwd=ROOT, env=self.environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stdout:
                self.lines.append(line.decode().rstrip())
                if found := re.search(ready, self.lines[-1]):
                    self.port = int(found[1])
                    self._rest = asyncio.create_task(self._read())
                    return self
        self._rest = None
        return self

    async def _read(self):
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def code(self):
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def stop(self):
        if self.process.returncode is None:
            self.process.terminate()
        code = await self.code()
        if self._rest:
            await self._rest
        return code


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def sn(tmp_path, pki):
    environment = {
        **pki.files(NodeKind.SN), "THIS_NODE_IP": "127.0.0.1",
        "SWARM_BIND_IP": "127.0.0.1", "SN_API_SERVER_PORT": "0", "SN_P2P_LISTEN_PORT": "0",
        "SN_DATA_DIR": str(tmp_path / "chain"), "SN_I_AM_SENTINEL": "true",
    }  # fmt: skip
    sn = Process("services.sn", environment)
    await sn.start(r"Starting SWARM-API-SERVER on port: (\d+)$")
    yield sn
    assert await sn.stop() == 0, sn.lines


class Web:
    """A SWCI in web mode, and its two kinds of clients."""

    def __init__(self, pki, usr):
        self.pki = pki
        self.usr = usr

    async def start(self, script="", **changes):
        (self.usr / "swci-init").write_text(script)
        self.process = Process("services.swci", {
            **self.pki.files(NodeKind.SWCI), "SWARM_BIND_IP": "127.0.0.1", "SWCI_MODE": "WEB",
            "SWCI_WEB_PORT": "0", "SWCI_USR_DIR": str(self.usr), **changes,
        })  # fmt: skip
        return await self.process.start(r" INFO : starting SWCI web mode in (\d+)$")

    def swci(self, **more):
        files = self.pki.files(NodeKind.SWCI, "user")
        return sw.Swci(
            "127.0.0.1", self.process.port, files["SWARM_ID_CERT"], files["SWARM_ID_KEY"],
            files["SWARM_ID_CAPATH"], **more,
        )  # fmt: skip

    def hpe(self):
        files = self.pki.files(NodeKind.SWCI, "user")
        return HpeClient(
            "127.0.0.1", self.process.port, files["SWARM_ID_CERT"], files["SWARM_ID_KEY"]
        )


@pytest.fixture
async def web(tmp_path, pki, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    usr = tmp_path / "usr"
    usr.mkdir()
    web = Web(pki, usr)
    yield web
    if web.process.process.returncode is None:
        assert await web.process.stop() == 0, web.process.lines


def definition(folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(TASK.format(name=name))
    return path


@asynccontextmanager
async def working_swop(sn, pki, state=task_api.TaskPeerState.COMPLETE):
    """A SWOP that enrols in every run of the default runner, and reports ``state``."""
    identity = pki.identity(NodeKind.SWOP)
    client = SnClient(identity, [f"127.0.0.1:{sn.port}"], patience=5.0)
    tasks = TaskClient(client)
    await client.register(
        SWOP, NodeRegistration(kind=NodeKind.SWOP, endpoint="swop:0", container="swop1")
    )
    now = await tasks.swop(RUNNER, SWOP, "listen", task_api.Listen(nodes=1))

    async def work(now):
        while True:
            if now.view.state is task_api.RunnerState.ASSIGNED:
                run = now.view.run
                enrol = task_api.EnrolInRun(run=run, peers=[SWOP])
                await tasks.swop(RUNNER, SWOP, "enrol", enrol)
                report = task_api.PeerReport(run=run, peer=SWOP, state=state, description="done")
                now = await tasks.swop(RUNNER, SWOP, "report", report)
            now = await tasks.watch(RUNNER, now.cursor, 5)

    working = asyncio.create_task(work(now))
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait([working])
        await client.close()
    assert working.cancelled(), working.exception()


async def test_a_notebook_from_context_to_result(sn, web, tmp_path):
    await web.start(f"create context first with ip 127.0.0.1 {sn.port}\nEXIT\npwd\n")
    assert not any("SWCI:2 >" in line for line in web.process.lines)  # EXIT ended the script
    file = definition(tmp_path, "t1")

    def session():
        with web.swci() as s:
            assert s.listContexts() == ["first"]
            assert s.createContext("test", ip="127.0.0.1", port=sn.port)
            assert s.listContexts() == ["first", "test"]
            assert s.switchContext("test") == ["DEFAULT CONTEXT SET TO : test"]
            (web.usr / "taskdefs").mkdir()
            assert s.cd("taskdefs") == [f"Current Directory : {web.usr / 'taskdefs'}"]
            assert s.uploadTaskDefintion(str(file)) == (
                f"Task definition uploaded : t1.yaml ({file.stat().st_size} bytes)"
            )
            assert s.ls() == ["t1.yaml"]
            assert s.registerTask("t1.yaml") == ["Registered Task : t1"]
            assert s.registerTask("t1.yaml") == []
            assert "t1" in s.getErrors()
            assert [line.split()[0].rstrip(",") for line in s.listTasks()][-1].endswith("t1")
            assert any("registry.example.org" in line for line in s.getTaskBody("t1"))
            assert s.resetTaskRunner()
            report = s.executeTask("t1", pollWaitInSec=0.05)
            assert "TASK_STATE : COMPLETE" in report, s.getErrors()
            assert any(SWOP in line for line in report)
            assert s.getErrors() is None
            assert s.isTaskDone(RUNNER)
            assert "TASK_STATE : IDLE" in s.getTaskRunnerStatus(RUNNER)
            for row in s.getNodes():
                assert row["NodeType"] in {"SENTINEL", "SWOP"}, row
            assert s.getTrainingContractStatus(CONTRACT)
            assert s.getTrainingContractPerformanceData(CONTRACT)
            assert s.resetTrainingContract()

    async with working_swop(sn, web.pki):
        await asyncio.to_thread(session)


async def test_a_task_that_fails(sn, web, tmp_path):
    await web.start(f"create context c with ip 127.0.0.1 {sn.port}\nswitch context c\n")
    file = definition(tmp_path, "t1")

    def session():
        with web.swci(logLv=50) as s:
            s.uploadTaskDefinition(str(file))
            assert s.registerTask("t1.yaml"), s.getErrors()
            assert s.assignTask("t1", RUNNER, target=SWOP), s.getErrors()
            assert s.waitForTask(pollWaitInSec=0.05) == "ERROR"
            assert s.resetTaskRunner(), s.getErrors()
            assert s.assignTask("t1", RUNNER, peers="all"), s.getErrors()
            assert s.waitForTask(pollWaitInSec=0.05) == "ERROR"
            assert s.resetTaskRunner(), s.getErrors()
            assert s.executeTask("t1", pollWaitInSec=0.05) == []
            return s.getErrors()

    async with working_swop(sn, web.pki, task_api.TaskPeerState.ERROR):
        error = await asyncio.to_thread(session)
    assert "ended as ERROR" in error
    assert "done" in error  # what the SWOP said


async def test_hpes_client_is_served(sn, web, tmp_path):
    await web.start()
    client = web.hpe()
    file = definition(tmp_path, "t1")

    def session():
        assert client.run(f"create context test with ip 127.0.0.1 {sn.port}") == [
            "API Server is UP!", "CONTEXT CREATED : test",
        ]  # fmt: skip
        for command in (
            "switch context test", "get context info test", "list contexts", f"cd {web.usr}", "ls",
            "ls -l", "pwd", "sleep 0", "list contracts", f"get contract info {CONTRACT}",
            f"get contract status {CONTRACT}", f"perfdata {CONTRACT}", f"reset contract {CONTRACT}",
            "list taskrunners", f"get taskrunner info {RUNNER}", f"reset taskrunner {RUNNER}",
            f"get taskrunner status {RUNNER}", "list tasks", "get task info ROOTTASK",
        ):  # fmt: skip
            lines = client.run(command)
            assert lines, (command, client.error)
            assert all(lines), command
        client.upload(file)
        created = client.run("create task from t1.yaml")
        assert "Task Registered : t1" in created
        assert client.run("finalize task t1")
        assert client.run("get task body t1")
        assert client.run(f"assign task t1 to {RUNNER} with 1 peers")
        states = [line for line in client.run(f"get taskrunner status {RUNNER}") if "STATE" in line]
        assert [line.split(":")[1].strip() for line in states] == ["ASSIGNED"]
        assert client.run(f"get taskrunner peer status {RUNNER} 7") == []
        assert client.error.startswith("ERROR ")
        assert client.run(f"reset taskrunner {RUNNER}")
        for command in ("delete task t1", "nonsense", "get task info nobody", "cd nowhere"):
            assert client.run(command) == []
            assert client.error.startswith("ERROR "), command
        header, *rows = client.run("list Nodes")
        assert header.split(",")[0].strip() == "NodeType"
        assert [row.split(",")[0] for row in rows] == ["SENTINEL"]

    await asyncio.to_thread(session)


async def test_who_sleeps_holds_up_nobody(web):
    await web.start()
    client = web.hpe()
    sleeping = asyncio.create_task(asyncio.to_thread(client.run, "sleep 3"))
    async with asyncio.timeout(PATIENCE):
        while not any("executing: sleep 3" in line for line in web.process.lines):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(web.hpe().run, "pwd") == [str(web.usr)]
    assert await asyncio.to_thread(web.hpe().run, f"cd {web.usr.parent}")
    assert not sleeping.done()
    assert await sleeping


async def test_data_for_programs(web):
    await web.start()
    response = await asyncio.to_thread(web.hpe().post, "/exec?cmd=pwd&format=json")
    assert response.json() == {"CONTENT": [str(web.usr)], "DATA": {"directory": str(web.usr)}}


async def test_a_failure_under_exit_on_failure_in_the_script_ends_it(web):
    await web.start("EXIT ON FAILURE\ncd nowhere\n")
    assert await web.process.code() == 1
    assert not any("starting SWCI" in line for line in web.process.lines)


async def test_no_command_over_the_web_ends_it(web):
    await web.start("EXIT ON FAILURE\n")
    client = web.hpe()

    def session():
        for command in ("nonsense", "EXIT", "exit on failure", "nonsense", "EXIT"):
            client.run(command)
        return client.run("pwd")

    assert await asyncio.to_thread(session) == [str(web.usr)]
    assert await web.process.stop() == 0


async def test_plain_http_is_loud_and_works(web):
    await web.start(SWCI_WEB_INSECURE="true")
    assert any("WARNING" in line and "plain HTTP" in line for line in web.process.lines)

    def session():
        with sw.Swci("127.0.0.1", web.process.port, logLv=50) as s:
            return s.pwd()

    assert await asyncio.to_thread(session) == [str(web.usr)]
