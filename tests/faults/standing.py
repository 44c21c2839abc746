"""One SN that stands while many fault tests run on it, each on a training of its own.

A training is a contract and its SL and ML pairs. The SLs reach each other's file servers through a
:class:`~tests.faults.proxy.Proxy` per pair, so that a test can do to a peer's line what it likes;
ML programs (`light_ml`) take each step when the test says so. Nothing here sleeps to synchronise:
tests wait for what the contract shows (:meth:`Training.until`), always with a deadline.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from compose.plan import REPOSITORY
from services.common import sn_api as api
from services.common.ids import NodeId, NodeKind
from services.common.sn_client import SnClient
from tests.faults.network import ENDS_WITH_US
from tests.faults.proxy import Proxy
from tests.faults.zygote import Child, Zygote
from tests.pki import Pki

PATIENCE = 90.0
"""Seconds after which something that should happen counts as never; machines are slow."""
SMALL, LARGE = 1000, 250_000
"""Float32 items of a model: 4 kB, 1 MB."""
BIGGER_THAN_TALK = 48 * 1024
"""Bytes: more than handshakes and requests, less than a LARGE model."""


_PORTS = itertools.count(random.SystemRandom().randrange(12_000, 18_000))
"""Below those that systems give to outgoing connections, and those that `compose.local` chooses
from: any of these could be taken in the moment before its service listens."""


def free_port() -> int:
    """A port that nobody else listens on, another one each time."""
    for port in _PORTS:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("ports have no end")


class Standing:
    """The SN, and what starts pairs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pki = folder, Pki(folder / "pki")
        self.port, self._p2p = free_port(), free_port()
        self.zygote = Zygote()
        self._sn: subprocess.Popen[bytes] | None = None
        self._lives = self._trainings = 0

    @property
    def api(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_sn(self) -> None:
        """Start the SN from what its folder holds, and wait until it serves."""
        self._lives += 1
        log = self.folder / f"sn-{self._lives}.log"
        with log.open("wb") as out:
            self._sn = subprocess.Popen(
                [*ENDS_WITH_US, sys.executable, "-m", "services.sn"], cwd=REPOSITORY,
                stdout=out, stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
                    "THIS_NODE_IP": "127.0.0.1", "SWARM_BIND_IP": "127.0.0.1",
                    "SN_I_AM_SENTINEL": "True", "SN_API_SERVER_PORT": str(self.port),
                    "SN_P2P_LISTEN_PORT": str(self._p2p),
                    "SN_DATA_DIR": str(self.folder / "chain"),
                    **self.pki.files(NodeKind.SN),
                },
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while "Starting SWARM-API-SERVER" not in (said := log.read_text()):
            assert self._sn.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)  # a log has no event to wait for

    def kill_sn(self) -> None:
        assert self._sn is not None
        self._sn.kill()
        self._sn.wait()

    def client(self, kind: NodeKind = NodeKind.SWCI, who: str = "1") -> SnClient:
        return SnClient(self.pki.identity(kind, who), [self.api], patience=15.0)

    async def training(
        self, name: str, min_peers: int, items: int = SMALL, method: str = "mean"
    ) -> "Training":
        """A new contract; close it at the end."""
        self._trainings += 1
        folder = self.folder / f"{self._trainings:02}-{name}"
        made = Training(self, f"{name}-{self._trainings}", folder, min_peers, items, method)
        await made.client.create_contract(made.name)
        return made

    def close(self) -> None:
        self.zygote.close()
        if self._sn is not None:
            self.kill_sn()


class Pair:
    """An SL and its ML program."""

    def __init__(self, training: "Training", number: int, changes: dict[str, str]) -> None:
        self.training, self.number = training, number
        self.uid = NodeId(f"{number:02}{uuid4().hex[2:]}")
        """Merges are summed in the order of peers: that of their numbers, in every training."""
        self.folder = training.folder / f"pair-{number}"
        self.folder.mkdir()
        self.store, self.journal = self.folder / "store", self.folder / "journal.jsonl"
        port = free_port()
        self.proxy = Proxy(port, free_port())
        self.shared = {
            "SL_REQUEST_CHANNEL": str(self.folder / "request"),
            "SL_RESPONSE_CHANNEL": str(self.folder / "response"),
            "SL_WEIGHTS_DIR": str(self.folder), "MIN_PEERS": str(training.min_peers),
            "NODE": str(number), "ITEMS": str(training.items), "CONTRACT": training.name,
            "KEPT": str(training.kept), "CALLBACK": json.dumps({"mergeMethod": training.method}),
        }  # fmt: skip
        standing = training.standing
        self.settings = {
            **self.shared, **standing.pki.files(NodeKind.SL, str(number)),
            "SWARM_BIND_IP": "127.0.0.1", "THIS_NODE_IP": "127.0.0.1", "SN_NODE_IP": "127.0.0.1",
            "SWARM_NODE_UID": self.uid, "SN_API_SERVER_PORT": str(standing.port),
            "SL_FS_PORT": str(self.proxy.port), "SL_FS_LISTEN_PORT": str(port),
            "SL_STORE_DIR": str(self.store), "SL_RESULT_FILE": str(self.folder / "result.json"),
            "SL_JOURNAL_FILE": str(self.journal), "SL_WAIT_FOR_FULL_QUORUM_SECONDS": "1", **changes,
        }  # fmt: skip
        self.sl: Child
        self.ml: Child | None = None

    def start_sl(self) -> None:
        log = self.folder / "sl.log"
        start = self.training.standing.zygote.start
        self.sl = start(f"sl-{self.number}", "services.sl", log, self.settings)

    def start_ml(self, **changes: str) -> None:
        log = self.folder / "ml.log"
        start = self.training.standing.zygote.start
        module, settings = "tests.faults.light_ml", {**self.shared, **changes}
        self.ml = start(f"ml-{self.number}", module, log, settings)

    def sync(self, times: int = 1) -> None:
        """Have the ML program train a batch and sync."""
        assert self.ml is not None
        for _ in range(times):
            self.ml.tell("sync")

    @property
    def synced(self) -> int:
        """How many syncs its ML program has behind it."""
        return self.ml.said(1_000_000).count("Merge Done") if self.ml else 0

    def finish(self) -> None:
        """Have the ML program end its training."""
        assert self.ml is not None
        self.ml.tell("end")

    def kill(self) -> None:
        """SIGKILL both."""
        for child in self.children:
            child.send(signal.SIGKILL)

    def restart(self) -> None:
        """Kill both and start them again as the same node, on what is on its disk."""
        for child in self.children:
            child.close()
        self.start_sl()
        self.start_ml()

    @property
    def children(self) -> list[Child]:
        return [self.sl, *([self.ml] if self.ml else [])]

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def of(self, view: api.ContractView) -> api.PeerView:
        return next(p for p in view.peers if p.uid == self.uid)


class Training:
    """A contract and its pairs."""

    def __init__(
        self, standing: Standing, name: str, folder: Path, min_peers: int, items: int, method: str
    ) -> None:
        self.standing, self.name, self.folder = standing, name, folder
        self.min_peers, self.items, self.method = min_peers, items, method
        self.kept = folder / "kept"
        """All models that ML programs handed over or got, by digest."""
        self.kept.mkdir(parents=True)
        self.client = standing.client()
        self.pairs: list[Pair] = []
        self.events: list[api.Event] = []
        """All of the ledger that was seen so far."""
        self._cursor = "0"
        self._stack = AsyncExitStack()
        self._stack.push_async_callback(self.client.close)

    async def pair(self, with_ml: bool = True, **changes: str) -> Pair:
        """Start another pair; ``changes`` are settings of its SL."""
        made = Pair(self, len(self.pairs), changes)
        await self._stack.enter_async_context(made.proxy)
        self.pairs.append(made)
        made.start_sl()
        if with_ml:
            made.start_ml()
        return made

    async def start(self, count: int, **changes: str) -> list[Pair]:
        """Start that many pairs and wait until all are enrolled."""
        made = [await self.pair(**changes) for _ in range(count)]
        await self.enrolled(*made)
        return made

    async def enrolled(self, *pairs: Pair) -> None:
        """Wait until these pairs, all by default, take part."""
        wanted = {pair.uid for pair in pairs or self.pairs}
        await self.until(lambda v: wanted <= {p.uid for p in v.peers if p.live}, "not all enrolled")

    async def enter(self, context: Any) -> Any:
        """Something else that lives as long as the training."""
        return await self._stack.enter_async_context(context)

    def sync(self, times: int = 1) -> None:
        for pair in self.pairs:
            pair.sync(times)

    def at_end(self, action: Callable[[], object]) -> None:
        """Do that when the training is closed."""
        self._stack.callback(action)

    def leader(self, view: api.ContractView) -> Pair:
        return next(p for p in self.pairs if p.uid == view.leader)

    def others(self, *but: Pair) -> list[Pair]:
        return [p for p in self.pairs if p not in but]

    async def view(self) -> api.ContractView:
        return (await self.client.state(self.name)).view

    async def until(
        self,
        happened: Callable[[api.ContractView], bool],
        complaint: str,
        seconds: float = PATIENCE,
    ) -> api.ContractView:
        """Wait until the contract is as wanted; that view."""
        deadline = time.monotonic() + seconds
        while True:
            state = await self.look(1.0)
            if happened(state.view):
                return state.view
            assert time.monotonic() < deadline, (
                f"{complaint}, {seconds:.0f} s: {state.view}\n{self.said()}"
            )

    async def look(self, wait: float = 0.0) -> api.ContractState:
        """The contract after its next change, at the latest in ``wait`` seconds; notes events."""
        state = await self.client.watch(self.name, self._cursor, wait)
        self._cursor = state.cursor
        self.events += state.events
        return state

    async def until_round(self, number: int, seconds: float = PATIENCE) -> api.ContractView:
        """Wait until that round is open."""
        return await self.until(lambda v: v.round >= number, f"round {number} not open", seconds)

    async def end(self, *pairs: Pair, seconds: float = PATIENCE) -> None:
        """Have these pairs' ML programs finish, all by default, and wait until they ended well."""
        expected = pairs or tuple(self.pairs)
        for pair in expected:
            pair.finish()
        for pair in expected:
            for child in pair.children:
                assert await child.end(seconds) == 0, child.said()

    async def synced(self, times: int, *pairs: Pair, seconds: float = PATIENCE) -> None:
        """Wait until these pairs, all by default, have that many syncs behind them, and rest."""
        for pair in pairs or self.pairs:
            await until(
                lambda p=pair: p.synced >= times, f"{pair.number}: {pair.synced} syncs", seconds
            )

    def story(self) -> str:
        """The ledger in lines, with the peers' numbers for their names."""
        numbers = {pair.uid: f"peer {pair.number}" for pair in self.pairs}
        lines = []
        for event in self.events:
            data = {
                name: numbers.get(str(value), str(value)[:60])
                for name, value in event.data.items()
                if name in ("peer", "leader", "term", "reason", "code", "detail")
            }
            lines.append(f"{event.time} r{event.round} {event.kind} {data}")
        return "\n".join(lines)

    def said(self) -> str:
        """The last lines of all logs."""
        return "\n".join(f"{c}: {c.said(900)}" for pair in self.pairs for c in pair.children)

    async def close(self) -> None:
        for pair in self.pairs:
            for child in pair.children:
                child.close()
        await self._stack.aclose()


async def held(*ways: Any, complaint: str) -> None:
    """Wait until one of these ways of a proxy holds something back."""
    waiting = [asyncio.ensure_future(way.held.wait()) for way in ways]
    done, rest = await asyncio.wait(
        waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
    )  # fmt: skip
    for each in rest:
        each.cancel()
    assert done, complaint


async def until(condition: Callable[[], bool], complaint: str, seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; for files and processes, which have no event."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{complaint}, {seconds:.0f} s"
        await asyncio.sleep(0.02)


Make = Callable[..., Awaitable[Training]]
