"""Speed of the merge methods against limits and obvious ways, all measured in the same run.

``python -m tests.bench.bench_merge [MB]`` prints, per method, what it takes beside a fused C loop
(compiled here with ``gcc``, where there is one), what the obvious numpy takes, and the target ratio
of ``PERFORMANCE.md``. CPU seconds of one thread, medians of runs in turn; take the ratios. Models
are float32; with 16 inputs they are a quarter as large.
"""

import ctypes
import functools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.sl.core.merge import merge
from swarmlearning.wire.tensors import arrange

Array = NDArray[Any]
Weights = Sequence[int]
Way = Callable[[Sequence[Array], Weights, Array], object]

REPEATS = 3
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
STEPS = 10
"""Iterations of the obvious Weiszfelds."""

C_SOURCE = r"""
#include <stddef.h>
void mean(float *restrict out, float **in, const double *w, double all, int n, size_t count) {
  enum { BLOCK = 1024 }; double sum[BLOCK];
  for (size_t at = 0; at < count; at += BLOCK) {
    size_t m = count - at < BLOCK ? count - at : BLOCK;
    for (size_t i = 0; i < m; i++) sum[i] = w[0] * in[0][at + i];
    for (int k = 1; k < n; k++) { const float *x = in[k] + at; double v = w[k];
      for (size_t i = 0; i < m; i++) sum[i] += v * x[i]; }
    for (size_t i = 0; i < m; i++) out[at + i] = sum[i] / all;
  }
}
"""


@dataclass(frozen=True)
class Case:
    """Ours, by method name, and another way of the same merge."""

    what: str
    method: str
    weighted: bool
    other: Way
    target: str
    """What PERFORMANCE.md asks of other / ours."""
    runs: int = REPEATS
    """Of the other way: the slow ones get one."""


def c_mean(folder: Path) -> Way | None:
    """A fused loop; None without a compiler."""
    if shutil.which("gcc") is None:
        return None
    source, library = folder / "mean.c", folder / "mean.so"
    source.write_text(C_SOURCE)
    flags = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).mean
    function.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_double, ctypes.c_int,
        ctypes.c_size_t,
    ]  # fmt: skip

    def run(rows: Sequence[Array], weights: Weights, out: Array) -> None:
        pointers = (ctypes.c_void_p * len(rows))(*(row.ctypes.data for row in rows))
        values = np.array(weights, np.float64)
        function(
            out.ctypes.data, pointers, values.ctypes.data, values.sum(), len(rows), out.size
        )  # fmt: skip

    return run


def flower_mean(rows: Sequence[Array], weights: Weights, out: Array) -> None:
    """As Flower's ``aggregate`` does: each model times its examples, summed, divided."""
    weighted = [row * weight for row, weight in zip(rows, weights, strict=True)]
    out[:] = functools.reduce(np.add, weighted) / sum(weights)


def flower_median(rows: Sequence[Array], _: Weights, out: Array) -> None:
    """As Flower's ``aggregate_median`` does."""
    out[:] = np.median(np.asarray(rows), axis=0)


def argsort_median(rows: Sequence[Array], weights: Weights, out: Array) -> None:
    """Weighted median by sorting, blockwise."""
    given = np.array(weights)
    for at in range(0, out.size, 1 << 14):
        block = np.stack([row[at : at + (1 << 14)] for row in rows])
        order = np.argsort(block, axis=0)
        reached = np.cumsum(given[order], axis=0)
        first = np.argmax(2 * reached >= given.sum(), axis=0)[None]
        where = np.take_along_axis(order, first, 0)
        out[at : at + (1 << 14)] = np.take_along_axis(block, where, 0)[0]


def naive_weiszfeld(rows: Sequence[Array], weights: Weights, out: Array) -> None:
    """Geometric median over a stack of all models, float64 where numpy makes it."""
    stack, given = np.asarray(rows), np.array(weights, np.float64)
    at = np.average(stack, axis=0, weights=given)
    for _ in range(STEPS):
        pull = given / np.maximum(np.linalg.norm(stack - at, axis=1), 1e-6)
        at = np.tensordot(pull / pull.sum(), stack, axes=1)
    out[:] = at


def streaming_weiszfeld(rows: Sequence[Array], weights: Weights, out: Array) -> None:
    """Geometric median in blocks: each iteration reads all models twice."""
    given, block = np.array(weights, np.float64), 1 << 15

    def mix(shares: Array) -> None:
        for at in range(0, out.size, block):
            into = out[at : at + block]
            np.multiply(rows[0][at : at + block], np.float32(shares[0]), out=into)
            for row, share in zip(rows[1:], shares[1:], strict=True):
                into += row[at : at + block] * np.float32(share)

    mix(given / given.sum())
    for _ in range(STEPS):
        squares = np.zeros(len(rows))
        for at in range(0, out.size, block):
            for k, row in enumerate(rows):
                apart = row[at : at + block] - out[at : at + block]
                squares[k] += np.dot(apart, apart)
        pull = given / np.maximum(np.sqrt(squares), 1e-6)
        mix(pull / pull.sum())


def cases(folder: Path) -> list[Case]:
    """What is compared with what."""
    limit = c_mean(folder)
    of_limit = [Case("C fused loop (limit)", "mean", True, limit, "0.4")] if limit else []
    return [
        *of_limit,
        Case("Flower's aggregate", "mean", True, flower_mean, "2"),
        Case("Flower's aggregate_median", "coordmedian", False, flower_median, "10", 1),
        Case("argsort, blockwise", "coordmedian", True, argsort_median, "2", 1),
        Case("Weiszfeld, streaming", "geomedian", True, streaming_weiszfeld, "3", 1),
        Case("Weiszfeld, naive", "geomedian", True, naive_weiszfeld, "50", 1),
        Case("our mean", "normclip", True, functools.partial(ours, "mean"), "-"),
    ]


def ours(
    method: str, rows: Sequence[Array], weights: Weights, out: Array, base: Array | None = None
) -> None:
    """A merge in memory."""
    layout = arrange([("w", "F32", (out.size,))])
    beneath = None if base is None else base.data
    merge(method, layout, [row.data for row in rows], weights, out.data, beneath)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of one run, this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def extra_memory(work: Callable[[], object]) -> int:
    """Peak bytes that one run allocates beside its inputs and output."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def bench(folder: Path, peers: int, size: int) -> None:
    """Print one table."""
    count = size // 4
    random = np.random.default_rng(0)
    base = random.standard_normal(count, dtype=np.float32) * np.float32(0.02)
    step = np.float32(2e-4)
    rows = [base + step * random.standard_normal(count, dtype=np.float32) for _ in range(peers)]
    out = np.empty(count, np.float32)
    print(f"\n{peers} inputs of {size / 1e6:.0f} MB, CPU seconds")
    print(
        f"{'method':22}{'ours':>8}  {'other way':28}{'s':>8}{'ratio':>8}{'target':>8}{'memory':>9}"
    )
    for case in cases(folder):
        weights = list(range(1, peers + 1)) if case.weighted else [1] * peers
        mine: list[float] = []
        others: list[float] = []
        work = functools.partial(ours, case.method, rows, weights, out, base)
        for turn in range(REPEATS):
            mine.append(cpu_seconds(work))
            if turn < case.runs:
                others.append(cpu_seconds(lambda: case.other(rows, weights, out)))  # noqa: B023
        own, other = statistics.median(mine), statistics.median(others)
        name = case.method + (", weighted" if case.weighted else "")
        print(
            f"{name:22}{own:8.3f}  {case.what:28}{other:8.3f}{other / own:8.2f}{case.target:>8}"
            f"{extra_memory(work) / size:8.2f}S"
        )


def main() -> None:
    """Measure and print."""
    if not all(os.environ.get(name) == value for name, value in ONE_THREAD.items()):
        command = [sys.executable, "-m", "tests.bench.bench_merge", *sys.argv[1:]]
        raise SystemExit(
            subprocess.run(command, env=os.environ | ONE_THREAD, check=False).returncode
        )
    size = int(sys.argv[1] if len(sys.argv) > 1 else "100") * 1_000_000
    print("ratio: times as fast as the other way; memory: allocated beside inputs and output, in")
    print("model sizes S (blocks: it does not grow with S; target 1.1 S)")
    with tempfile.TemporaryDirectory() as name:
        for peers, share in ((4, 1), (16, 4)):
            bench(Path(name), peers, size // share)


if __name__ == "__main__":
    main()
