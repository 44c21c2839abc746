"""The folder of one run: made, locked, and its state file.

    RUN/certs  logs/NODE.log  nodes/NODE/...  state.json  ledger.json  results.json

``.lock`` is held (flock) by the composition for as long as it runs, so that a lock that can be
taken means that nothing runs here, whatever the state file says. On ``control`` it takes commands
(:mod:`compose.control`).
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.common.errors import ConfigError, NotFoundError

RUNS = Path("runs")
LOCK = ".lock"
STATE = "state.json"
TMPFS = Path("/dev/shm")  # noqa: S108 - the tmpfs of every Linux; we make a 0700 folder in it
TMPFS_FREE = 512 << 20
"""Bytes that must be free there; Docker gives containers 64 MiB, too small for models."""


@dataclass(slots=True)
class RunFolder:
    """A run folder that this process holds."""

    path: Path
    lock: int
    """Descriptor of the lock file."""
    made: bool = False
    """Whether we made the folder."""
    locked_first: bool = True
    """Whether we made the lock file."""

    def write(self, name: str, value: object) -> None:
        """Write ``value`` as JSON, atomically."""
        target = self.path / name
        draft = target.with_suffix(".tmp")
        draft.write_text(json.dumps(value, indent=1) + "\n")
        draft.replace(target)

    def clear(self) -> None:
        """Take back what we made, in a folder that was empty when we claimed it."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK or self.locked_first:
                entry.unlink()
        if self.made and self.locked_first:
            with contextlib.suppress(OSError):  # somebody else put something there
                self.path.rmdir()

    def release(self) -> None:
        """Let go of the folder; what is in it stays."""
        os.close(self.lock)


def default_path(label: str, now: datetime, runs: Path = RUNS) -> Path:
    """``runs/<timestamp>-<label>``, made here and now; a number is added where two meet.

    Raises:
        ConfigError: it cannot be made.
    """
    stem = f"{now:%Y%m%d-%H%M%S}-{label}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100):
            path = runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as exc:
        raise _unusable(runs, exc) from exc
    raise ConfigError(f"{runs} has too many folders {stem}-*: remove some")


def claim(path: Path, *, made: bool = False) -> RunFolder:
    """Take an empty or new folder for a run; one that is refused stays as it was.

    Args:
        path: the folder.
        made: the caller has just made it.

    Raises:
        ConfigError: a swarm runs in it, a finished one left its results there, or it cannot be
            written.
    """
    try:
        made = _make(path) or made
        locked_first = not (path / LOCK).exists()
        if locked_first:
            _check_empty(path)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        raise _unusable(path, exc) from exc
    try:
        _hold(path, lock)
        _check_empty(path)
    except ConfigError:
        os.close(lock)
        raise
    return RunFolder(path.resolve(), lock, made, locked_first)


def _hold(path: Path, lock: int) -> None:
    if not _try_lock(lock) or not _is_lock(path, lock):
        raise ConfigError(
            f"a swarm is running in {path} (pid {pid_of(path)}): choose another --run-dir, or stop "
            f"it with: python -m compose.local down --run-dir {path}"
        )


def _make(path: Path) -> bool:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.is_dir():
            raise
        return False
    return True


def _check_empty(path: Path) -> None:
    others = sorted(entry.name for entry in path.iterdir() if entry.name != LOCK)
    if others:
        named = ", ".join(others[:4]) + ("..." if len(others) > 4 else "")
        raise ConfigError(
            f"{path} is not empty ({named}): a run never writes over another; "
            "choose another --run-dir or remove it"
        )


def _unusable(path: Path, exc: OSError) -> ConfigError:
    return ConfigError(
        f"cannot use {path} as run folder: {exc.strerror}: name another with --run-dir"
    )


def _is_lock(path: Path, lock: int) -> bool:
    """Whether a lock that we hold is still the one of the folder: its last holder may remove it."""
    try:
        return (path / LOCK).stat().st_ino == os.fstat(lock).st_ino
    except FileNotFoundError:
        return False


def shown(path: Path) -> str:
    """A path as people read it: relative to the working directory where it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def is_running(path: Path) -> bool:
    """Whether a composition holds this folder."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(lock)
    finally:
        os.close(lock)


def latest(runs: Path = RUNS) -> Path:
    """The run folder to speak of when none is named: one that runs, else the newest.

    Raises:
        NotFoundError: there is none.
    """
    found = sorted(runs.glob(f"*/{STATE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in found:
        if is_running(file.parent):
            return file.parent
    if not found:
        raise NotFoundError(f"no run in {runs.resolve()}: name one with --run-dir")
    return found[0].parent


def read_state(path: Path) -> dict[str, Any]:
    """The state file of a run.

    Raises:
        NotFoundError: there is none that can be read.
    """
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_text())
    except (OSError, ValueError) as exc:
        raise NotFoundError(f"{path} is no run folder: no readable {STATE} in it") from exc
    return state


def pid_of(path: Path) -> int:
    """PID of the composition that wrote the state file; 0 where none can be read."""
    try:
        return int(read_state(path)["pid"])
    except (NotFoundError, KeyError, TypeError, ValueError):
        return 0


def make_scratch(run: Path, run_id: str, tmpfs: Path = TMPFS) -> Path:
    """A private folder for model files and FIFOs: on the tmpfs where it is large enough."""
    if os.access(tmpfs, os.W_OK) and shutil.disk_usage(tmpfs).free >= TMPFS_FREE:
        return Path(tempfile.mkdtemp(prefix=f"swarm-{run_id}-", dir=tmpfs))
    scratch = run / "scratch"
    scratch.mkdir(mode=0o700)
    return scratch


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
