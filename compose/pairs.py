"""The SL/ML pairs that SWOPs started as child processes, as their process engine's folders tell.

ENGINE/containers/NAME/container.json   labels; shim.json: PID; exit.json: exit code; output.log
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compose.guard import runs

ROLE, PEER = "swarm.role", "swarm.peer"
"""Labels (``services.swop.core.engine``): SL or ML, and the UID of the SL."""
PAIR_LOG = re.compile(r"-[su]-\d+-[0-9a-f]{16}")
"""How the name of a pair's container, and of its kept log, ends."""


def rows(engines: Iterable[Path]) -> list[dict[str, Any]]:
    """A row for :mod:`compose.status` of each container that is there now."""
    folders = [folder for engine in engines for folder in sorted(engine.glob("containers/*"))]
    found = map(_row, folders)
    return [row for row in found if row is not None]


def _row(folder: Path) -> dict[str, Any] | None:
    labels = _read(folder / "container.json").get("labels", {})
    pid = _read(folder / "shim.json").get("pid", 0)
    if ROLE not in labels or not pid:
        return None  # it is being made, or just went
    running = runs(folder)
    role, code = labels[ROLE], _read(folder / "exit.json").get("code")
    return {
        "name": folder.name, "kind": role, "state": "running" if running else "exited",
        "pid": pid, "uid": labels.get(PEER, "") if role == "SL" else "", "ports": {},
        "exit_code": None if running else code, "stopped": "", "log": str(folder / "output.log"),
        "sentinel": False, "restarts": 0, "round": 0, "rounds": 0, "leader": False,
    }  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known


def names(rows_of_pairs: list[dict[str, Any]]) -> dict[str, str]:
    """What to call the SLs in words, by UID: ``digits1-0``, their group and index."""
    found: dict[str, str] = {}
    for row in rows_of_pairs:
        if row["uid"] and "-s-" in row["name"]:
            head, _, tail = row["name"].rpartition("-s-")
            found[row["uid"]] = f"{head.partition('-')[0]}-{tail.partition('-')[0]}"
    return found


def kept_logs(run: Path) -> list[Path]:
    """The logs of SLs and ML programs that the SWOPs of a run kept."""
    found = (run / "nodes").glob("swop-*/**/*.log")
    return sorted(path for path in found if PAIR_LOG.search(path.stem))
