"""What a SWOP keeps on disk for its next start: its uid. And a lock, so that there is one of it."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from services.common.errors import ConfigError, StorageError
from services.common.ids import NodeId
from services.common.whole_file import write_whole


@contextmanager
def held_state(folder: Path, given: str) -> Iterator[NodeId]:
    """Hold a SWOP's state folder; nobody else can meanwhile.

    Args:
        folder: made where it is missing.
        given: SWARM_NODE_UID; empty: the uid is what the folder remembers, or a new one.

    Yields:
        The SWOP's uid.

    Raises:
        ConfigError: another SWOP holds the folder, or what it remembers is no uid.
        StorageError: it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageError(f"cannot use SWOP_STATE_DIR {folder}: {exc}") from exc
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ConfigError(
                f"another SWOP uses {folder}: stop it, or give this one a SWOP_STATE_DIR of its own"
            ) from exc
        yield NodeId(given) if given else _remembered(folder / "uid")
    finally:
        os.close(lock)


def _remembered(path: Path) -> NodeId:
    try:
        uid = path.read_text().strip()
    except FileNotFoundError:
        uid = uuid4().hex
        try:
            write_whole(path, f"{uid}\n".encode(), 0o644)
        except OSError as exc:
            raise StorageError(f"cannot write {path}: {exc.strerror}") from exc
    if not re.fullmatch(r"[0-9a-f]{32}", uid):
        raise ConfigError(f"{path} should hold a uid, 32 hex digits: remove it for a new one")
    return NodeId(uid)
