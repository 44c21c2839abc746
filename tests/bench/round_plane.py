"""Four nodes' data planes in four processes, told step by step what to do, without a chain.

Each process is an SL's file server, downloads, store and merge, and the ML program in front of it.
The same steps exist three times: ours, ``naive`` and the floor (copies, raw TLS, a plain sum).
"""

import asyncio
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import urllib3

from services.common.ids import Digest, NodeKind
from services.common.tls import Identity
from services.sl.adapters.file_server import FileServer
from services.sl.adapters.handover import MERGED, TRAINED, deliver, ingest
from services.sl.adapters.merging import merge_files
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from swarmlearning._weights import Inbox, Outbox
from tests.bench import naive
from tests.bench.bench_dataplane import answer_raw
from tests.bench.round_program import NumpyModel
from tests.pki import Pki

SPAWN = multiprocessing.get_context("spawn")
BLOCK = 128 * 1024
"""Items of the floor's sum at a time."""
SUFFIX = ".safetensors"


class Node:
    """What runs in one of the processes.

    Args:
        folder: of this node.
        identity: of this node.
        size: bytes of the model.
        seed: of its values.
    """

    def __init__(self, folder: Path, identity: Identity, size: int, seed: int) -> None:
        self.folder, self.identity = folder, identity
        self.model = NumpyModel(size, seed)
        self.store = Store(folder / "store")
        for stem in (TRAINED, MERGED):
            (folder / (stem + SUFFIX)).touch()
        self.outbox, self.inbox = Outbox(folder), Inbox(folder)
        self.peers = Peers(identity)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.server = FileServer(self.sock, identity, self.store, lambda _: True, lambda *_: True)
        self.flat = np.concatenate(list(self.model.arrays.values()))
        self.warm = [np.zeros_like(self.flat) for _ in range(4)]
        self.raw_sock = socket.create_server(("127.0.0.1", 0))
        self.raw: dict[int, Any] = {}
        self.session = naive.client(identity)
        urllib3.disable_warnings()
        payload = memoryview(self.flat).cast("B")
        threading.Thread(target=self._serve_raw, args=(payload,), daemon=True).start()

    def _serve_raw(self, payload: memoryview) -> None:
        while True:
            plain, _ = self.raw_sock.accept()
            threading.Thread(
                target=answer_raw, args=(plain, self.identity, payload), daemon=True
            ).start()

    # --- ours

    async def share(self) -> tuple[str, int]:
        """The ML program hands its model over, the SL takes it in."""
        self.store.collect(set())
        self.outbox.write(self.model)
        return await asyncio.to_thread(ingest, self.folder, TRAINED + SUFFIX, self.store)

    async def lead(self, inputs: list[tuple[str, str, int]]) -> tuple[str, int]:
        """Fetch the models, merge them, leave a copy with the first peer."""
        fetches = [self.peers.fetch(e, Digest(d), s, self.store) for e, d, s in inputs]
        await asyncio.gather(*fetches)
        own = [path.name for path in self.store.folder.iterdir()]
        file = await merge_files("mean", self.store, [(Digest(d), 1) for d in sorted(own)])
        await self.peers.push(inputs[0][0], file.digest, file.size, self.store)
        return file.digest, file.size

    async def install(self, endpoint: str, digest: str, size: int) -> None:
        """Fetch the merged model and hand it to the ML program."""
        await self.peers.fetch(endpoint, Digest(digest), size, self.store)
        source = self.store.path(Digest(digest))
        name = await asyncio.to_thread(deliver, source, self.folder, TRAINED + SUFFIX)
        self.inbox.receive(name, self.model)

    # --- what one would write first

    async def naive_share(self) -> None:
        naive.save(self.model.arrays, self.folder / "naive" / "model")

    async def naive_lead(self, ports: list[int]) -> None:
        served = self.folder / "naive"

        def get(port: int) -> naive.Model:
            naive.fetch(self.session, port, "model", served / f"from-{port}")
            return naive.load(served / f"from-{port}")

        others = await asyncio.gather(*(asyncio.to_thread(get, port) for port in ports))
        naive.save(naive.merge([naive.load(served / "model"), *others]), served / "merged")

    async def naive_install(self, port: int) -> None:
        merged = self.folder / "naive" / "merged"
        if not merged.exists() or port:
            await asyncio.to_thread(naive.fetch, self.session, port, "merged", merged)
        self.model.load(naive.load(merged))

    # --- the floor

    async def copy(self) -> None:
        np.copyto(self.warm[0], self.flat)

    async def receive(self, ports: list[int]) -> None:
        """One raw TLS transfer from each port."""
        for port in ports:
            if port not in self.raw:
                plain = socket.create_connection(("127.0.0.1", port))
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.raw[port] = self.identity.client_context().wrap_socket(plain)

        def get(port: int, room: memoryview) -> None:
            self.raw[port].sendall(b"?")
            at = 0
            while at < len(room):
                at += self.raw[port].recv_into(room[at : at + (1 << 20)])

        rooms = [memoryview(warm).cast("B") for warm in self.warm]
        works = (
            asyncio.to_thread(get, port, room) for port, room in zip(ports, rooms, strict=False)
        )
        await asyncio.gather(*works)

    async def sum(self) -> None:
        """The cheapest merge there is."""
        out = self.warm[3]
        for at in range(0, len(out), BLOCK):
            part = slice(at, at + BLOCK)
            np.add(self.flat[part], self.warm[0][part], out=out[part])
            np.add(out[part], self.warm[1][part], out=out[part])
            np.add(out[part], self.warm[2][part], out=out[part])
            np.multiply(out[part], np.float32(0.25), out=out[part])


def run_node(folder: Path, identity: Identity, size: int, seed: int, control: Connection) -> None:
    """A process: carries out (method, arguments) from ``control`` and answers."""

    async def serve() -> None:
        node = Node(folder, identity, size, seed)
        async with node.server:
            control.send((node.sock.getsockname()[1], node.raw_sock.getsockname()[1]))
            while (order := await asyncio.to_thread(control.recv)) is not None:
                method, arguments = order
                control.send(await getattr(node, method)(*arguments))

    asyncio.run(serve())


class Plane:
    """All nodes; node 0 leads. Use it in ``with``.

    Args:
        folder: for everything, on a tmpfs.
        size: bytes of the model.
        peers: how many.
    """

    def __init__(self, folder: Path, size: int, peers: int) -> None:
        pki = Pki(folder)
        self._controls: list[Connection] = []
        self._processes: list[Any] = []
        self.ports: list[int] = []
        self.raw_ports: list[int] = []
        self.naive_ports: list[int] = []
        for index in range(peers):
            home = folder / f"node-{index}"
            (home / "naive").mkdir(parents=True)
            identity = pki.identity(NodeKind.SL, str(index))
            self._start(run_node, home, identity, size, index)
            self._start(naive.serve, home / "naive", identity)
        for control in self._controls[::2]:
            port, raw_port = control.recv()
            self.ports.append(port)
            self.raw_ports.append(raw_port)
        self.naive_ports = [control.recv() for control in self._controls[1::2]]

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        self._processes.append(process)
        self._controls.append(ours)

    def cpu_s(self) -> float:
        """CPU seconds that all nodes' processes used so far."""
        ticks = 0
        for process in self._processes:
            words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> "Plane":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def all(self, method: str, arguments: Callable[[int], tuple[Any, ...]]) -> list[Any]:
        """Have all nodes do something at the same time; what they answer."""
        nodes = self._controls[::2]
        for index, control in enumerate(nodes):
            control.send((method, arguments(index)))
        return [control.recv() for control in nodes]

    def one(self, method: str, *arguments: object) -> Any:
        """Have the leader do something."""
        self._controls[0].send((method, arguments))
        return self._controls[0].recv()

    # --- rounds

    def ours(self) -> None:
        """A round of ours."""
        shared = self.all("share", lambda _: ())
        at = [f"127.0.0.1:{port}" for port in self.ports]
        inputs = [(at[i], *shared[i]) for i in range(1, len(at))]
        digest, size = self.one("lead", inputs)
        self.all("install", lambda _: (at[0], digest, size))

    def obvious(self) -> None:
        """A round of the baseline."""
        self.all("naive_share", lambda _: ())
        self.one("naive_lead", self.naive_ports[1:])
        self.all("naive_install", lambda i: (self.naive_ports[0] if i else 0,))

    def floor(self) -> None:
        """The work that no round can do without: 8 copies, 6 TLS transfers, one merge."""
        self.all("copy", lambda _: ())
        self.one("receive", self.raw_ports[1:])
        self.one("sum")
        self.all("receive", lambda i: ([self.raw_ports[0]] if i else [],))
        self.all("copy", lambda _: ())
