"""Speed and size of the chain, on real SN processes over mutual TLS on loopback.

``python -m tests.bench.bench_chain latency|start|memory|rounds [--quick]`` prints one table, and
one line of JSON for programs. ``docs/performance-chain.md`` has what was measured.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench import chain_latency, chain_memory, chain_rounds, chain_start
from tests.bench.sn_swarm import machine

Bench = Callable[[argparse.Namespace], Awaitable[dict[str, Any]]]
BENCHES: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Bench]] = {
    "latency": (chain_latency.options, chain_latency.measure),
    "start": (chain_start.options, chain_start.measure),
    "memory": (chain_memory.options, chain_memory.measure),
    "rounds": (chain_rounds.options, chain_rounds.measure),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Benchmarks of the chain of SNs.")
    parsers = parser.add_subparsers(dest="bench", required=True)
    for name, (options, _) in BENCHES.items():
        one = parsers.add_parser(name)
        one.add_argument("--quick", action="store_true", help="small: does it work at all")
        options(one)
    arguments = parser.parse_args()
    where = machine()
    print(f"{arguments.bench}: {where}", flush=True)
    _, measure = BENCHES[arguments.bench]
    found = asyncio.run(measure(arguments))
    print(json.dumps({"bench": arguments.bench, "machine": where, **found}))


if __name__ == "__main__":
    main()
