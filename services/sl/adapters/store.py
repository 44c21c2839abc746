"""Model files on disk, each named by its digest: written once, never changed.

A file appears under its name only when it is complete, so a reader never sees half of one. What an
earlier process left is checked against its name before it is used again: after a crash or a power
cut it may be damaged. So is a file that somebody else changed since. Files are read with ``pread``,
not mapped: a file that shrinks under a map would end the process.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.common.errors import DigestMismatchError, NotFoundError, StorageError
from services.common.ids import Digest
from swarmlearning.wire.digest import Buffer, Digester

log = logging.getLogger("swarm.sl.store")

PIECE = 1024 * 1024
"""Bytes read, hashed or copied at a time."""

_Stamp = tuple[int, int, int]
"""Inode number, size and time of the last change of a file."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".part"
_ABSENT = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file open for reading; close it after use (``with``)."""

    digest: Digest
    fd: int
    size: int
    """Bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer than ``length`` only at the end of the file.

        Raises:
            StorageError: the disk fails.
        """
        with disk_errors("read", self.digest):
            return os.pread(self.fd, length, offset)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` with the bytes from ``offset``.

        Raises:
            StorageError: the disk fails, or somebody else shortened the file.
        """
        done = 0
        with disk_errors("read", self.digest):
            while done < len(view):
                count = os.preadv(self.fd, [view[done:]], offset + done)
                if not count:
                    raise StorageError(f"model file {self.digest} got shorter while it was read")
                done += count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Draft:
    """A file of the store while it is written."""

    def __init__(self, store: "Store", path: Path, fd: int, size: int | None) -> None:
        self.path = path
        """Where it lies until :meth:`commit`; may also be replaced by another file there."""
        self.written = 0
        """Bytes appended so far."""
        self._store = store
        self._fd = fd
        self._size = size

    def write(self, piece: Buffer) -> None:
        """Append bytes.

        Raises:
            StorageError: the disk is full or fails.
        """
        self.written += self.write_at(piece, self.written)

    def write_at(self, piece: Buffer, offset: int) -> int:
        """Write bytes to a place of their own; several threads may do so. Returns how many.

        Raises:
            StorageError: the disk is full or fails.
        """
        view = memoryview(piece).cast("B")
        size = len(view)
        with disk_errors("write", self.path.name):
            while len(view):
                count = os.pwrite(self._fd, view, offset)
                offset += count
                view = view[count:]
        return size

    def restart(self) -> None:
        """Forget what was written."""
        with disk_errors("write", self.path.name):
            os.ftruncate(self._fd, 0)
        self.written = 0

    def commit(self, digest: Digest) -> Path:
        """Make the file one of the store's.

        Args:
            digest: of its bytes, as the caller computed it while writing them.

        Returns:
            Where it is now.

        Raises:
            DigestMismatchError: it does not have the size announced.
        """
        with disk_errors("write", digest):
            size = self.path.stat().st_size
        if self._size is not None and size != self._size:
            raise DigestMismatchError(f"model file {digest} has {size} bytes, not {self._size}")
        return self._store._take(self.path, digest)


class Store:
    """The model files of one SL.

    Safe to use from several threads. One process per folder.

    Args:
        folder: made if it does not exist, for this user only; unfinished files in it are removed.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checked: dict[str, _Stamp] = {}
        """Files that are good, as long as they look like that."""
        with disk_errors("use", str(folder)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in folder.glob(f".*{_UNFINISHED}"):
                leftover.unlink()

    def path(self, digest: Digest) -> Path:
        """Where the file with this digest is, or would be.

        Raises:
            NotFoundError: ``digest`` is not 64 lower-case hex digits, so there can be none.
        """
        if _DIGEST.fullmatch(digest) is None:
            raise NotFoundError(f"{digest[:80]!r} is not a model digest")
        return self.folder / digest

    def has(self, digest: Digest) -> bool:
        """Whether the file is here and good. Reads a file of an earlier process once."""
        try:
            with self.open(digest):
                return True
        except NotFoundError:
            return False

    async def holds(self, digest: Digest) -> bool:
        """Like :meth:`has`; what must be read first is read in a thread."""
        return self.is_checked(digest) or await asyncio.to_thread(self.has, digest)

    def is_checked(self, digest: Digest) -> bool:
        """Whether :meth:`open` is quick: the file is as this process wrote or checked it."""
        try:
            found = self.path(digest).stat()
        except OSError:
            return False
        return self._checked.get(digest) == _stamp(found)

    def open(self, digest: Digest) -> ModelFile:
        """Open a file for reading; it stays readable even when it is collected meanwhile.

        Raises:
            NotFoundError: there is no such file, or it was damaged (it is removed then).
            StorageError: the disk fails.
        """
        model = _opened(self.path(digest), digest)
        try:
            if self._checked.get(digest) != _stamp(os.fstat(model.fd)):
                self._check(model)
        except BaseException:
            os.close(model.fd)
            raise
        return model

    def size(self, digest: Digest) -> int:
        """Bytes of a file.

        Raises:
            NotFoundError: see :meth:`open`.
        """
        with self.open(digest) as model:
            return model.size

    @contextmanager
    def writer(self, size: int | None = None) -> Iterator[Draft]:
        """A new file: write it, then ``commit`` it. What is not committed is removed.

        Args:
            size: of the finished file in bytes, where it is known; a commit checks it.

        Raises:
            StorageError: the disk is full or fails.
        """
        with disk_errors("write", str(self.folder)):
            fd, name = tempfile.mkstemp(suffix=_UNFINISHED, prefix=".", dir=self.folder)
        path = Path(name)
        try:
            yield Draft(self, path, fd, size)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def adopt(self, path: Path, digest: Digest) -> int:
        """Check a finished file and move it into the store.

        Args:
            path: the file, on the same file system; gone afterwards. Not a symbolic link.
            digest: what it must be.

        Returns:
            Its size in bytes.

        Raises:
            DigestMismatchError: it is something else; it stays where it is.
            NotFoundError: there is no such file.
            StorageError: the disk fails.
        """
        with _opened(path, digest) as model:
            if _digest_of(model) != digest:
                raise DigestMismatchError(f"{path} is not the model file {digest}")
            self._take(path, digest)
            return model.size

    def collect(self, keep: Collection[Digest]) -> int:
        """Remove all files but ``keep``; transfers under way are not disturbed.

        Returns:
            How many were removed.
        """
        removed = 0
        with disk_errors("clean up", str(self.folder)):
            for path in list(self.folder.iterdir()):
                if _DIGEST.fullmatch(path.name) and path.name not in keep:
                    self._forget(path)
                    removed += 1
        return removed

    def _take(self, path: Path, digest: Digest) -> Path:
        final = self.path(digest)
        with disk_errors("write", digest):
            path.replace(final)
            self._checked[digest] = _stamp(final.stat())
        return final

    def _forget(self, path: Path) -> None:
        self._checked.pop(path.name, None)
        path.unlink(missing_ok=True)

    def _check(self, model: ModelFile) -> None:
        stamp = _stamp(os.fstat(model.fd))  # of before: what changes meanwhile is checked again
        if _digest_of(model) != model.digest:
            log.warning("model file %s on disk is damaged: removed", model.digest)
            path = self.path(model.digest)
            with disk_errors("clean up", model.digest), contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == stamp[0]:  # and not yet replaced by a good one
                    self._forget(path)
            raise NotFoundError(f"model file {model.digest} on disk was damaged; fetch it again")
        self._checked[model.digest] = stamp


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest_of(model: ModelFile) -> str:
    digester, offset = Digester(), 0
    while piece := model.read(offset, PIECE):
        digester.update(piece)
        offset += len(piece)
    return digester.hexdigest()


def _opened(path: Path, digest: Digest) -> ModelFile:
    """Open a regular file; a symbolic link or anything else counts as not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in _ABSENT:
            raise NotFoundError(f"there is no model file {path.name}") from exc
        raise StorageError(f"cannot open {path}: {exc.strerror}") from exc
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise NotFoundError(f"{path.name} is not a model file")
    return ModelFile(digest, fd, found.st_size)


@contextmanager
def disk_errors(doing: str, what: str) -> Iterator[None]:
    """Turn what the disk says into words.

    Raises:
        StorageError: instead of any ``OSError``.
    """
    try:
        yield
    except OSError as exc:
        advice = "the disk is full: free some space" if exc.errno in _FULL else exc.strerror
        raise StorageError(f"cannot {doing} {what}: {advice}") from exc
