"""What a round costs the chain, by the number of peers; learning and merging take no time."""

import argparse
import asyncio
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.chain_floor import block_s
from tests.bench.sn_peers import Ledger, Peer, peers_of
from tests.bench.sn_swarm import SnSwarm, Usage, quantile

WARM = 2
"""Rounds before those that count."""
FLOOR_BLOCKS = 50


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one round, means where nothing else is said; bytes are those of one SN."""

    sns: int
    peers: int
    rounds: int
    p50_s: float
    p95_s: float
    max_s: float
    sn_cpu_s: float
    """Of the busiest SN."""
    client_cpu_s: float
    """Of all simulated peers together: they share the machine."""
    transactions: float
    blocks: float
    files: float
    """Bytes that the folder grew."""
    payload: dict[str, float]
    """Bytes that the rows grew, by table."""
    rows: dict[str, float]
    memory: float
    refused: int
    """Writes that came too late, over all rounds."""
    gas: dict[str, tuple[int, int]]
    """How many transactions there were and their mean gas, by the events that they emitted."""


def options(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("--peers", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--sns", type=int, nargs="+", default=[1, 3], help="3: fewest peers only")


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Hold rounds with each number of peers, and print what one of them cost."""
    rounds = 6 if arguments.quick else arguments.rounds
    numbers = sorted(arguments.peers)[:2] if arguments.quick else sorted(arguments.peers)
    costs: list[Cost] = []
    floor = statistics.median(block_s(FLOOR_BLOCKS))
    print(f"{rounds} rounds each; milliseconds and KiB per round")
    print(f"floor: py-evm makes a block of one check-in in {floor * 1000:.1f} ms")
    print(f"{'SNs':>4}{'peers':>6}{'p50':>8}{'p95':>8}{'SN CPU':>8}{'clients':>8}", end="")
    print(f"{'txs':>7}{'blocks':>8}{'files':>8}{'payload':>9}{'memory':>8}{'refused':>8}")
    for sns in arguments.sns:
        for peers in numbers if sns == 1 else numbers[:1]:
            costs.append(await _cost(sns, peers, rounds))
            _row(costs[-1])
    for cost in costs:
        _details(cost)
    return {"floor_block_s": floor, "costs": [asdict(cost) for cost in costs]}


def _row(cost: Cost) -> None:
    times = (cost.p50_s, cost.p95_s, cost.sn_cpu_s, cost.client_cpu_s)
    print(f"{cost.sns:4}{cost.peers:6}" + "".join(f"{t * 1000:8.0f}" for t in times), end="")
    print(f"{cost.transactions:7.1f}{cost.blocks:8.1f}{cost.files / 1024:8.1f}", end="")
    print(f"{sum(cost.payload.values()) / 1024:9.1f}{cost.memory / 1024:8.1f}", end="")
    print(f"{cost.refused:8}", flush=True)


def _details(cost: Cost) -> None:
    gas = ", ".join(f"{kind} {each} ({count})" for kind, (count, each) in cost.gas.items())
    print(f"gas, {cost.sns} SNs, {cost.peers} peers: {gas}")
    tables = ", ".join(
        f"{table} {size / 1024:.1f} KiB in {cost.rows[table]:.0f} rows"
        for table, size in cost.payload.items()
    )
    print(f"  tables grow per round: {tables}")


async def _cost(sns: int, count: int, rounds: int) -> Cost:
    async with SnSwarm(sns) as swarm, peers_of(swarm, count, count) as peers:
        await _hold(peers, WARM)
        ledger = Ledger(swarm, swarm.sns[0])
        head, before = await ledger.head(), [sn.usage() for sn in swarm.sns]
        disk, mine = swarm.sns[0].disk(), time.process_time()
        await _hold(peers, WARM + rounds)
        mine, after = time.process_time() - mine, [sn.usage() for sn in swarm.sns]
        now = swarm.sns[0].disk()
        last = await ledger.head()
        transactions = await ledger.transactions(head + 1, last)
        gas = await ledger.gas(head + 1, last)
        await ledger.close()
    times = _times(peers, WARM + 1, WARM + rounds)
    pairs = list(zip(before, after, strict=True))
    return Cost(
        sns=sns, peers=count, rounds=rounds, p50_s=statistics.median(times),
        p95_s=quantile(times, 0.95), max_s=max(times), sn_cpu_s=_cpu(pairs) / rounds,
        client_cpu_s=mine / rounds, transactions=transactions / rounds,
        blocks=(last - head) / rounds, files=(now.files - disk.files) / rounds,
        payload={t: (size - disk.payload[t]) / rounds for t, size in now.payload.items()},
        rows={t: (rows - disk.rows[t]) / rounds for t, rows in now.rows.items()},
        memory=max(b.rss - a.rss for a, b in pairs) / rounds,
        refused=sum(peer.refused for peer in peers), gas=gas,
    )  # fmt: skip


async def _hold(peers: list[Peer], until: int) -> None:
    await asyncio.gather(*(peer.take_part(until) for peer in peers))


def _cpu(pairs: list[tuple[Usage, Usage]]) -> float:
    return max(after.cpu_s - before.cpu_s for before, after in pairs)


def _times(peers: list[Peer], first: int, last: int) -> list[float]:
    """Seconds of each round, from when every peer saw it open until every peer saw the next."""
    opened = {
        number: max(peer.first_seen[number] for peer in peers) for number in range(first, last + 2)
    }
    return [opened[number + 1] - opened[number] for number in range(first, last + 1)]
