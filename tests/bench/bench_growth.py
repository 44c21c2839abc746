"""What a long training costs one SN: memory and disk per round, and how long a restart takes.

    python -m tests.bench.bench_growth [--rounds 3000] [--peers 4] [--folder DIR]

Starts a real SN process and plays its peers through the API. A folder from an earlier run is gone
on with; then ``--rounds 0`` only measures restarts and reading. ``--code`` names another checkout
whose SN is to be measured.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from services.common import sn_api as api
from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST, NodeKind
from services.common.sn_client import SnClient
from services.sn.adapters.snapshots import FILE
from tests.pki import Pki

ROOT = Path(__file__).parents[2]
BEAT_SECONDS = 1.0
READY = re.compile(r"Starting SWARM-API-SERVER on port: (\d+)$")


class Sn:
    """A sentinel as a process of its own."""

    def __init__(self, pki: Pki, folder: Path, code: Path) -> None:
        self.data = folder / "chain"
        self._code = code
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SN_", "SWARM_"))},
            **pki.files(NodeKind.SN, "1"), "THIS_NODE_IP": "127.0.0.1",
            "SWARM_BIND_IP": "127.0.0.1", "SN_API_SERVER_PORT": "0", "SN_P2P_LISTEN_PORT": "0",
            "SN_DATA_DIR": str(self.data), "SN_I_AM_SENTINEL": "true",
        }  # fmt: skip

    async def start(self) -> float:
        """Start it; the seconds until it serves its API."""
        started = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.sn", cwd=self._code, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if ready := READY.search(line.decode().rstrip()):
                self.endpoint = f"127.0.0.1:{ready[1]}"
                self._reading = asyncio.create_task(self._process.stdout.read())
                return time.monotonic() - started
        raise AssertionError("the SN ended")

    async def stop(self, *, kill: bool = False) -> None:
        """End it, cleanly or not."""
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        await self._process.wait()
        await self._reading

    def memory(self) -> int:
        """Resident bytes."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024

    def disk(self) -> int:
        """Bytes of its data folder."""
        return sum(file.stat().st_size for file in self.data.iterdir())


class Peers:
    """The SL nodes of a training, as far as the chain sees them."""

    def __init__(self, pki: Pki, sn: Sn, count: int) -> None:
        self._uids = [f"{number:032x}" for number in range(1, count + 1)]
        self._clients = [
            SnClient(pki.identity(NodeKind.SL, str(number)), [sn.endpoint])
            for number in range(1, count + 1)
        ]

    async def enrol(self) -> None:
        """Register and join."""
        for uid, client in zip(self._uids, self._clients, strict=True):
            node = api.NodeRegistration(kind=NodeKind.SL, endpoint="sl:30305", container="sl")
            await client.register(uid, node)
            await self._write(uid, "enrol", api.Enrol(min_peers=len(self._uids)))

    async def beat(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            pairs = zip(self._uids, self._clients, strict=True)
            await asyncio.gather(*(client.alive(uid) for uid, client in pairs))
            await asyncio.sleep(BEAT_SECONDS)

    async def round(self) -> None:
        """Play one round."""
        view = (await self._clients[0].state(DEFAULT_CONTRACT)).view
        base = view.merged.digest if view.merged else NO_DIGEST
        perf = api.Perf(loss=0.5, metric=0.9, epochs=1, total_epochs=9) if view.merged else None
        await asyncio.gather(*(
            self._write(uid, "checkin", api.CheckIn(
                generation=view.generation, round=view.round, base=base, size=1000, weightage=1,
                digest=f"{view.round:032x}{uid}", state=api.PeerState.TRAINING, perf=perf,
            ))
            for uid in self._uids
        ))  # fmt: skip
        view = (await self._clients[0].state(DEFAULT_CONTRACT)).view
        about = {"generation": view.generation, "round": view.round, "term": view.term}
        await self._write(view.leader, "freeze", api.OfTerm(**about))
        await self._write(view.leader, "publish", api.Publish(
            **about, digest=f"{view.round:064x}", size=1000, contributors=self._uids,
        ))  # fmt: skip

    async def _write(self, uid: str, verb: str, body: object) -> None:
        await self._clients[self._uids.index(uid)].peer(DEFAULT_CONTRACT, uid, verb, body)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()


async def grow(sn: Sn, pki: Pki, rounds: int, count: int) -> None:
    """Play rounds, and print what they cost."""
    peers = Peers(pki, sn, count)
    await peers.enrol()
    beating = asyncio.create_task(peers.beat())
    for number in range(rounds + 1):
        if number % max(1, rounds // 6) == 0:
            print(f"round {number:6}: memory {sn.memory() / 1e6:6.1f} MB, "
                  f"disk {sn.disk() / 1e6:6.1f} MB", flush=True)  # fmt: skip
        if number < rounds:
            await peers.round()
    beating.cancel()
    await asyncio.wait([beating])
    await peers.close()


async def read_back(sn: Sn, pki: Pki) -> None:
    """Read the ledger's rounds through the API."""
    client = SnClient(pki.identity(NodeKind.SL, "1"), [sn.endpoint])
    for what in ("all rounds", "all rounds again"):
        started = time.monotonic()
        records = await client.rounds(DEFAULT_CONTRACT)
        print(f"{what}: {len(records)} in {time.monotonic() - started:.1f} s, "
              f"memory {sn.memory() / 1e6:.1f} MB")  # fmt: skip
    await client.close()


async def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--code", type=Path, default=ROOT)
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="growth-"))
    folder.mkdir(exist_ok=True)
    pki = Pki(folder)
    sn = Sn(pki, folder, args.code)
    print(f"start: {await sn.start():.1f} s", flush=True)
    if args.rounds:
        started = time.monotonic()
        await grow(sn, pki, args.rounds, args.peers)
        print(f"{args.rounds} rounds took {time.monotonic() - started:.0f} s")
    await sn.stop()
    print(f"stopped: disk {sn.disk() / 1e6:.1f} MB in {folder}")
    print(f"restart after a clean stop: {await sn.start():.1f} s")
    await sn.stop(kill=True)
    (sn.data / FILE).unlink(missing_ok=True)
    print(f"restart without a snapshot: {await sn.start():.1f} s")
    print(f"memory then: {sn.memory() / 1e6:.1f} MB")
    if args.code == ROOT:
        await read_back(sn, pki)
    await sn.stop()


if __name__ == "__main__":
    asyncio.run(main())
