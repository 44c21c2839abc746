"""``compose.yaml``: runs that go well, that fail, and that lose containers in the middle."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.component.swop import docker_place
from tests.containers.conftest import why_not
from tests.containers.run_of_compose import Run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

GATED = """
import os, pathlib, time
import train_digits
from swarmlearning.pyt import SwarmCallback

class Gated(SwarmCallback):
    def on_epoch_end(self, *arguments, **more):
        super().on_epoch_end(*arguments, **more)
        if os.environ["ML_SL"].startswith("sl-4"):
            print("at the gate")
            while not pathlib.Path("/results/go").exists():
                time.sleep(0.1)

train_digits.SwarmCallback = Gated
train_digits.main()
"""
"""The digits, where pair 4 waits after its first epoch until the test lets it go on."""
WAITED_FOR = r"leader (sl-\d) .*waiting for sl-4 to check in"
"""What ``result`` says then: the others have a leader, which waits for pair 4."""
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


def at_the_gate(run: Run) -> str:
    """Start, and come into the middle of a round; the SL that leads it."""
    run.program(GATED)
    run.start()
    return leader_at_the_gate(run)


def leader_at_the_gate(run: Run) -> str:
    run.until("at the gate", "ml-4")
    return run.until(WAITED_FOR, after=len(run.said()))[1]


def open_gate(run: Run) -> None:
    (run.folder / "results" / "pair-4" / "go").touch()


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


def test_a_program_that_fails_everywhere(run: Run):
    run.program("raise SystemExit('there is no data here')")
    done = run.make("compose-demo", "EXAMPLE=mine")
    assert done.returncode != 0, done.stdout[-6000:]
    assert "exit code 1\n" in done.stdout
    told = run.result()
    assert told["exit_code"] == 1
    assert "pairs can still finish, and minPeers is 3" in told["reason"]
    assert any("there is no data here (3 attempts)" in pair["end"] for pair in told["pairs"])
    assert "there is no data here" in done.stdout
    assert "there is no data here" in (run.folder / "logs" / "ml-1.log").read_text()


def test_the_sl_of_the_leader_is_killed(run: Run):
    leader = at_the_gate(run)
    run.service(leader).kill()
    index = int(leader[-1])
    run.until(f"pair {index} left: its SL does not answer")
    ml = f"ml-{index}"
    assert run.service(ml).wait(timeout=300)["StatusCode"] == 1  # by itself
    assert f"its SL {leader} does not answer" in run.said(ml)
    open_gate(run)
    assert_success(run, run.end(), lost=1)
    end = run.result()["pairs"][index - 1]["end"]
    assert end.startswith("LOST: its SL does not answer (lost); its ML program"), end


@pytest.mark.parametrize("victim", ["sn-1", "license"])
def test_the_sentinel_or_the_license_server_is_killed(run: Run, victim: str):
    at_the_gate(run)
    run.service(victim).kill()
    run.until(f"{victim} does not answer any more")
    open_gate(run)
    assert_success(run, run.end())
    assert any(f"{victim} does not answer" in each for each in run.result()["notices"])
    assert f"{victim} does not answer" in run.said().partition("What happened meanwhile:")[2]


def test_an_sl_that_crashes_comes_back_with_its_program(run: Run):
    """As a bug, or the kernel, would end it: not by `docker kill`, after which nothing restarts."""
    at_the_gate(run)
    run.service("sl-3").exec_run(["bash", "-c", CRASH])
    run.until("pair 3: its ML program is started again, attempt 2")
    open_gate(run)
    assert_success(run, run.end())
    assert "started again 1x" in run.result()["pairs"][2]["end"]


def test_an_sl_that_is_cut_off_comes_back(run: Run):
    at_the_gate(run)
    sl = run.service("sl-3")
    run.network().disconnect(sl)
    run.until("pair 3 left: its SL does not answer")
    run.network().connect(sl, aliases=["sl-3"])
    open_gate(run)
    run.until("pair 3 is back")
    assert_success(run, run.end())


def test_out_of_memory(run: Run):
    """One of four programs wants more than it may have."""
    run.program(
        "import os\n"
        "import train_digits\n"
        "if os.environ['ML_SL'].startswith('sl-2'):\n"
        "    hold = bytes(range(256)) * (4 << 22)\n"
        "train_digits.main()\n"
    )
    run.variables(ML_MEMORY="700m")
    assert_success(run, run.whole(), lost=1)
    assert "was killed, out of memory: its limit is 700 MiB" in run.result()["pairs"][1]["end"]


def test_services_end_soon_when_told_to(run: Run):
    """SIGTERM, in the middle of a training."""
    run.program(GATED)
    started = run.compose("up", "--detach")
    assert started.returncode == 0, started.stdout
    leader_at_the_gate(run)
    for name in ("ml-1", "sl-1", "swci", "sn-2", "license", "result"):
        container = run.service(name)
        container.stop(timeout=10)  # then it would be killed
        container.reload()
        wanted = 143 if name == "result" else 0
        assert container.attrs["State"]["ExitCode"] == wanted, name
    assert "it was stopped before its end" in run.said()
