"""Whole logs of containers, kept in a folder after their containers are gone; not for ever."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from services.swop.adapters.threads import in_thread
from services.swop.core.engine import Engine, EngineError

log = logging.getLogger("swarm.swop")

LOGS_KEPT = 1000
"""Files of one group; the oldest go first."""
LOG_BYTES_KEPT = 4 * 1024**3
"""Bytes of one group's files together; a single one may have 64 MiB (`Engine.save_logs`)."""
_NAME = re.compile(r"(.+)-[su]-[0-9]+-[0-9a-f]{16}\.log")
"""As `plan.plan_pair` names containers."""


async def save_logs(engine: Engine, containers: Mapping[str, str], folder: Path) -> None:
    """Keep the whole logs of containers; one that cannot be kept is only logged.

    Args:
        engine: has them.
        containers: id -> name.
        folder: gets ``<name>.log``.
    """
    for each, name in containers.items():
        try:
            await in_thread(lambda: folder.mkdir(parents=True, exist_ok=True))
            await engine.save_logs(each, folder / f"{name}.log")
        except (EngineError, OSError) as exc:
            log.warning("cannot keep the log of %s: %s", name, exc)


def remove_old(
    folder: Path, prefix: str, *, files: int = LOGS_KEPT, size: int = LOG_BYTES_KEPT
) -> int:
    """Remove a group's oldest logs; say how many. Blocks.

    Args:
        folder: of logs, perhaps of several groups.
        prefix: with what the group's containers' names begin.
        files: how many may stay.
        size: how many bytes these may have together; the newest one stays in any case.
    """
    removed = total = 0
    for number, (_, length, path) in enumerate(sorted(_of(folder, prefix), reverse=True)):
        total += length
        if number < files and (total <= size or number == 0):
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("cannot remove the old log %s: %s", path, exc)
        else:
            removed += 1
    return removed


def _of(folder: Path, prefix: str) -> list[tuple[float, int, Path]]:
    """Age, length and path of a group's logs."""
    found = []
    for path in folder.glob("*.log"):
        if not path.name.startswith(prefix) or not _NAME.fullmatch(path.name):
            continue  # not ours
        try:
            about = path.lstat()
        except FileNotFoundError:
            continue
        found.append((about.st_mtime, about.st_size, path))
    return found
