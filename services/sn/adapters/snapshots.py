"""Where an SN keeps its read model between two runs, so that a restart does not begin at block 0.

A snapshot is a shortcut and nothing else: whatever is wrong with it, the history is folded from the
beginning instead. It is taken only from the very code that made it, because it holds what that
code concluded.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Protocol

from services.common import sn_api, task_api
from services.sn import core
from services.sn.adapters import abi
from services.sn.core import read_model
from services.sn.core.read_model import ReadModel

log = logging.getLogger("swarm.projection")

FILE = ".read-model"
"""Name of the file; other programs and the chain's store pass over hidden ones."""
MAGIC = b"swarm-sn read model"


class Snapshots(Protocol):
    """Keeps one read model. Both methods may block, and may be called from any thread."""

    def load(self) -> bytes | None:
        """What was saved last, whole; None: nothing that can be used."""
        ...

    def save(self, text: bytes) -> None:
        """Keep ``text`` instead of what was kept before. Never raises for a full disk."""
        ...


class NoSnapshots:
    """Keeps nothing: every start folds the whole history."""

    def load(self) -> bytes | None:
        """Nothing."""
        return None

    def save(self, text: bytes) -> None:
        """Do nothing."""


class FileSnapshots:
    """A file in the SN's data folder: a line that says by whom, a checksum, then the text.

    Args:
        folder: of this SN alone.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._writing = Lock()

    def load(self) -> bytes | None:
        """As the protocol says; also None, with a line in the log, where it is damaged."""
        try:
            head, _, text = self._path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as exc:
            log.warning("cannot read %s: %s", self._path, exc)
            return None
        if head == _head(text):
            return text
        if head.startswith(MAGIC) and head.split()[-1:] == _head(text).split()[-1:]:
            log.info("%s is from another version: reading the whole history", self._path)
        else:
            log.warning("%s is damaged: reading the whole history instead", self._path)
        return None

    def save(self, text: bytes) -> None:
        """Replace the file in one step; after a power cut the old or the new one is there."""
        beside = self._path.with_name(f"{FILE}.new")
        try:
            with self._writing:
                with beside.open("wb") as file:
                    file.write(_head(text) + b"\n" + text)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self._path)
        except OSError as exc:
            log.warning("cannot write %s (%s): the next start takes longer", self._path, exc)


def restored(text: bytes) -> ReadModel | None:
    """The read model of a snapshot; None, with a line in the log, where it is none."""
    try:
        return read_model.load(text)
    except ValueError as exc:
        log.warning("the saved read model cannot be used: %s", str(exc)[:300])
        return None


def _head(text: bytes) -> bytes:
    return b" ".join((MAGIC, _CODE, hashlib.sha256(text).hexdigest().encode()))


def _sources() -> Iterator[Path]:
    """The modules whose change changes what is concluded from a history, or how it is written."""
    yield from sorted(Path(core.__path__[0]).glob("*.py"))
    yield Path(abi.__file__)
    yield Path(sn_api.__file__)
    yield Path(task_api.__file__)


_CODE = hashlib.sha256(b"".join(path.read_bytes() for path in _sources())).hexdigest().encode()
