"""SL and ML pairs of `ml_program.py`, each on the host of the SN that it starts with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from compose.plan import REPOSITORY
from services.common.ids import NodeKind
from tests.faults.conftest import PROGRAM
from tests.faults.sn_network import API_PORT, PATIENCE, SnNetwork, until

FILES_PORT = 30305
QUORUM_S = "2"
"""How long a leader waits for who is not needed."""


class Pairs:
    """All pairs of one training.

    Args:
        sns: where they are; running.
        at: for each pair, the SN that it starts with.
        batches: a sync round after each.
        min_peers: how many a round needs; all where it is not given.
    """

    def __init__(
        self, sns: SnNetwork, at: list[str], batches: int, min_peers: int | None = None
    ) -> None:
        self.at = at
        self._sns = sns
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for number, sn in enumerate(at):
            self._start(number, sn, {"MIN_PEERS": str(min_peers or len(at))}, batches)

    def log(self, name: str) -> Path:
        """Of ``sl-N`` or ``ml-N``."""
        return self._sns.folder / f"{name}.log"

    def require_running(self) -> None:
        """Fails if any pair ended."""
        for name, process in self._processes.items():
            assert process.poll() is None, (name, self.log(name).read_text()[-3000:])

    async def end(self) -> set[str]:
        """Wait until all ended well; what their models are."""
        for name, process in self._processes.items():
            await until(
                lambda p=process: p.poll() is not None, f"{name} does not end", 2 * PATIENCE
            )
            assert process.returncode == 0, (name, self.log(name).read_text()[-3000:])
        folders = [self._folder(number) for number in range(len(self.at))]
        return {json.dumps(json.loads((own / "end.json").read_text())) for own in folders}

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _folder(self, number: int) -> Path:
        return self._sns.folder / f"pair-{number}"

    def _start(self, number: int, sn: str, shared: dict[str, str], batches: int) -> None:
        own, host = self._folder(number), self._sns.sns[sn].host
        own.mkdir()
        shared = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **shared,
            "SL_REQUEST_CHANNEL": str(own / "request"),
            "SL_RESPONSE_CHANNEL": str(own / "response"),
            "SL_WEIGHTS_DIR": str(own), "MODEL_DIR": str(own),
        }  # fmt: skip
        port = str(FILES_PORT + number)
        sl = {
            **shared, **self._sns.pki.files(NodeKind.SL, str(number)),
            "THIS_NODE_IP": host.address, "SN_NODE_IP": host.address,
            "SN_API_SERVER_PORT": str(API_PORT), "SL_FS_PORT": port, "SL_FS_LISTEN_PORT": port,
            "SL_STORE_DIR": str(own / "store"), "SL_WAIT_FOR_FULL_QUORUM_SECONDS": QUORUM_S,
        }  # fmt: skip
        self._run(f"sl-{number}", host.command(sys.executable, "-m", "services.sl"), sl)
        program = [sys.executable, str(PROGRAM), str(number), str(batches)]
        self._run(f"ml-{number}", host.command(*program), shared)

    def _run(self, name: str, command: list[str], environment: dict[str, Any]) -> None:
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
