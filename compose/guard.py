"""Clears up after a composition that was killed: the last one out turns off the lights.

    python -I -S compose/guard.py < PIPE

Reads lines from the composition: ``+PGID`` watch a process group, ``-PGID`` it is gone, ``rm PATH``
a folder to remove, ``containers PATH`` the containers of a SWOP's process engine. When the pipe
closes, for whatever reason, every group still watched is killed, then every container, and every
folder removed. Direct children die by themselves (:mod:`compose.child`); this is for what *they*
started, such as data loaders, and for hand-over folders in ``/dev/shm``.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

KILL_SECONDS = 5.0
"""How long a container's shim may take to kill its program before it is killed itself."""
LOOK_SECONDS = 0.02


def main(lines: Iterable[str]) -> None:
    """Follow the lines to their end, then clear up."""
    groups: set[int] = set()
    folders: list[str] = []
    containers: list[Path] = []
    for line in lines:
        word = line.rstrip("\n")
        if word.startswith("+"):
            groups.add(int(word))
        elif word.startswith("-"):
            groups.discard(-int(word))
        elif word.startswith("rm "):
            folders.append(word.removeprefix("rm "))
        elif word.startswith("containers "):
            containers.append(Path(word.removeprefix("containers ")))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    end_containers([each for folder in containers for each in sorted(folder.glob("*"))])
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def end_containers(folders: list[Path]) -> None:
    """Kill what still runs in the containers of a process engine, all at once.

    Args:
        folders: one per container. Its shim holds ``lock`` in it as long as it lives, and kills its
            program on SIGUSR1 (``services.swop.adapters.shim``).
    """
    for number, seconds in ((signal.SIGUSR1, KILL_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        for folder in folders:
            if runs(folder):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    os.kill(json.loads((folder / "shim.json").read_text())["pid"], number)
        deadline = time.monotonic() + seconds
        while any(map(runs, folders)) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)


def runs(folder: Path) -> bool:
    """Whether a container's shim lives."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main(sys.stdin)
