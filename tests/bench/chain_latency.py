"""Submit to visible: how long until a write at one SN is confirmed, and seen at the others."""

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Any

from services.common import sn_api as api
from services.common.ids import DEFAULT_CONTRACT
from tests.bench.chain_floor import block_s, fsync_s, request_s
from tests.bench.sn_peers import Ledger, Peer, peers_of
from tests.bench.sn_swarm import PATIENCE, SnSwarm, quantile

MEDIAN_S, P95_S = 0.100, 0.250
"""Targets, for visible at all SNs."""
PAUSE_S = 0.02
"""Between two samples, so that each meets SNs that are idle."""
NEVER = 1000
"""minPeers that no run reaches: the first round stays open for check-ins."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds from sending one write."""

    answered: float
    first: float
    """Visible at the first of the other SNs."""
    all: float
    """Visible everywhere."""


def options(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("--sns", type=int, default=3)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--burst-peers", type=int, default=48)
    parser.add_argument("--burst-writes", type=int, default=10, help="of each peer")


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure single writes, then a burst, and print both beside the floors."""
    samples = 30 if arguments.quick else arguments.samples
    count = 12 if arguments.quick else arguments.burst_peers
    async with SnSwarm(arguments.sns) as swarm, peers_of(swarm, count, NEVER) as peers:
        writers = peers[: arguments.sns]
        floors = [await _floors(writers[0], samples)]
        singles = await _singles(writers, samples)
        floors.append(await _floors(writers[0], samples))
        burst = await _burst(swarm, peers, 3 if arguments.quick else arguments.burst_writes)
    floor = {name: statistics.median(one[name] for one in floors) for name in floors[0]}
    return _report(arguments.sns, floor, singles, burst)


async def _floors(peer: Peer, repeats: int) -> dict[str, float]:
    request = statistics.median(await request_s(peer, repeats))
    block, fsync = await asyncio.to_thread(lambda: (block_s(repeats // 3), fsync_s(repeats // 3)))
    return {
        "mutual-TLS request that writes nothing": request,
        "py-evm makes a block of one check-in": statistics.median(block),
        "write 16 KiB and fsync": statistics.median(fsync),
    }


async def _singles(writers: list[Peer], samples: int) -> list[Sample]:
    """Writes through each SN in turn, each after the one before is visible everywhere."""
    found: list[Sample] = []
    for number in range(samples):
        writer = writers[number % len(writers)]
        found.append(await _single(writer, [peer for peer in writers if peer is not writer]))
        await asyncio.sleep(PAUSE_S)
    return found


async def _single(writer: Peer, others: list[Peer]) -> Sample:
    cursors = [(await peer.client.state(DEFAULT_CONTRACT)).cursor for peer in others]
    writer_view = await writer.client.state(DEFAULT_CONTRACT)
    before = _digest_of(writer_view, writer.uid)
    began = time.perf_counter()

    async def seen(peer: Peer, cursor: str) -> float:
        while True:
            state = await peer.client.watch(DEFAULT_CONTRACT, cursor, PATIENCE / 4)
            if _digest_of(state, writer.uid) != before:
                return time.perf_counter() - began
            cursor = state.cursor

    watching = [
        asyncio.create_task(seen(peer, cursor))
        for peer, cursor in zip(others, cursors, strict=True)
    ]
    await writer.check_in()
    answered = time.perf_counter() - began
    visible = await asyncio.gather(*watching) or [answered]
    return Sample(answered, min(visible), max(answered, *visible))


def _digest_of(state: api.ContractState, uid: str) -> str:
    me = next(peer for peer in state.view.peers if peer.uid == uid)
    return me.checkin.digest if me.checkin is not None else ""


async def _burst(swarm: SnSwarm, peers: list[Peer], writes: int) -> dict[str, float]:
    """Check-ins of all peers at once, each peer's one after another."""
    ledger = Ledger(swarm, swarm.sns[0])
    first, cpu = await ledger.head(), [sn.usage().cpu_s for sn in swarm.sns]
    waits: list[float] = []

    async def check_in(peer: Peer) -> None:
        for _ in range(writes):
            began = time.perf_counter()
            await peer.check_in()
            waits.append(time.perf_counter() - began)

    began, mine = time.perf_counter(), time.process_time()
    await asyncio.gather(*(check_in(peer) for peer in peers))
    spent, mine = time.perf_counter() - began, time.process_time() - mine
    spent_cpu = [sn.usage().cpu_s - before for sn, before in zip(swarm.sns, cpu, strict=True)]
    blocks = await ledger.head() - first
    await ledger.close()
    return {
        "transactions": len(waits), "blocks": blocks, "seconds": spent,
        "per_second": len(waits) / spent, "answer_p50_s": statistics.median(waits),
        "answer_p95_s": quantile(waits, 0.95), "answer_max_s": max(waits),
        "sn_cpu_ms_per_transaction": sum(spent_cpu) / len(spent_cpu) / len(waits) * 1000,
        "client_cpu_s": mine,
    }  # fmt: skip


def _report(
    sns: int, floor: dict[str, float], singles: list[Sample], burst: dict[str, float]
) -> dict[str, Any]:
    rows = {
        "answered at the SN written to": [s.answered for s in singles],
        "visible at the first other SN": [s.first for s in singles],
        "visible at all SNs": [s.all for s in singles],
    }
    floor_s = sum(floor.values())
    print(f"{sns} SNs, {len(singles)} single writes, milliseconds")
    print(f"{'':40}{'median':>9}{'p95':>9}{'max':>9}{'of floors':>10}")
    for name, values in floor.items():
        print(f"{name:40}{values * 1000:9.1f}")
    table: dict[str, dict[str, float]] = {}
    for name, values in rows.items():
        found = (statistics.median(values), quantile(values, 0.95), max(values))
        table[name] = dict(zip(("median_s", "p95_s", "max_s"), found, strict=True))
        print(f"{name:40}" + "".join(f"{v * 1000:9.1f}" for v in found), end="")
        print(f"{found[0] / floor_s:9.1f}x")
    everywhere = table["visible at all SNs"]
    kept = everywhere["median_s"] <= MEDIAN_S and everywhere["p95_s"] <= P95_S
    print(f"targets {MEDIAN_S * 1000:.0f} and {P95_S * 1000:.0f}: {'kept' if kept else 'MISSED'}")
    print(
        f"burst: {burst['transactions']} check-ins in {burst['blocks']} blocks, "
        f"{burst['per_second']:.0f} a second, answered in {burst['answer_p50_s'] * 1000:.0f} ms "
        f"(p95 {burst['answer_p95_s'] * 1000:.0f}), "
        f"{burst['sn_cpu_ms_per_transaction']:.1f} ms CPU of each SN per check-in"
    )
    return {"sns": sns, "floor_s": floor, "single": table, "burst": burst}
