"""``compose.yaml``: runs that go well, that fail, and that lose containers in the middle."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.component.swop import docker_place
from tests.containers.conftest import why_not
from tests.containers.run_of_compose import Run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

IN_TRAINING = r"round [4-9] .*leader (sl-\d)"
"""What ``result`` says in the middle of a training."""

CRASH = "cd /proc; for each in [0-9]*; do grep -qa services.sl $each/cmdline && kill -9 $each; done"
"""Kills an SL from within its container."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that has not been started."""
    if reason := why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")
    client = docker.DockerClient(docker_place.URL, version="auto", timeout=120)
    made = Run(tmp_path, client)
    try:
        yield made
    finally:
        made.clear()
        left = made.left()
        client.close()
    assert left == []


def assert_success(run: Run, code: int, lost: int = 0) -> None:
    """All but ``lost`` pairs finished, with the model that the ledger has."""
    assert code == 0, run.printed()[-6000:]
    told = run.result()
    assert told["exit_code"] == 0
    done = [pair for pair in told["pairs"] if pair["done"]]
    assert len(done) == 4 - lost, told
    assert {pair["digest"] for pair in done} == {told["digest"]}
    assert len(told["digest"]) == 64
    assert min(pair["swarm"] for pair in done) > max(pair["alone"] for pair in done)


def program(folder: Path, run: Run, text: str) -> None:
    """Make ``train.py`` of another program the run's."""
    (folder / "examples" / "mine").mkdir(parents=True)
    (folder / "examples" / "mine" / "train.py").write_text(text)
    run.variables(SWARM_EXAMPLES=str(folder / "examples"), EXAMPLE="mine", ML_RESTARTS="1")


def test_twice_in_a_row(run: Run):
    """The second time on the same chain: a new training of the same contract."""
    for _ in (1, 2):
        assert_success(run, run.whole())
        assert "4 pairs ended with the same model, byte for byte" in run.said()
        assert run.result()["notices"] == []
    assert run.service("result").attrs["State"]["ExitCode"] == 0


def test_the_demo_leaves_nothing_but_results(run: Run):
    done = run.make("compose-demo")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "exit code 0" in done.stdout
    assert run.left() == []
    assert (run.folder / "results" / "pair-1" / "model.pt").exists()


def test_a_program_that_fails_everywhere(run: Run, tmp_path: Path):
    program(tmp_path, run, "raise SystemExit('there is no data here')")
    done = run.make("compose-demo", "EXAMPLE=mine")
    assert done.returncode == 1, done.stdout[-6000:]
    told = run.result()
    assert "pairs can still finish, and minPeers is 3" in told["reason"]
    assert "there is no data here (2 attempts)" in told["pairs"][0]["end"]
    assert "there is no data here" in done.stdout  # the end of the program's log
    assert "there is no data here" in (run.folder / "logs" / "ml-1.log").read_text()


@pytest.mark.parametrize("victim", ["leader", "sn-1", "license"])
def test_a_container_that_is_killed_does_not_stop_the_run(run: Run, victim: str):
    run.start()
    leader = run.until(IN_TRAINING)[1]
    run.service(leader if victim == "leader" else victim).kill()
    code = run.end()
    assert_success(run, code, lost=victim == "leader")
    told = run.result()
    if victim == "leader":
        index = int(leader[-1])
        end = told["pairs"][index - 1]["end"]
        assert end.startswith("LOST: its SL does not answer"), end
        assert any(f"pair {index} left" in each for each in told["notices"])
    else:
        assert any(f"{victim} does not answer" in each for each in told["notices"])


def test_the_program_of_an_sl_that_is_killed_ends_by_itself(run: Run):
    run.variables(MAX_EPOCHS="12")
    run.start()
    run.until(IN_TRAINING)
    run.service("sl-2").kill()
    code = run.service("ml-2").wait(timeout=180)["StatusCode"]
    assert code == 1
    assert "its SL sl-2 does not answer" in run.said("ml-2")
    assert_success(run, run.end(), lost=1)


def test_an_sl_that_crashes_comes_back_with_its_program(run: Run):
    """As a bug, or the kernel, would end it: not by `docker kill`, after which nothing restarts."""
    run.variables(MAX_EPOCHS="12")
    run.start()
    run.until(IN_TRAINING)
    run.service("sl-2").exec_run(["bash", "-c", CRASH])
    run.until("pair 2 is back|pair 2: its ML program is started again")
    assert_success(run, run.end())


def test_an_sl_that_is_cut_off_comes_back(run: Run):
    run.variables(MAX_EPOCHS="12")
    run.start()
    run.until(IN_TRAINING)
    sl = run.service("sl-3")
    run.network().disconnect(sl)
    run.until("pair 3 left: its SL does not answer")
    run.network().connect(sl, aliases=["sl-3"])
    run.until("pair 3 is back")
    assert_success(run, run.end())


def test_out_of_memory(run: Run, tmp_path: Path):
    """One of four programs wants more than it may have."""
    digits = "import os, sys\nsys.path.insert(0, '/tmp/examples/digits')\n"
    eat = "if os.environ['ML_SL'].startswith('sl-2'):\n    hold = bytearray(4 << 30)\n"
    program(tmp_path, run, digits + eat + "import train_digits\ntrain_digits.main()\n")
    source = Path(__file__).parents[2] / "examples" / "digits"
    for name, target in (("data.py", "data.py"), ("train.py", "train_digits.py")):
        (tmp_path / "examples" / "mine" / target).write_text((source / name).read_text())
    run.variables(ML_MEMORY="700m")
    assert_success(run, run.whole(), lost=1)
    assert "was killed, out of memory: its limit is 700 MiB" in run.result()["pairs"][1]["end"]


def test_services_end_soon_when_told_to(run: Run):
    """SIGTERM, in the middle of a training."""
    run.variables(MAX_EPOCHS="12")
    started = run.compose("up", "--detach")
    assert started.returncode == 0, started.stdout
    run.until(IN_TRAINING)
    names = ("ml-1", "sl-1", "swci", "sn-2", "license", "result")
    for name in names:
        container = run.service(name)
        container.stop(timeout=10)  # then it would be killed
        container.reload()
        wanted = 143 if name == "result" else 0
        assert container.attrs["State"]["ExitCode"] == wanted, name
    assert "it was stopped before its end" in run.said()
