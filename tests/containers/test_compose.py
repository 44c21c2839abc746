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
CRASH = (
    "cd /proc; for each in [0-9]*; do grep -qa 'services[.]sl' $each/cmdline && kill -9 $each; done"
)
"""Kills an SL from within its container, and not itself before (so the brackets)."""
FAILING = """
import os, time
number = int(os.environ["ML_SL"].partition(":")[0][-1])
if number == 1:
    raise SystemExit("there is no data here")
hold = bytes(range(256)) * (4 << 22) if number == 2 else b""
time.sleep(3600)
"""
"""Pair 1 ends at once, pair 2 wants more memory than it may have, the others wait for them."""


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


def leader_at_the_gate(run: Run) -> str:
    """Wait for the middle of a round; the SL that leads it."""
    run.until("at the gate", "ml-4")
    return run.until(WAITED_FOR, after=len(run.said()))[1]


def open_gate(run: Run) -> None:
    (run.folder / "results" / "pair-4" / "go").touch()


def test_leader_sentinel_and_license_server_are_killed(run: Run):
    """One after the other in one training; then a second one with all of them, on that chain."""
    run.program(GATED)
    run.start()
    leader = leader_at_the_gate(run)
    run.service(leader).kill()
    index = int(leader[-1])
    run.until(f"pair {index} left: its SL does not answer")
    for victim in ("license", "sn-1"):
        run.service(victim).kill()
        run.until(f"{victim} does not answer any more")
    ml = f"ml-{index}"
    assert run.service(ml).wait(timeout=300)["StatusCode"] == 1  # by itself
    assert f"its SL {leader} does not answer" in run.said(ml)
    open_gate(run)
    assert_success(run, run.end(), lost=1)
    told = run.result()
    end = told["pairs"][index - 1]["end"]
    assert end.startswith("LOST: its SL does not answer (lost); its ML program"), end
    for victim in ("license", "sn-1"):
        assert any(f"{victim} does not answer" in each for each in told["notices"])
        assert f"{victim} does not answer" in run.said().partition("What happened meanwhile:")[2]

    run.example("digits")
    assert_success(run, run.whole())
    assert "4 pairs ended with the same model, byte for byte" in run.said()
    assert run.result()["notices"] == []
    assert run.result()["digest"] != told["digest"]
    assert run.service("result").attrs["State"]["ExitCode"] == 0


def test_what_comes_back(run: Run):
    """An SL that crashes, not by `docker kill`; and one that is cut off for a while."""
    run.program(GATED)
    run.start()
    leader_at_the_gate(run)
    run.service("sl-3").exec_run(["bash", "-c", CRASH])
    run.until("pair 3: its ML program is started again, attempt 2")
    sl = run.service("sl-2")
    run.network().disconnect(sl)
    run.until("pair 2 left: its SL does not answer")
    run.network().connect(sl, aliases=["sl-2"])
    open_gate(run)
    run.until("pair 2 is back")
    assert_success(run, run.end())
    assert "started again 1x" in run.result()["pairs"][2]["end"]


def test_stopped_in_mid_training_and_then_the_demo(run: Run):
    """SIGTERM ends all soon; the next run begins a training, and leaves nothing but results."""
    run.program(GATED)
    started = run.make("up")
    assert started.returncode == 0, started.stdout
    leader_at_the_gate(run)
    for name in ("ml-1", "sl-1", "swci", "sn-2", "license", "result"):
        container = run.service(name)
        run.stop(container)
        wanted = 143 if name == "result" else 0
        assert container.attrs["State"]["ExitCode"] == wanted, name
    assert "it was stopped before its end" in run.said()

    run.example("digits")
    done = run.make("compose-demo")
    assert_success(run, done.returncode)
    assert "exit code 0" in done.stdout
    assert run.left() == []
    assert (run.folder / "results" / "pair-1" / "model.pt").exists()


def test_programs_that_fail(run: Run):
    """One by itself, one out of memory: too few are left. The demo tells why and keeps logs."""
    run.program(FAILING)
    run.variables(ML_MEMORY="700m")
    done = run.make("compose-demo")
    assert done.returncode != 0, done.stdout[-6000:]
    assert "exit code 1\n" in done.stdout
    told = run.result()
    assert told["exit_code"] == 1
    assert told["reason"] == "only 2 of 4 pairs can still finish, and minPeers is 3"
    first, second = (pair["end"] for pair in told["pairs"][:2])
    assert "there is no data here (3 attempts)" in first
    assert "was killed, out of memory: its limit is 700 MiB (ML_MEMORY) (3 attempts)" in second
    assert "there is no data here" in done.stdout
    assert "there is no data here" in (run.folder / "logs" / "ml-1.log").read_text()
    assert run.left() == []
