"""How fast SWCI answers in a large swarm, and how soon an ASSIGN TASK starts programs.

``python -m tests.bench.bench_swci [--quick]`` prints one table, and one line of JSON for programs.
The SN, the SWOPs and what they start are real processes; SWCI is the interpreter behind its prompt,
in this process, so that its own start is not counted.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from compose import certs_check, run_folder
from compose.plan import REPOSITORY
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.task_api import DEFAULT_TASKRUNNER
from services.common.tls import Identity
from services.swci.adapters.connection import Connector
from services.swci.interpreter import Interpreter
from services.swci.settings import SwciSettings
from tests.bench.sn_peers import peers_of
from tests.bench.sn_swarm import PATIENCE, SnSwarm, machine, quantile

ANSWER_S = 0.100
"""Target for a command with 64 nodes, median."""
FIRST_ML_S = 3.0
"""Target from ASSIGN TASK to the first act of an ML program, median."""
NODES = 64
NEVER = 1000
"""minPeers that no run reaches."""
COMMANDS = (
    "LIST NODES",
    f"GET CONTRACT STATUS {DEFAULT_CONTRACT}",
    f"PERFDATA {DEFAULT_CONTRACT}",
    f"GET TASKRUNNER STATUS {DEFAULT_TASKRUNNER}",
)
FIRST_ACT = 'import time\nopen("private/began", "w").write(repr(time.time()))\n'
"""The ML program: it writes down when it runs, and ends."""
TASK = """Name: bench_task
TaskType: RUN_SWARM
Author: bench
Prereq: user_env_pyt_build_task
Outcome: bench_task
Body:
  Command: model/first.py
  Entrypoint: python3
  WorkingDir: /tmp/test
  Envvars: null
  PrivateContent: /tmp/test/private
  SharedContent:
    - Src: <PROJECT>/model
      Tgt: /tmp/test/model
      MType: BIND
"""


@asynccontextmanager
async def operator(identity: Identity, endpoint: str, usr_dir: Path) -> AsyncIterator[Interpreter]:
    """A SWCI session with a context on the SN at ``endpoint`` (``host:port``)."""
    settings = SwciSettings(swci_usr_dir=usr_dir)
    interpreter = Interpreter(settings, Connector(identity, PATIENCE))
    try:
        host, _, port = endpoint.partition(":")
        await done(interpreter, f"CREATE CONTEXT bench WITH IP {host} {port}")
        await done(interpreter, "SWITCH CONTEXT bench")
        yield interpreter
    finally:
        await interpreter.close()


async def done(interpreter: Interpreter, line: str) -> tuple[str, ...]:
    """Execute a command that must succeed; its answer."""
    reply = await interpreter.execute(line)
    assert not reply.error, f"{line}: {reply.lines}"
    return reply.lines


async def answers(count: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each command, with so many enrolled peers."""
    async with SnSwarm(1) as swarm, peers_of(swarm, count, NEVER):
        identity = swarm.pki.identity(NodeKind.SWCI, "bench")
        async with operator(identity, swarm.sns[0].endpoint, Path.cwd()) as interpreter:
            assert len(await done(interpreter, "LIST NODES")) == count + 2  # header, SN
            return {line: await _timed(interpreter, line, repeats) for line in COMMANDS}


async def _timed(interpreter: Interpreter, line: str, repeats: int) -> list[float]:
    found: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        await done(interpreter, line)
        found.append(time.perf_counter() - began)
    return found


async def first_programs(repeats: int) -> list[tuple[float, float]]:
    """Seconds from ASSIGN TASK to the first and to the last ML program of four on two SWOPs."""
    with tempfile.TemporaryDirectory() as name:
        folder = _flow(Path(name) / "bench")
        run_dir = Path(name) / "run"
        composition = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "compose.local", "swop", str(folder), "--run-dir", str(run_dir),
            cwd=REPOSITORY, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return await _assigned(run_dir, repeats)
        finally:
            composition.terminate()
            await composition.wait()


def _flow(folder: Path) -> Path:
    """The digits' SWOPs with another program; SWCI's script only keeps the swarm up."""
    digits = REPOSITORY / "examples" / "digits"
    tasks = folder / "swci" / "taskdefs"
    tasks.mkdir(parents=True)
    shutil.copytree(digits / "swop", folder / "swop")
    build = "user_env_pyt_build_task.yaml"
    (tasks / build).write_text((digits / "swci" / "taskdefs" / build).read_text())
    (tasks / "bench_task.yaml").write_text(TASK)
    (folder / "swci" / "swci-init").write_text("SLEEP 3600\n")
    (folder / "first.py").write_text(FIRST_ACT)
    return folder


async def _assigned(run_dir: Path, repeats: int) -> list[tuple[float, float]]:
    async with asyncio.timeout(PATIENCE):
        while not (run_dir / "logs" / "swci-1.log").exists():
            await asyncio.sleep(0.1)  # a file has no event to wait for
    state = run_folder.read_state(run_dir)
    identity = certs_check.load(Path(state["certs"]), "swci-1", NodeKind.SWCI)
    taskdefs = run_dir / "swci" / "taskdefs"
    async with operator(identity, f"127.0.0.1:{state['sn_api']}", taskdefs) as interpreter:
        for task in ("user_env_pyt_build_task", "bench_task"):
            await done(interpreter, f"CREATE TASK FROM {task}.yaml")
            await done(interpreter, f"FINALIZE TASK {task}")
        await _run(interpreter, "user_env_pyt_build_task", 2)
        return [await _began(interpreter, run_dir) for _ in range(repeats)]


async def _run(interpreter: Interpreter, task: str, peers: int) -> float:
    """Let a task run to its end; when it was assigned (Unix seconds)."""
    assigned = time.time()
    await done(interpreter, f"ASSIGN TASK {task} TO {DEFAULT_TASKRUNNER} WITH {peers} PEERS")
    async with asyncio.timeout(PATIENCE):
        ended = await done(interpreter, f"WAIT FOR TASKRUNNER {DEFAULT_TASKRUNNER}")
    assert any("COMPLETE" in line for line in ended), ended
    await done(interpreter, f"RESET TASKRUNNER {DEFAULT_TASKRUNNER}")
    return assigned


async def _began(interpreter: Interpreter, run_dir: Path) -> tuple[float, float]:
    assigned = await _run(interpreter, "bench_task", 4)
    files = [run_dir / "project" / f"user-{index}" / "began" for index in (1, 2, 3, 4)]
    began = [float(file.read_text()) - assigned for file in files]
    for file in files:
        file.unlink()
    return min(began), max(began)


def _row(name: str, seconds: list[float], target: float | None) -> None:
    median, late = statistics.median(seconds), quantile(seconds, 0.95)
    verdict = ""
    if target is not None:
        verdict = f"{'within' if median <= target else 'OVER'} {target:g} s"
    print(f"{name:52}{median:9.3f}{late:9.3f}   {verdict}")


async def measure(*, quick: bool) -> dict[str, Any]:
    """Measure and print."""
    commands = await answers(NODES, 10 if quick else 100)
    programs = await first_programs(2 if quick else 10)
    print(f"{'seconds':52}{'median':>9}{'p95':>9}   target")
    for line, seconds in commands.items():
        command = line.removesuffix(DEFAULT_CONTRACT).removesuffix(DEFAULT_TASKRUNNER)
        _row(f"{command.strip()}, {NODES} nodes", seconds, ANSWER_S)
    _row("ASSIGN TASK to the first ML program", [each for each, _ in programs], FIRST_ML_S)
    _row("ASSIGN TASK to the last of four ML programs", [each for _, each in programs], None)
    return {"commands": commands, "programs": programs}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Benchmarks of SWCI and SWOP.")
    parser.add_argument("--quick", action="store_true", help="few repeats: does it work at all")
    where = machine()
    print(where, flush=True)
    found = asyncio.run(measure(quick=parser.parse_args().quick))
    print(json.dumps({"bench": "swci", "machine": where, **found}))


if __name__ == "__main__":
    main()
