"""A real SN and real SWOPs with the process engine, for tests that start tasks.

Nothing here sleeps to synchronise: tests wait for what the taskrunner shows, with a deadline.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from compose.plan import REPOSITORY
from services.common import task_api as api
from services.common.ids import DEFAULT_CONTRACT, NodeId, NodeKind
from services.common.task_client import TaskClient
from tests.faults.network import ENDS_WITH_US
from tests.faults.standing import Standing

PATIENCE = 90.0
PROGRAM = Path(__file__).with_name("ml_program.py")
POLICY = f"""
binds: [{PROGRAM.parent}]
downloads: ["http://127.0.0.1:*/*"]
process:
  entrypoints: [python3]
"""


class Swop:
    """A SWOP process and its user folder."""

    def __init__(
        self, stand: "Stand", name: str, nodes: int, policy: str, settings: dict[str, str]
    ) -> None:
        self.folder = stand.folder / name
        self.usr = self.folder / "usr"
        self.usr.mkdir(parents=True)
        self.stand, self.name = stand, name
        (self.usr / "policy.yaml").write_text(policy)
        (self.usr / "swop_profile.yaml").write_text(self._profile(nodes))
        self.settings = {
            **stand.standing.pki.files(NodeKind.SWOP, name),
            "SN_NODE_IP": "127.0.0.1", "SN_API_SERVER_PORT": str(stand.standing.port),
            "USR_DIR": str(self.usr), "SWOP_ENGINE": "process", "SWOP_POLICY_FILE":
            str(self.usr / "policy.yaml"), "SWOP_STOP_GRACE": "0.5", **settings,
        }  # fmt: skip
        self.log = self.folder / "swop.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _profile(self, nodes: int) -> str:
        """One pair for each node, in the documented form."""
        files = self.stand.standing.pki.files(NodeKind.SL, self.name)
        lines = [
            f"groupname: {self.name}", f"taskrunner: {self.stand.runner}", "policyuri: null",
            "resourcemgr: {mgrtype: DOCKER, accessinfo: {accesstype: FROMENV}}",
            "network: default", "apisrv: {locator: {host: null, port: null, service: null}}",
            "envvars: [SL_WAIT_FOR_FULL_QUORUM_SECONDS: 1]", "nodes:",
        ]  # fmt: skip
        for idx in range(nodes):
            data = self.folder / f"data-{idx}"
            data.mkdir()
            lines += [
                "- slnodedef:", f"    idx: {idx}", "    identity:",
                *(self._attribute(kind, files[f"SWARM_ID_{kind}"]) for kind in
                  ("KEY", "CERT", "CAPATH")),
                "    slhostname: null", f"    slhostip: sl{idx}", "    slport: null",
                "    slenvvars: null",
                f"    privatedata: {{src: {data}, mType: BIND}}", "    usrhostname: null",
                f"    usrenvvars: [NODE: {self.name[-1]}{idx}]",
            ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _attribute(self, kind: str, path: str) -> str:
        return f"    - attribute: {{aType: {kind}, mType: BIND, src: {path}, tgt: /certs/{kind}}}"

    def start(self) -> None:
        """Start it, from what its folder holds."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "-m", "services.swop"], cwd=REPOSITORY,
                stdout=out, stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **self.settings},
            )  # fmt: skip

    @property
    def uid(self) -> NodeId:
        return NodeId((self.usr / ".swop-swop_profile" / "uid").read_text().strip())

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """Kill it and what it started."""
        self.kill()
        for folder in self.containers():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(self.shim(folder), signal.SIGUSR1)

    def shim(self, folder: Path) -> int:
        """Process id of a container's shim."""
        return int(json.loads((folder / "shim.json").read_text())["pid"])

    def program(self, role: str, idx: int = 0) -> int:
        """Process id of the program of a container; ``u`` or ``s``."""
        [folder] = [each for each in self.containers() if f"-{role}-{idx}-" in each.name]
        return self._child(folder)

    def _child(self, folder: Path) -> int:
        shim = self.shim(folder)
        return int(Path(f"/proc/{shim}/task/{shim}/children").read_text().split()[0])

    async def programs(self, count: int) -> None:
        """Wait until that many containers have a program that runs."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = 0
            for folder in self.containers():
                with contextlib.suppress(OSError, IndexError):
                    found += bool(self._child(folder))
            if found == count:
                return
            assert time.monotonic() < deadline, (self.containers(), self.said())
            await asyncio.sleep(0.05)

    def containers(self) -> list[Path]:
        """Folders of its containers."""
        found = (self.usr / ".swop-swop_profile" / "engine" / "containers").glob("*")
        return sorted(found)

    def running(self) -> list[int]:
        """Processes whose environment or command line names this SWOP's containers."""
        mark, found = str(self.usr / ".swop-swop_profile" / "engine").encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark in text and state != "Z":
                found.append(int(entry.name))
        return found

    async def gone(self) -> None:
        """Wait until nothing of its containers is left, process or folder."""
        deadline = time.monotonic() + PATIENCE
        while self.running() or self.containers():
            assert time.monotonic() < deadline, (self.running(), self.containers(), self.said())
            await asyncio.sleep(0.05)  # there is no event for the end of another's process

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()


class Stand:
    """An SN, its SWOPs, and an operator."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner = folder, api.DEFAULT_TASKRUNNER
        self.standing = Standing(folder / "sn")
        self.swops: list[Swop] = []
        self._cursor = "0"
        self._sn = self.standing.client(NodeKind.SWCI)
        self.tasks = TaskClient(self._sn)

    def swop(self, name: str, nodes: int = 2, policy: str = POLICY, **settings: str) -> Swop:
        """Start a SWOP."""
        made = Swop(self, name, nodes, policy, settings)
        self.swops.append(made)
        made.start()
        return made

    async def listening(self, *swops: Swop) -> api.TaskRunnerView:
        """Wait until these, all by default, listen."""
        count = len(swops or self.swops)
        return await self.until(
            lambda v: sum(each.listening for each in v.swops) >= count, "not all listen"
        )

    async def task(
        self, name: str, kind: api.TaskType, body: str, prereq: str = api.ROOTTASK,
        outcome: str = "",
    ) -> str:  # fmt: skip
        """Write a task and finalize it; its name."""
        header = api.TaskHeader(
            name=name, type=kind, author="test", prereq=prereq, outcome=outcome or name,
            request=uuid4().hex,
        )  # fmt: skip
        await self.tasks.create_task(header)
        await self.tasks.append(name, api.BodyLines(first=1, lines=body.strip().splitlines()))
        await self.tasks.finalize(name)
        return name

    async def image(self) -> str:
        """Run a task that builds an image on every SWOP; the task's name."""
        steps = "BuildContext: null\nBuildSteps:\n- FROM scratch\n- RUN pip install numpy\n"
        name = await self.task(
            "build",
            api.TaskType.MAKE_USER_CONTAINER,
            f"{steps}BuildType: INLINE",
            outcome="user-ml",
        )
        await self.assign(name, len(self.swops))
        await self.ended()
        await self.reset()
        return name

    async def swarm(self, name: str, words: str, prereq: str, shared: str = "", **env: str) -> str:
        """Write a task that runs `ml_program.py` with these words; its name."""
        more = f"- {{{shared}}}\n" if shared else ""
        given = "".join(f"- {key}: '{value}'\n" for key, value in env.items())
        body = (
            f"Command: model/{PROGRAM.name} {words}\nEntrypoint: python3\nWorkingDir: /tmp/test\n"
            f"Envvars:\n- CONTRACT: defaultbb.cqdb.sml.hpe\n{given}PrivateContent: /tmp/test/\n"
            f"SharedContent:\n- {{Src: {PROGRAM.parent}, Tgt: /tmp/test/model, MType: BIND}}\n"
            f"{more}"
        )
        return await self.task(name, api.TaskType.RUN_SWARM, body, prereq)

    async def assign(self, task: str, peers: int, target: NodeId | None = None) -> None:
        """ASSIGN TASK."""
        mode = api.Assignment.PEERS if target is None else api.Assignment.TARGET
        body = api.Assign(task=task, mode=mode, peers=peers, target=target, request=uuid4().hex)
        await self.tasks.assign(self.runner, body)

    async def reset(self) -> None:
        """RESET TASKRUNNER."""
        await self.tasks.reset(self.runner, "test")

    async def training(self, count: int) -> None:
        """Wait until that many SLs take part in the default training."""
        deadline, cursor = time.monotonic() + PATIENCE, "0"
        while True:
            state = await self._sn.watch(DEFAULT_CONTRACT, cursor, 1.0)
            cursor = state.cursor
            if sum(each.live for each in state.view.peers) == count:
                return
            assert time.monotonic() < deadline, f"{state.view}\n{self.story()}"

    async def lost(self, uid: NodeId) -> None:
        """Wait until the SN takes a node for lost."""
        deadline = time.monotonic() + PATIENCE
        while any(node.alive for node in await self._sn.nodes() if node.uid == uid):
            assert time.monotonic() < deadline, f"{uid} is not lost\n{self.story()}"
            await asyncio.sleep(0.2)

    async def ended(self) -> api.TaskRunnerView:
        """Wait for COMPLETE or ERROR."""
        states = (api.RunnerState.COMPLETE, api.RunnerState.ERROR)
        return await self.until(lambda v: v.state in states, "the task did not end")

    async def until(
        self, happened: Callable[[api.TaskRunnerView], bool], complaint: str
    ) -> api.TaskRunnerView:
        """Wait until the taskrunner is as wanted; that view."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = await self.tasks.watch(self.runner, self._cursor, 1.0)
            self._cursor = state.cursor
            if happened(state.view):
                return state.view
            assert time.monotonic() < deadline, f"{complaint}: {state.view}\n{self.story()}"

    def story(self) -> str:
        """What the SWOPs said."""
        return "\n".join(f"--- {swop.name}\n{swop.said()}" for swop in self.swops)

    async def close(self) -> None:
        """End everything."""
        for swop in self.swops:
            swop.close()
        await self._sn.close()
        self.standing.close()


def peers(view: api.TaskRunnerView) -> list[api.TaskPeer]:
    """All peers of a run."""
    return [peer for swop in view.swops for peer in swop.peers]
