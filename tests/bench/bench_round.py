"""Speed of a whole sync round of four peers, against floors and baselines of the same run.

``python -m tests.bench.bench_round [MB ...]`` (default 1 and 100) prints, for each size: the data
plane alone (hand-over, transfers, merge, hand-over) beside the work that nobody can save and beside
what one would write first; then a swarm of real processes with a real chain, as its ML programs see
it, and the memory of its SLs. Take the ratios, not the times (``docs/performance-data.md``).
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.round_plane import Plane
from tests.bench.round_swarm import Memory, Outcome, run_swarm

PEERS = 4
MB = 1_000_000
SMALL = 10 * MB
"""Models up to this size are cheap enough for many repetitions."""


def main() -> None:
    """Measure and print."""
    sizes = [int(word) for word in sys.argv[1:]] or [1, 100]
    for size in sizes:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            print(f"\n{PEERS} peers, {size} MB; medians in turn", flush=True)
            plane_rows(Path(name) / "plane", size * MB)
            swarm_rows(Path(name) / "swarm", size * MB)


def plane_rows(folder: Path, size: int) -> None:
    """Measure the data plane alone, and print."""
    folder.mkdir()
    repeats = 15 if size <= SMALL else 3
    with Plane(folder, size, PEERS) as plane:
        ways = {"floor": plane.floor, "ours": plane.ours, "obvious Python": plane.obvious}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(repeats + 1):
            for name, way in ways.items():
                cpu, began = plane.cpu_s(), time.perf_counter()
                way()
                if turn:
                    spent[name].append((time.perf_counter() - began, plane.cpu_s() - cpu))
    walls = {name: statistics.median(wall for wall, _ in times) for name, times in spent.items()}
    cpus = {name: statistics.fmean(cpu for _, cpu in times) for name, times in spent.items()}
    show("8 copies, 6 raw TLS transfers, a sum (floor)", walls["floor"])
    show("data plane alone", walls["ours"], "target 0.05 at 1 MB" if size <= SMALL else "")
    show("obvious Python", walls["obvious Python"])
    for what, times in (("", walls), (", CPU seconds of all processes", cpus)):
        show("ours : floor" + what, times["ours"] / times["floor"],
             "target 1.5 at 100 MB" if not what else f"{cpus['ours']:.2f} s")  # fmt: skip
        show("obvious Python : ours" + what, times["obvious Python"] / times["ours"],
             "target 4" if not what else f"{cpus['obvious Python']:.2f} s")  # fmt: skip


def swarm_rows(folder: Path, size: int) -> None:
    """Measure a swarm with its chain, and print."""
    outcome = run_swarm(folder, size, PEERS, 32 if size <= SMALL else 6)
    small = size <= SMALL
    show("with the chain: sync -> merged model, p50", statistics.median(outcome.syncs),
         "target 0.100 at 1 MB" if small else "")  # fmt: skip
    show("  p95", percentile(outcome.syncs, 0.95), "target 0.250 at 1 MB" if small else "")
    show("  until the last peer has it, p50", statistics.median(outcome.rounds))
    memory_rows(outcome, size)


def memory_rows(outcome: Outcome, size: int) -> None:
    """Print how much memory the SLs took on top of what they need idle."""

    def most(kind: str) -> float:
        pairs = zip(outcome.idle, outcome.peak, strict=True)
        return max(getattr(peak, kind) - getattr(idle, kind) for idle, peak in pairs) / size

    idle = max(whole(memory) for memory in outcome.idle) / MB
    show("SL idle, MB", idle)
    show("SL at its peak over that, in models: anonymous", most("anonymous"), "target 2.5 in all")
    show("  mapped", most("mapped"))


def whole(memory: Memory) -> int:
    """All of it."""
    return memory.anonymous + memory.mapped


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def show(what: str, value: float, note: str = "") -> None:
    """Print a row."""
    print(f"{what:52}{value:9.3f}  {note}", flush=True)


if __name__ == "__main__":
    main()
