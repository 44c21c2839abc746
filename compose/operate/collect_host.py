"""What this machine is: versions, disk, memory, clock, variables that matter."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = (
    "SWARM_", "SWOP_", "SWCI_", "SN_", "SL_", "COMPOSE_", "DOCKER_", "PODMAN_", "HTTP", "http",
    "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip
"""Beginnings of the names of variables that go into the archive."""
_UNSYNCHRONISED = 5
_TIMEX_BYTES = 512


def facts() -> dict[str, object]:
    """All of it, as JSON."""
    now = datetime.now(timezone.utc)
    return {
        "host": socket.gethostname(),
        "time": now.isoformat(),
        "time_zone": str(datetime.now().astimezone().tzinfo),
        "kernel": " ".join(platform.uname()),
        "system": _system(),
        "python": sys.version,
        "our_version": our_version(),
        "processors": os.cpu_count(),
        "load": list(os.getloadavg()),
        "memory": memory(),
        "disk": {place: disk(place) for place in ("/", "/var/lib/docker", "/tmp", ".")},  # noqa: S108
        "clock_synchronised": clock_synchronised(),
        "chrony": output("chronyc", "-n", "tracking"),
        "interfaces": {p.name: mtu(p) for p in sorted(Path("/sys/class/net").glob("*"))},
        "selinux": first_line(Path("/sys/fs/selinux/enforce")),
        "user": f"uid {os.getuid()}, groups {os.getgroups()}",
    }  # fmt: skip


def variables() -> list[str]:
    """The variables of this shell that matter for swarms."""
    return sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(VARIABLES))


def our_version() -> str:
    """Our version and, in a checkout, its commit."""
    text = ""
    for line in lines(ROOT / "pyproject.toml"):
        if line.startswith("version = "):
            text = line.split('"')[1]
            break
    commit = output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12")
    return f"{text or 'unknown'} {commit}".strip()


def memory() -> dict[str, int]:
    """Bytes of memory and swap by ``/proc/meminfo``'s names."""
    found = {}
    for line in lines(Path("/proc/meminfo")):
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def disk(place: str) -> dict[str, int] | None:
    """Bytes of the file system that holds ``place``; None where that is not there."""
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return None
    return {"total": usage.total, "free": usage.free}


def clock_synchronised() -> bool | None:
    """Whether the kernel says that something keeps its clock right; None where it does not say."""
    try:
        answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else bool(answer != _UNSYNCHRONISED)


def output(*words: str, seconds: float = 10.0) -> str:
    """What a program prints; empty where it is not there or fails."""
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def first_line(path: Path) -> str:
    """The first line of a file; empty where there is none."""
    found = lines(path)
    return found[0] if found else ""


def lines(path: Path) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _system() -> str:
    for line in lines(Path("/etc/os-release")):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def mtu(interface: Path) -> int:
    """Of an interface's folder; 0 where there is none."""
    line = first_line(interface / "mtu")
    return int(line) if line.isdigit() else 0
