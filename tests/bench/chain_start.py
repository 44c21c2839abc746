"""Cold start: from exec to the ready line, for SNs that are started together on empty folders."""

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.bench.sn_swarm import ROOT, Sn, SnSwarm

TARGET_S = 5.0
"""For the whole network, after imports."""


def options(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("--sns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start networks and print where the seconds went."""
    repeats = 1 if arguments.quick else arguments.repeats
    alone = statistics.median(_import_alone() for _ in range(max(3, repeats)))
    runs: list[tuple[float, list[tuple[float, float]]]] = []
    restarts: list[tuple[float, float]] = []
    for _ in range(repeats):
        async with SnSwarm(arguments.sns, at_once=True) as swarm:
            runs.append((swarm.ready_s, [(sn.import_s, sn.ready_s) for sn in swarm.sns]))
            await _restart(swarm.sns[-1])
            restarts.append((swarm.sns[-1].import_s, swarm.sns[-1].ready_s))
    print(f"medians of {repeats}, {arguments.sns} SNs started at once")
    print(f"{'seconds':36}{'imports':>9}{'rest':>9}{'ready':>9}")
    print(f"{'import of services.sn.daemon, alone':36}{alone:9.2f}")
    for number in range(arguments.sns):
        mine = [times[number] for _, times in runs]
        _row(f"SN {number + 1}{' (sentinel)' if number == 0 else ''}", mine)
    _row("the last SN again, on its folder", restarts)
    whole = statistics.median(total for total, _ in runs)
    slowest = statistics.median(max(i for i, _ in times) for _, times in runs)
    verdict = "within" if whole - slowest <= TARGET_S else "OVER"
    print(f"{'the whole network':36}{slowest:9.2f}{whole - slowest:9.2f}{whole:9.2f}", end="")
    print(f"   {verdict} the target of {TARGET_S:.0f} s after imports")
    return {
        "import_alone_s": alone, "network_ready_s": whole, "slowest_import_s": slowest,
        "after_imports_s": whole - slowest, "runs": runs, "restarts": restarts,
    }  # fmt: skip


def _row(name: str, times: list[tuple[float, float]]) -> None:
    imports = statistics.median(i for i, _ in times)
    rest = statistics.median(ready - i for i, ready in times)
    print(f"{name:36}{imports:9.2f}{rest:9.2f}{imports + rest:9.2f}")


async def _restart(sn: Sn) -> None:
    await sn.stop()
    await sn.start()


def _import_alone() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import services.sn.daemon"], cwd=ROOT, check=True)
    return time.perf_counter() - began
