"""A whole swarm of real processes whose ML programs only sync: times, and memory of the SLs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.02
PATIENCE = 400.0
"""Seconds for a whole run, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one SL process, bytes."""

    anonymous: int
    mapped: int
    """Pages of files, shared memory included."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run measured."""

    syncs: list[float]
    """Seconds from asking to having the merged model, of each peer and sync but the first two."""
    rounds: list[float]
    """Seconds until the last peer had it, by sync."""
    idle: list[Memory]
    """Of each SL, before the first sync."""
    peak: list[Memory]


def run_swarm(folder: Path, size: int, peers: int, syncs: int) -> Outcome:
    """Start everything, let it sync, and end.

    Args:
        folder: new; on a tmpfs.
        size: bytes of the model.
        peers: SLs, each with an ML program.
        syncs: how often; the first two are not counted.

    Raises:
        RuntimeError: the swarm failed; its last lines.
    """
    meeting, run = folder / "meet", folder / "run"
    meeting.mkdir(parents=True)
    command = [
        sys.executable, "-m", "compose.local", "run", "--nodes", str(peers), "--run-dir", str(run),
        "--", sys.executable, "-m", "tests.bench.round_program", str(meeting), "{index}",
        str(peers), str(size), str(syncs),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output,
                                   stderr=subprocess.STDOUT)  # fmt: skip
        try:
            idle, peak = _watch(process, meeting, peers)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(30)
    if process.returncode:
        raise RuntimeError((folder / "output").read_text()[-2000:])
    times = [json.loads((meeting / f"times-{i}.json").read_text()) for i in range(1, peers + 1)]
    counted = list(zip(*times, strict=True))[2:]
    return Outcome(
        syncs=[t["loaded"] - t["asked"] for sync in counted for t in sync],
        rounds=[max(t["loaded"] for t in s) - min(t["asked"] for t in s) for s in counted],
        idle=idle,
        peak=peak,
    )


def _watch(
    process: subprocess.Popen[bytes], meeting: Path, peers: int
) -> tuple[list[Memory], list[Memory]]:
    """Sample the SLs until the swarm ends."""
    idle: dict[int, Memory] = {}
    peak: dict[int, Memory] = {}
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(SAMPLE_SECONDS)
        if not all((meeting / f"meet-0-{i}").exists() for i in range(1, peers + 1)):
            continue
        for pid in idle or _sls_of(process.pid):
            now = _memory(pid)
            if now is None:
                continue
            idle.setdefault(pid, now)
            best = peak.get(pid, now)
            larger = now.anonymous + now.mapped > best.anonymous + best.mapped
            peak[pid] = now if larger else best
    return list(idle.values()), list(peak.values())


def _sls_of(parent: int) -> list[int]:
    """The SL processes that ``parent`` started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if b"services.sl" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]


def _memory(pid: int) -> Memory | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = {key: int(rest.split()[0]) * 1024
             for key, _, rest in (line.partition(":") for line in lines)
             if key.startswith("Rss")}  # fmt: skip
    if not sizes:
        return None
    return Memory(sizes["RssAnon"], sizes["RssFile"] + sizes["RssShmem"])
