"""The tar archives that Docker takes and gives: folders, volumes and build contexts."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from services.swop.core.engine import EngineError

LARGEST_CONTEXT = 4 << 30
"""Bytes of a build context: a wheel or a model, not a data set."""
MOST_FILES = 200_000
_READABLE, _SEARCHABLE = 0o444, 0o111


def of_folder(folder: Path, into: IO[bytes]) -> None:
    """Write what a folder holds, owned by root and readable by every user.

    Our choice: whoever reads the volume is another user (SWOP_UID, root in SL) than the one who
    wrote these files. Links stay links; sockets, pipes and devices are left out.
    """

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode |= _READABLE | (_SEARCHABLE if member.isdir() else 0)
        return member

    with tarfile.open(fileobj=into, mode="w") as archive:
        for entry in sorted(folder.iterdir()):
            archive.add(entry, arcname=entry.name, filter=owned)


def build_context(
    dockerfile_name: str, dockerfile: str, volume: Iterator[bytes] | None, into: IO[bytes]
) -> None:
    """Write a build context: what a volume holds, plus the Dockerfile.

    Args:
        dockerfile_name: a name that nothing in the volume has.
        dockerfile: its text.
        volume: archive of the volume as Docker gives it, all below one folder; None: empty.
        into: gets the archive.

    Raises:
        EngineError: it is too large.
    """
    with tarfile.open(fileobj=into, mode="w") as archive:
        if volume is not None:
            with tarfile.open(fileobj=_Reader(volume), mode="r|") as source:
                _copy(source, archive)
        text = dockerfile.encode()
        member = tarfile.TarInfo(dockerfile_name)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))


def _copy(source: tarfile.TarFile, target: tarfile.TarFile) -> None:
    """Copy files, folders and links, without the folder that all of them are below."""
    size = count = 0
    for member in source:
        size, count = size + member.size, count + 1
        if size > LARGEST_CONTEXT or count > MOST_FILES:
            raise EngineError(
                f"the build context is too large (at most {LARGEST_CONTEXT >> 30} GiB and "
                f"{MOST_FILES} files): put less into its volume"
            )
        member.name = _below(member.name)
        if member.islnk():
            member.linkname = _below(member.linkname)
        if member.name and (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            target.addfile(member, source.extractfile(member) if member.isreg() else None)


def _below(name: str) -> str:
    """``files/a/b`` -> ``a/b``."""
    return "/".join(PurePosixPath(name).parts[1:])


class _Reader(io.RawIOBase):
    """Chunks of bytes as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        end = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:end], self._rest[end:]
        return taken
