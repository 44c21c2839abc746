"""Clears up after a composition that was killed: the last one out turns off the lights.

    python -I -S compose/guard.py < PIPE

Reads lines from the composition: ``+PGID`` watch a process group, ``-PGID`` it is gone, ``rm PATH``
a folder to remove. When the pipe closes, for whatever reason, every group still watched is killed
and every folder removed. Direct children die by themselves (:mod:`compose.child`); this is for
what *they* started, such as data loaders, and for hand-over folders in ``/dev/shm``.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable


def main(lines: Iterable[str]) -> None:
    """Follow the lines to their end, then clear up."""
    groups: set[int] = set()
    folders: list[str] = []
    for line in lines:
        word = line.rstrip("\n")
        if word.startswith("+"):
            groups.add(int(word))
        elif word.startswith("-"):
            groups.discard(-int(word))
        elif word.startswith("rm "):
            folders.append(word.removeprefix("rm "))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main(sys.stdin)
