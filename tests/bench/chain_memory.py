"""Memory and disk of SNs that have seen many transactions, and what a restart then costs."""

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.chain_latency import NEVER
from tests.bench.sn_peers import Ledger, Peer, peers_of
from tests.bench.sn_swarm import MIB, Disk, Sn, SnSwarm, Usage

TARGET_MB = 120
"""Of each SN after 10,000 transactions, 1 MB being 2**20 bytes."""
STEPS = 4
"""How often to look on the way."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there is after so many transactions."""

    transactions: int
    blocks: int
    seconds: float
    usage: list[Usage]
    disk: list[Disk]


def options(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("--sns", type=int, default=3)
    parser.add_argument("--peers", type=int, default=32)
    parser.add_argument("--transactions", type=int, default=10_000)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill the chain with check-ins, restart every SN, and print what they use."""
    wanted = 400 if arguments.quick else arguments.transactions
    looks: list[Look] = []
    began = time.perf_counter()
    async with SnSwarm(arguments.sns) as swarm:
        async with peers_of(swarm, arguments.peers, NEVER) as peers:
            looks.append(await _look(swarm, looks, began))
            for step in range(1, STEPS + 1):
                await _fill(peers, wanted * step // STEPS - looks[-1].transactions)
                looks.append(await _look(swarm, looks, began))
                print(f"{looks[-1].transactions} done, {looks[-1].seconds:.0f} s", file=sys.stderr)
        restarts = [await _restart(sn) for sn in swarm.sns]
    _report(looks, restarts)
    return {
        "sns": arguments.sns, "peers": arguments.peers, "looks": [asdict(look) for look in looks],
        "restarts": [{"ready_s": s, "import_s": i, **asdict(u)} for s, i, u in restarts],
    }  # fmt: skip


async def _fill(peers: list[Peer], count: int) -> None:
    left = iter(range(count))

    async def check_in(peer: Peer) -> None:
        for _ in left:
            await peer.check_in()

    await asyncio.gather(*(check_in(peer) for peer in peers))


async def _look(swarm: SnSwarm, before: list[Look], began: float) -> Look:
    ledger = Ledger(swarm, swarm.sns[0])
    usage = [sn.usage() for sn in swarm.sns]  # before the questions below, which cost, too
    head = await ledger.head()
    known = before[-1] if before else Look(0, -1, 0.0, [], [])
    new = await ledger.transactions(known.blocks + 1, head)
    await ledger.close()
    return Look(
        known.transactions + new, head, time.perf_counter() - began, usage,
        [sn.disk() for sn in swarm.sns],
    )  # fmt: skip


async def _restart(sn: Sn) -> tuple[float, float, Usage]:
    await sn.stop()
    await sn.start()
    return sn.ready_s, sn.import_s, sn.usage()


def _report(looks: list[Look], restarts: list[tuple[float, float, Usage]]) -> None:
    print(f"{len(restarts)} SNs, MB (2**20 bytes), the largest of them")
    print(f"{'transactions':>12}{'blocks':>8}{'s':>7}{'rss':>7}{'pss':>7}{'files':>7}", end="")
    print(f"{'payload':>9}{'CPU s':>8}")
    for look in looks:
        rss, pss = max(u.rss for u in look.usage), max(u.pss for u in look.usage)
        files = max(d.files for d in look.disk)
        payload = max(sum(d.payload.values()) for d in look.disk)
        print(f"{look.transactions:12}{look.blocks:8}{look.seconds:7.0f}", end="")
        print("".join(f"{size / MIB:7.1f}" for size in (rss, pss, files)), end="")
        print(f"{payload / MIB:9.1f}{max(u.cpu_s for u in look.usage):8.1f}")
    first, last = looks[0], looks[-1]
    new = max(1, last.transactions - first.transactions)
    print("growth per transaction, bytes:", end="")
    for name, grown in _growth(first, last).items():
        print(f" {name} {grown / new:.0f}", end="")
    print(f"\nblocks hold {new / max(1, last.blocks - first.blocks):.1f} transactions each")
    for number, (ready, imports, usage) in enumerate(restarts, start=1):
        print(f"SN {number} restarted: ready in {ready:.2f} s ({imports:.2f} imports), ", end="")
        print(f"rss {usage.rss / MIB:.1f}, pss {usage.pss / MIB:.1f}")
    largest = max(u.rss for u in last.usage) / MIB
    verdict = "within" if largest <= TARGET_MB else "OVER"
    print(f"memory {largest:.0f} MB after {last.transactions}: {verdict} the target of {TARGET_MB}")


def _growth(first: Look, last: Look) -> dict[str, float]:
    count = len(first.usage)
    pairs = [(first.disk[n], last.disk[n]) for n in range(count)]
    grown: dict[str, float] = {
        "memory": max(b.rss - a.rss for a, b in zip(first.usage, last.usage, strict=True)),
        "files": max(b.files - a.files for a, b in pairs),
    }
    for table in last.disk[0].payload:
        grown[f"table {table}"] = max(b.payload[table] - a.payload[table] for a, b in pairs)
    return grown
