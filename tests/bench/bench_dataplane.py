"""Speed of the data plane against floors measured in the same run.

``python -m tests.bench.bench_dataplane [MB]`` prints a table: file server + client against a raw
TLS socket, merging against a copy and against ``np.mean`` over a stack. Take the ratios, not the
times (``PERFORMANCE.md``).
"""

import asyncio
import multiprocessing
import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from services.common.ids import Digest, NodeKind
from services.common.tls import Identity
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.merging import merge_files
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sl.core.merge import merge
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import Layout, arrange, write_header
from tests.pki import Pki

REPEATS = 9
PEERS = 4
SPAWN = multiprocessing.get_context("spawn")


def serve_raw(sock: socket.socket, identity: Identity, size: int, ready: Connection) -> None:
    """The floor: any byte from the client is answered with ``size`` bytes from memory."""
    payload = memoryview(np.random.default_rng(0).bytes(size))
    sock.listen()
    ready.send(True)
    answer_raw(sock.accept()[0], identity, payload)


def answer_raw(plain: socket.socket, identity: Identity, payload: memoryview) -> None:
    """Serve one connection of the floor."""
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with identity.server_context().wrap_socket(plain, server_side=True) as tls:
        while tls.recv(1):
            for at in range(0, len(payload), 1 << 18):
                tls.sendall(payload[at : at + (1 << 18)])


def serve_ours(sock: socket.socket, identity: Identity, folder: Path, ready: Connection) -> None:
    """Our file server over the files in ``folder``."""

    async def serve() -> None:
        store = Store(folder)
        for path in folder.iterdir():
            store.has(Digest(path.name))
        async with FileServer(sock, identity, store, lambda _: True):
            ready.send(True)
            await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def served(target: Callable[..., None], *arguments: object) -> Iterator["Served"]:
    """A server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=target, args=(sock, *arguments, theirs), daemon=True)
        process.start()
        assert process.pid is not None
        ours.recv()
        try:
            yield Served(sock.getsockname()[1], process.pid)
        finally:
            process.terminate()
            process.join()


@dataclass(frozen=True, slots=True)
class Served:
    """A server in a process of its own."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds it has used so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    cpu, began = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def medians(runs: list[tuple[float, float]]) -> tuple[float, float]:
    """Median wall and median CPU seconds."""
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def bench_transfer(folder: Path, size: int) -> Iterator[tuple[str, float, float | None]]:
    """File server and client against a raw TLS socket: (name, seconds, of the floor)."""
    pki = Pki(folder)
    server, client = pki.identity(NodeKind.SL, "1"), pki.identity(NodeKind.SL, "2")
    theirs, ours = folder / "theirs", Store(folder / "ours")
    source = Store(theirs)
    payload = np.random.default_rng(0).bytes(size)
    digest = Digest(digest_of(payload))
    with source.writer() as draft:
        draft.write(payload)
        draft.commit(digest)
    room = memoryview(bytearray(1 << 20))

    def raw(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"?")
        left = size
        while left:
            left -= tls.recv_into(room[: min(left, len(room))])

    with (
        served(serve_raw, server, size) as raw_server,
        served(serve_ours, server, theirs) as our_server,
        socket.create_connection(("127.0.0.1", raw_server.port)) as plain,
        client.client_context().wrap_socket(plain) as tls,
        asyncio.Runner() as runner,
    ):
        peers = Peers(client)

        def fetch() -> None:
            ours.collect(set())
            runner.run(peers.fetch(f"127.0.0.1:{our_server.port}", digest, size, ours))

        raw(tls)
        fetch()
        floor, mine = [], []
        before = raw_server.cpu_s(), our_server.cpu_s()
        for _ in range(REPEATS):
            floor.append(timed(lambda: raw(tls)))
            mine.append(timed(fetch))
        peers.close()
        raw_s, raw_cpu = medians(floor)
        our_s, our_cpu = medians(mine)
        yield "raw TLS socket (floor)", raw_s, 1.0
        yield "file server -> store, verified", our_s, raw_s / our_s
        for name, client_s, serving, then in (
            ("raw", raw_cpu, raw_server, before[0]), ("ours", our_cpu, our_server, before[1])
        ):  # fmt: skip
            server_s = (serving.cpu_s() - then) / REPEATS
            yield f"  CPU seconds per GB, {name}: client", client_s / size * 1e9, None
            yield f"  CPU seconds per GB, {name}: server", server_s / size * 1e9, None
            note = " (target 2.6)" if name == "ours" else ""
            yield f"  CPU seconds per GB in all{note}", (client_s + server_s) / size * 1e9, None


def bench_merge(folder: Path, size: int) -> Iterator[tuple[str, float, float | None]]:
    """Merging against np.mean and a copy: (name, seconds, times faster than np.mean)."""
    count = size // 4
    layout = arrange([("w", "F32", (count,))])
    store = Store(folder / "merge")
    random = np.random.default_rng(1)
    models = [random.standard_normal(count, dtype=np.float32) for _ in range(PEERS)]
    inputs = [(stored(store, layout, model), 1) for model in models]
    sections, out = [memoryview(m) for m in models], np.empty(count, np.float32)
    runs: dict[str, list[tuple[float, float]]] = {}
    with asyncio.Runner() as runner:
        works: dict[str, Callable[[], object]] = {
            "np.mean(np.stack(...)), float64": lambda: np.mean(
                np.stack(models), axis=0, dtype=np.float64
            ),
            "memcpy of one model": lambda: np.copyto(out, models[0]),
            "merge in memory": lambda: merge("mean", layout, sections, [1] * PEERS, out.data),
            "merge_files, hashed and stored": lambda: runner.run(
                merge_files("mean", store, inputs)
            ),
        }
        for _ in range(REPEATS):
            for name, work in works.items():
                runs.setdefault(name, []).append(timed(work))
    naive = medians(runs["np.mean(np.stack(...)), float64"])[0]
    for name, measured in runs.items():
        yield name, medians(measured)[0], naive / medians(measured)[0]


def stored(store: Store, layout: Layout, model: np.ndarray) -> Digest:
    """Put a model into the store."""
    header = bytearray(layout.data_offset)
    write_header(header, layout)
    whole = bytes(header) + model.tobytes()
    digest = Digest(digest_of(whole))
    with store.writer() as draft:
        draft.write(whole)
        draft.commit(digest)
    return digest


def main() -> None:
    """Measure and print."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else "100") * 1_000_000
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        print(f"{size // 10**6} MB, {PEERS} inputs to merge, medians of {REPEATS}, in turn")
        print(f"{'':40}{'s':>8}{'ratio':>8}")
        for rows in (bench_transfer(folder, size), bench_merge(folder, size)):
            for what, spent, ratio in rows:
                print(f"{what:40}{spent:8.3f}" + (f"{ratio:8.2f}" if ratio else ""))


if __name__ == "__main__":
    main()
