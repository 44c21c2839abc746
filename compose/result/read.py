"""Reads what a pair's containers left in its folder."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compose.result.judge import Pair, Program
from services.common.sn_api import ContractView


@dataclass(frozen=True, slots=True)
class Folder:
    """``results`` of the run folder."""

    path: Path

    def pair(self, index: int, view: ContractView | None) -> Pair:
        """All that is known of a pair.

        Args:
            index: its number.
            view: of the contract.
        """
        own = self.path / f"pair-{index}"
        peers = view.peers if view is not None else []
        uid = uid_of(index)
        numbers = _json(own / "result.json")
        sl = _json(own / "sl.json")
        return Pair(
            index,
            _program(own),
            next((peer for peer in peers if peer.uid == uid), None),
            str(sl.get("reason", "")) if sl.get("outcome") == "left" else "",
            {way: found for way in ("alone", "swarm") if (found := _accuracy(numbers, way)) >= 0},
            str(numbers.get("holds", "")),
        )

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for own in self.path.glob("pair-*"):
            for each in own.iterdir():
                if each.is_file() and each.name != "ml.lock":
                    each.unlink()
        (self.path / "result.json").unlink(missing_ok=True)


def uid_of(index: int) -> str:
    """The UID that ``compose.yaml`` gives an SL."""
    return f"{index:08x}" + "0" * 24


def _program(own: Path) -> Program | None:
    found = _json(own / "ml.json")
    if not found:
        return None
    return Program(
        str(found.get("state", "")), int(found.get("attempt", 1)), int(found.get("attempts", 1)),
        str(found.get("reason", "")), str(found.get("digest", "")), _locked(own / "ml.lock"),
    )  # fmt: skip


def _locked(path: Path) -> bool:
    """Whether the process that locked a file still lives, in whatever container."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or not yet a whole one."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _accuracy(numbers: dict[str, Any], way: str) -> float:
    """-1 where the example does not give it."""
    found = numbers.get(way)
    value = found.get("accuracy") if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else -1.0
