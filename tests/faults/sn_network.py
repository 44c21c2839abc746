"""SNs of one swarm as real processes, each on a host of its own, for tests that break something.

Every SN listens on the documented ports of its host. The test talks to all of them from the
router, so that it can ask either side of a split.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from compose.plan import REPOSITORY
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.sn_client import SnClient
from tests.faults.network import Host, Network
from tests.pki import Pki

PATIENCE = 90.0
"""Seconds after which something that should happen counts as never; machines are slow."""
LOOK = 0.05
"""A log file and a process's end have no event to wait for."""
API_PORT = 30304
READY = "Starting SWARM-API-SERVER"
BATCH = 50
"""Calls in one request to ``/eth``."""


class SnProcess:
    """One SN: its host, its data folder, its log over all its lives, its present process."""

    def __init__(self, name: str, host: Host, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.host = host
        self.data = folder / f"chain-{name}"
        self.log = folder / f"sn-{name}.log"
        self.environment = {"SN_DATA_DIR": str(self.data), **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self._begun = 0

    @property
    def api(self) -> str:
        """``host:port`` of its API."""
        return f"{self.host.address}:{API_PORT}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, **changes: str) -> None:
        """Start it from what its folder holds; for :meth:`SnNetwork.ready` to wait for."""
        assert not self.is_running, f"SN {self.name} runs already"
        self._begun = self.mark if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.host.command(sys.executable, "-m", "services.sn"), cwd=REPOSITORY,
                env={**self.environment, **changes}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def mark(self) -> int:
        """Where its log ends now."""
        return self.log.stat().st_size

    def said(self, since: int | None = None) -> str:
        """Its log from a mark on; without one, since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._begun if since is None else since)
            return log.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: it keeps its links and says nothing."""
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    async def end(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it ended."""
        assert self.process is not None
        process = self.process
        await until(lambda: process.poll() is not None, f"SN {self.name} does not end", seconds)
        return process.returncode


class SnNetwork:
    """Makes SNs, keeps them apart, talks to them, ends them all. Use inside ``entered``."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.network = network
        self.pki = Pki(folder)
        self.sns: dict[str, SnProcess] = {}
        self._clients: list[SnClient] = []
        self._auditors: dict[str, httpx.AsyncClient] = {}

    def sn(self, name: str, **changes: str) -> SnProcess:
        """The SN called so, made at its first mention; the first of all is the sentinel."""
        if name not in self.sns:
            host = self.network.host(name)
            role = (
                {"SENTINEL_NODE_IP": next(iter(self.sns.values())).host.address}
                if self.sns
                else {"SN_I_AM_SENTINEL": "True"}
            )
            environment = {
                "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
                "THIS_NODE_IP": host.address, **self.pki.files(NodeKind.SN, name), **role,
                **changes,
            }  # fmt: skip
            self.sns[name] = SnProcess(name, host, self.folder, environment)
        return self.sns[name]

    @property
    def running(self) -> dict[str, SnProcess]:
        return {name: sn for name, sn in self.sns.items() if sn.is_running}

    async def start(self, *names: str) -> None:
        """Start SNs and wait until they serve; the sentinel, if it is new, before the others."""
        for name in names:
            self.sn(name)
            if len(self.sns) == 1:
                await self.restart(name)
        await self.restart(*(name for name in names if not self.sns[name].is_running))

    async def restart(self, *names: str) -> None:
        """Start SNs again from disk, in this order, and wait until all serve."""
        for name in names:
            self.sns[name].start()
        for name in names:
            await self.ready(name)

    async def ready(self, name: str) -> None:
        """Wait until an SN that was started serves."""
        await self.until_said(name, READY)

    async def until_said(self, name: str, words: str, since: int | None = None) -> None:
        """Wait until an SN's log holds ``words``; ``since`` as in :meth:`SnProcess.said`."""
        sn = self.sns[name]

        def said() -> bool:
            found = words in sn.said(since)
            assert found or sn.is_running, f"SN {name} ended:\n{sn.said()[-3000:]}"
            return found

        await until(said, f"SN {name} does not say {words!r}")

    async def until_it_waits_for_the_chain(self, name: str) -> None:
        """Wait until an SN that is cut off says so to who asks for the contract.

        It does once a write of its own has waited for 3 s; reads are answered all the time.
        """
        client = self.client(name)
        words = f"waiting for the chain (linked to 1 of {len(self.sns)} signers"
        deadline = time.monotonic() + PATIENCE
        while words not in (await client.state(DEFAULT_CONTRACT)).view.waiting_for:
            assert time.monotonic() < deadline, f"SN {name} does not say {words!r}"
            await asyncio.sleep(LOOK)

    def client(self, sn: str, kind: NodeKind = NodeKind.SL, who: str = "1") -> SnClient:
        """A client of that SN alone, which gives up at once."""
        made = SnClient(self.pki.identity(kind, who), [self.sns[sn].api], patience=0.0)
        self._clients.append(made)
        return made

    async def eth(self, sn: str, *calls: tuple[str, list[Any]]) -> list[Any]:
        """Results of JSON-RPC calls to an SN, asked with an operator's certificate."""
        results: list[Any] = []
        for first in range(0, len(calls), BATCH):
            some = calls[first : first + BATCH]
            asked = [
                {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
                for n, (method, params) in enumerate(some)
            ]
            answer = await self._auditor(sn).post(f"https://{self.sns[sn].api}/eth", json=asked)
            answers = sorted(answer.raise_for_status().json(), key=lambda each: each["id"])
            for each in answers:
                assert "result" in each, (sn, each)
            results += [each["result"] for each in answers]
        return results

    def _auditor(self, sn: str) -> httpx.AsyncClient:
        if sn not in self._auditors:
            context = self.pki.identity(NodeKind.SWCI, "auditor").client_context()
            self._auditors[sn] = httpx.AsyncClient(verify=context, timeout=30.0, trust_env=False)
        return self._auditors[sn]

    async def close(self) -> None:
        for client in (*self._clients, *self._auditors.values()):
            await (client.close() if isinstance(client, SnClient) else client.aclose())
        for sn in self.running.values():
            sn.kill()


async def until(condition: Callable[[], bool], complaint: str, seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; for what has no event."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{complaint}, {seconds:.0f} s"
        await asyncio.sleep(LOOK)
