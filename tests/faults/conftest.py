"""Real swarms of real processes, started by `compose.local`, for tests that break something."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.plan import REPOSITORY
from tests.component.compose.conftest import Composition
from tests.faults.network import Network, NotAllowedError
from tests.faults.sn_network import SnNetwork
from tests.faults.standing import Make, Standing, Training

PROGRAM = Path(__file__).with_name("ml_program.py")


class Swarm(Composition):
    """A running swarm of `ml_program.py`."""

    def __init__(
        self, run_dir: Path, *options: str, nodes: int, program: tuple[str, ...],
        driver: str = "compose.local",
    ) -> None:  # fmt: skip
        self.run_dir = run_dir
        words = ["run", "--run-dir", str(run_dir), "--json", "--nodes", str(nodes), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", driver, *words, "--", *program],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.pids: dict[str, int] = {}
        self.last: dict[str, Any] = {}

    def until_round(self, number: int) -> dict[str, Any]:
        """Read until that round is open."""
        return self.until(lambda s: s.get("contract", {}).get("round", 0) >= number)

    def leader(self, number: int) -> str:
        """Read until a round from ``number`` on has a leader; its name."""
        status = self.until(
            lambda s: any(n["leader"] and n["round"] >= number for n in s.get("nodes", []))
        )
        return next(n["name"] for n in status["nodes"] if n["leader"])

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pids[name], sig)

    def ledger(self) -> list[dict[str, Any]]:
        """The published rounds, as the run folder has them."""
        rounds: list[dict[str, Any]] = json.loads((self.run_dir / "ledger.json").read_text())
        assert [r["round"] for r in rounds] == list(range(1, len(rounds) + 1))  # I1
        return rounds

    def uid(self, name: str) -> str:
        nodes = json.loads((self.run_dir / "state.json").read_text())["nodes"]
        return next(n["uid"] for n in nodes if n["name"] == name)

    def ends(self) -> set[str]:
        """What the ML programs that finished ended with."""
        return {path.read_text() for path in self.run_dir.glob("nodes/*/end.json")}


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Any]:
    """Starts a swarm: `swarm(BATCHES, *options, nodes=5)`."""
    started: list[Swarm] = []

    def start(
        batches: int, *options: str, nodes: int = 5, program: tuple[str, ...] = (), **other: str
    ) -> Swarm:
        program = program or (sys.executable, str(PROGRAM), "{index}", str(batches))
        one = Swarm(tmp_path / "run", *options, nodes=nodes, program=program, **other)
        started.append(one)
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGKILL)
        one.process.communicate()


@pytest.fixture
async def sns(tmp_path: Path) -> AsyncIterator[SnNetwork]:
    """SNs on hosts of their own; this test runs at the router between them."""
    try:
        network = Network()
    except NotAllowedError as exc:
        if os.geteuid() == 0:
            raise
        pytest.skip(f"needs the right to make network namespaces, see tests/README.md: {exc}")
    try:
        with network.entered():
            made = SnNetwork(tmp_path, network)
            yield made
            await made.close()
    finally:
        network.close()


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """One SN for all fault tests of SLs."""
    made = Standing(tmp_path_factory.mktemp("standing"))
    try:
        made.start_sn()
        yield made
    finally:
        made.close()


@pytest.fixture
async def train(standing: Standing) -> AsyncIterator[Make]:
    """Makes a training: `await train("name", min_peers, items=SMALL, method="mean")`."""
    made: list[Training] = []

    async def make(name: str, min_peers: int, **options: Any) -> Training:
        made.append(await standing.training(name, min_peers, **options))
        return made[-1]

    yield make
    for each in made:
        await each.close()
