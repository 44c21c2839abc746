"""Real SNs on loopback for the benchmarks of the chain: started, measured, ended.

Every SN is ``python -m services.sn`` with a folder, a certificate and ports of its own. All that
the benchmarks know of it is its environment, its log lines, its API and what ``/proc`` says.
"""

import asyncio
import os
import re
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from services.common.ids import NodeKind
from tests.pki import Pki

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that anything may take on a busy machine before the run counts as broken."""
IMPORTED = "Setting up blockchain layer for the swarm node: START"
"""The first thing that an SN says, once all is imported."""
READY = re.compile(r"Starting SWARM-API-SERVER on port: (\d+)$")
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has used so far."""

    cpu_s: float
    rss: int
    """Bytes in memory."""
    pss: int
    """The same, pages shared with other processes divided among them."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What one SN keeps."""

    files: int
    """Bytes of all files in its folder."""
    rows: dict[str, int]
    """Rows by table."""
    payload: dict[str, int]
    """Bytes in those rows by table, without what SQLite adds."""


class Sn:
    """One SN process. It can be started again on the same folder and ports.

    Args:
        name: of its certificate, and of its folder.
        folder: where its folder lies.
        pki: issues its certificate.
        join: the SN to join; None: this one is the sentinel.
    """

    def __init__(self, name: str, folder: Path, pki: Pki, join: "Sn | None") -> None:
        self.name = name
        self.folder = folder / f"sn-{name}"
        self.api_port, p2p_port = free_ports(2)
        self.lines: list[str] = []
        self.import_s = self.ready_s = 0.0
        """Seconds from exec until all was imported, and until it was ready."""
        entry = join.api_port if join is not None else 1
        ours = {name for name in os.environ if name.startswith(("SN_", "SWARM_", "SENTINEL_"))}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in ours},
            **pki.files(NodeKind.SN, name), "THIS_NODE_IP": "127.0.0.1",
            "SWARM_BIND_IP": "127.0.0.1", "SN_API_SERVER_PORT": str(self.api_port),
            "SN_P2P_LISTEN_PORT": str(p2p_port), "SN_DATA_DIR": str(self.folder),
            "SN_I_AM_SENTINEL": "true" if join is None else "false",
            "SENTINEL_NODE_IP": "" if join is None else "127.0.0.1",
            "SENTINEL_API_SERVER_PORT": str(entry),
        }  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> str:
        """Its API, ``host:port``."""
        return f"127.0.0.1:{self.api_port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def start(self) -> None:
        """Start it; returns once it is ready.

        Raises:
            RuntimeError: it ended instead.
        """
        began = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.sn", cwd=ROOT, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self._process, began, ready))
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([ready, self._reader], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise RuntimeError(f"SN {self.name} ended: " + "\n".join(self.lines[-5:]))

    async def _read(
        self, process: asyncio.subprocess.Process, began: float, ready: asyncio.Future[None]
    ) -> None:
        assert process.stdout is not None, "it was asked for"
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.lines = [*self.lines[-200:], line]
            if line.endswith(IMPORTED):
                self.import_s = time.perf_counter() - began
            if READY.search(line) and not ready.done():
                self.ready_s = time.perf_counter() - began
                ready.set_result(None)

    async def stop(self) -> None:
        """End it as an operator does; harmless to repeat."""
        if self._process is None or self._reader is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(PATIENCE / 4):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reader

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage_of(self.pid)

    def disk(self) -> Disk:
        """What it keeps; it may run meanwhile."""
        files = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        (database,) = self.folder.glob("*.sqlite3")
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
            names = [row[0] for row in sql.execute("select name from sqlite_master")]
            tables = [name for name in names if not name.startswith("sqlite_")]
            counted = {table: _count(sql, table) for table in tables}
        return Disk(
            files, {t: rows for t, (rows, _) in counted.items()},
            {t: size for t, (_, size) in counted.items()},
        )  # fmt: skip


class SnSwarm:
    """SNs in a temporary folder that goes away with them; ``async with SnSwarm(3) as swarm``.

    Args:
        count: how many SNs; the first is the sentinel.
        at_once: start them together, as an orchestrator does, instead of one after another.
    """

    def __init__(self, count: int, *, at_once: bool = False) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="swarm-bench-")
        folder = Path(self._temporary.name)
        self.pki = Pki(folder)
        first = Sn("1", folder, self.pki, None)
        self.sns = [first, *(Sn(str(n), folder, self.pki, first) for n in range(2, count + 1))]
        self._at_once = at_once
        self.ready_s = 0.0
        """Seconds from the first exec until the last SN was ready."""

    async def __aenter__(self) -> "SnSwarm":
        began = time.perf_counter()
        try:
            if self._at_once:
                async with asyncio.TaskGroup() as starting:
                    for sn in self.sns:
                        starting.create_task(sn.start())
            else:
                for sn in self.sns:
                    await sn.start()
        except BaseException:
            await self._end()
            raise
        self.ready_s = time.perf_counter() - began
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        await asyncio.gather(*(sn.stop() for sn in self.sns))
        self._temporary.cleanup()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


def usage_of(pid: int) -> Usage:
    """What a process has used so far."""
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in (folder / "smaps_rollup").read_text().splitlines()[1:]
    }
    return Usage((int(fields[11]) + int(fields[12])) / TICK, memory["Rss"], memory["Pss"])


def quantile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> str:
    """One line about where and when this was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if "model name" in line
        ),
        "unknown processor",
    )
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores of {model}, Python "
        f"{sys.version.split()[0]}, load before {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _count(sql: sqlite3.Connection, table: str) -> tuple[int, int]:
    columns = [row[1] for row in sql.execute(f"pragma table_info({table})")]
    size = " + ".join(f"ifnull(length({column}), 0)" for column in columns)
    rows, payload = sql.execute(f"select count(*), total({size}) from {table}").fetchone()
    return int(rows), int(payload)
