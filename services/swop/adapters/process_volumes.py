"""Named volumes of the process engine: folders, and their labels beside them."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.swop.adapters.shim import write
from services.swop.core.engine import EngineError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


def checked(name: str) -> str:
    """Return a name that can be a folder's.

    Raises:
        EngineError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise EngineError(f"{name!r} cannot be the name of a volume or a container")
    return name


class Volumes:
    """The volumes in a folder.

    Args:
        folder: for their files.
        labels: for what is remembered of them, where no program that mounts them sees it.
    """

    def __init__(self, folder: Path, labels: Path) -> None:
        self.folder, self._labels = folder, labels

    def prepare(self) -> None:
        """Make both folders."""
        for each in (self.folder, self._labels):
            each.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a volume's files are."""
        return self.folder / checked(name)

    def make(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; one that exists stays as it is."""
        try:
            if not self.path(name).is_dir():
                self._record(name).parent.mkdir(exist_ok=True)
                write(self._record(name), {"labels": dict(labels)})
            self.path(name).mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise EngineError(f"cannot make volume {name}: {exc}") from exc

    def labels(self, name: str) -> dict[str, str] | None:
        """With what it was made; None where there is no such volume."""
        if not self.path(name).is_dir():
            return None
        try:
            known: dict[str, str] = json.loads(self._record(name).read_text())["labels"]
        except FileNotFoundError:
            return {}  # made by hand
        return known

    def fill(self, name: str, folder: Path) -> None:
        """Copy what a folder holds into a volume, over what is there. Blocks."""
        if not self.path(name).is_dir():
            raise EngineError(f"volume {name} is missing on this host")
        try:
            with self._lock(name):
                _copy(folder, self.path(name))
        except OSError as exc:
            raise EngineError(f"cannot fill volume {name}: {exc}") from exc

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Only one SWOP at a time fills a volume."""
        self._record(name).parent.mkdir(exist_ok=True)
        lock = os.open(self._record(name).with_name("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _record(self, name: str) -> Path:
        return self._labels / name / "volume.json"


def _copy(source: Path, target: Path) -> None:
    """Copy a folder's content; symbolic links as links, and through none that is there already."""
    for each in source.iterdir():
        into = target / each.name
        is_folder = each.is_dir() and not each.is_symlink()
        if into.is_symlink() or (into.exists() and into.is_dir() != is_folder):
            _remove(into)
        if is_folder:
            into.mkdir(exist_ok=True)
            _copy(each, into)
        else:
            into.unlink(missing_ok=True)
            shutil.copy2(each, into, follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
