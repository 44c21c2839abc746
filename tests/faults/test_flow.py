"""The flow of the digits example on real processes, with a small ML program in place of torch."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from compose import local
from compose.plan import REPOSITORY
from tests.component.compose.conftest import Composition, wait_gone

pytestmark = pytest.mark.swarm

DIGITS = REPOSITORY / "examples" / "digits"
PROGRAM = f"""
import os, runpy, sys, time
from pathlib import Path
while Path(os.environ["HOLD"]).exists():
    time.sleep(0.05)
sys.argv = ["ml_program.py", os.environ["NODE_ID"].rpartition("-")[2], "6"]
runpy.run_path({str(REPOSITORY / "tests" / "faults" / "ml_program.py")!r}, run_name="__main__")
"""
PAIRS = 4


class Flow(Composition):
    """`compose.local swop` with the files of the digits example."""

    def __init__(self, folder: Path, run_dir: Path) -> None:
        self.run_dir = run_dir
        words = ["swop", str(folder), "--run-dir", str(run_dir), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "compose.local", *words], cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pids: dict[str, int] = {}
        self.last = {}

    def until_pairs_run(self):
        """Read until all four ML programs and their SLs run."""
        self.until(lambda status: len(running(status, "SL", "ML")) == 2 * PAIRS)

    def drain(self):
        """Go on reading in a thread, so that it never waits for us."""
        assert self.process.stdout is not None
        lines: list[str] = []
        Thread(target=lambda: lines.extend(self.process.stdout), daemon=True).start()

    def swci(self, script: str) -> str:
        """Run a script as an operator at another terminal would; its transcript."""
        state = json.loads((self.run_dir / "state.json").read_text())
        certs = Path(state["certs"])
        done = subprocess.run(
            [sys.executable, "-m", "services.swci", str(self.run_dir / "swci" / script)],
            env={
                **os.environ, "PYTHONPATH": str(REPOSITORY),
                "SWCI_USR_DIR": str(self.run_dir / "swci"),
                "SWARM_ID_KEY": str(certs / "swci-1-key.pem"),
                "SWARM_ID_CERT": str(certs / "swci-1-cert.pem"),
                "SWARM_ID_CAPATH": str(certs / "ca" / "capath"),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ends(self) -> list[str]:
        """What the ML programs ended with; forgotten afterwards."""
        files = sorted(self.run_dir.glob("project/user-*/end.json"))
        found = [file.read_text() for file in files]
        for file in files:
            file.unlink()
        return found


def running(status, *kinds):
    nodes = status.get("nodes", [])
    return [
        n["name"] for n in nodes
        if isinstance(n, dict) and n["kind"] in kinds and n["state"] == "running"
    ]  # fmt: skip


@pytest.fixture
def hold(tmp_path):
    """The ML programs do not train while this file is there."""
    return tmp_path / "hold"


@pytest.fixture
def folder(tmp_path, hold):
    """The digits' flow with a program that needs no torch."""
    made = tmp_path / "small"
    shutil.copytree(DIGITS, made, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (made / "train.py").write_text(PROGRAM)
    for profile in (made / "swop").glob("*profile.yaml"):
        text = profile.read_text()
        profile.write_text(text.replace("usrenvvars: [", f"usrenvvars: [HOLD: {hold}, "))
    return made


@pytest.fixture
def flow(tmp_path):
    """Starts a folder's flow."""
    started: list[Flow] = []

    def start(folder):
        started.append(Flow(folder, tmp_path / "run"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        for pipe in (one.process.stdout, one.process.stderr):
            pipe.close()


def test_the_script_twice_on_the_same_swarm(flow, folder):
    script = folder / "swci" / "swci-init"
    shutil.copy(script, script.with_name("digits"))
    script.write_text("SLEEP 3600\n")
    swarm = flow(folder)
    swarm.until(lambda status: running(status, "SWCI"))
    swarm.drain()
    transcripts, ends = [], []
    for _ in range(2):
        transcripts.append(swarm.swci("digits"))
        ends.append(swarm.ends())
    swarm.process.send_signal(signal.SIGINT)
    assert swarm.process.wait(60) == 128 + signal.SIGINT
    for transcript, made in zip(transcripts, ends, strict=True):
        assert transcript.count("TASK_STATE : COMPLETE") == 3  # two waits, one status
        assert transcript.count("DESCRIPTION : training complete") == PAIRS
        assert transcript.count(", YES, ") == PAIRS  # rows of PERFDATA
        assert len(made) == PAIRS
        assert len(set(made)) == 1  # the same model everywhere
    errors = [[line for line in each.splitlines() if "ERROR" in line] for each in transcripts]
    assert errors[0] == []
    assert len(errors[1]) == 2  # CREATE TASK FROM, and no other command
    assert "GENERATION : 2" in transcripts[0]
    assert "GENERATION : 3" in transcripts[1]


def test_a_swop_is_killed_and_returns_while_its_programs_run(flow, folder, hold, capsys):
    hold.touch()
    swarm = flow(folder)
    swarm.until_pairs_run()
    pairs = {name: pid for name, pid in swarm.pids.items() if name.startswith("digits1-")}
    assert len(pairs) == 4
    os.kill(swarm.pids["swop-1"], signal.SIGKILL)
    swarm.until(lambda status: "swop-1" not in running(status, "SWOP"))
    assert local.main(["restart", "swop-1", "--run-dir", str(swarm.run_dir)]) == 0
    assert "swop-1 runs again" in capsys.readouterr().out
    status = swarm.until(lambda status: len(running(status, "SWOP")) == 2)
    there = {n["name"]: n["pid"] for n in status["nodes"] if n["name"].startswith("digits1-")}
    assert there == pairs  # it found them again, and started no others
    hold.unlink()
    result = swarm.result()
    assert (result["exit_code"], result["failures"]) == (0, {})
    assert len(result["digests"]) == PAIRS
    assert len(set(swarm.ends())) == 1
    swarm.assert_nothing_left()


def test_ctrl_c_while_the_programs_run(flow, folder, hold):
    hold.touch()
    swarm = flow(folder)
    swarm.until_pairs_run()
    swarm.process.send_signal(signal.SIGINT)
    assert swarm.result()["exit_code"] == 128 + signal.SIGINT
    swarm.assert_nothing_left()


def test_killed_composition_leaves_nothing(flow, folder, hold):
    hold.touch()
    swarm = flow(folder)
    swarm.until_pairs_run()
    engine = Path(next(n["log"] for n in swarm.last["nodes"] if n["kind"] == "ML")).parents[2]
    assert (engine / "containers").is_dir()
    programs = [child for pid in swarm.pids.values() for child in children(pid)]
    assert len(programs) >= 2 * PAIRS  # the shims' children: SLs and ML programs
    ours = children(swarm.process.pid)  # its guard is one of them, and ends when all is done
    swarm.process.kill()
    for pid in [*swarm.pids.values(), *programs, *ours]:
        wait_gone(pid, 30.0)
    assert not engine.exists()


def children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
