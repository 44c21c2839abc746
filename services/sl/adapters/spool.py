"""Where a long message from the ML program waits until all of it is there."""

import mmap
import os
import tempfile
from pathlib import Path

from services.common.errors import SwarmError
from services.sl.adapters.store import disk_errors
from swarmlearning.wire.tensors import WireError


class Spool:
    """A file without a name, as long as what arrived so far: claims cost nothing.

    Args:
        folder: on whose disk it lies.
        limit: longest message that is taken (bytes).
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._fd = -1
        self._size = 0
        self._error: SwarmError | None = None

    def write(self, piece: bytes) -> None:
        """Append; what cannot be kept is thrown away, and :meth:`finish` says why."""
        self._size += len(piece)
        if self._error is not None or self._size > self._limit:
            self._close()
            return
        try:
            with disk_errors("write", f"the ML program's message in {self._folder}"):
                self._append(piece)
        except SwarmError as exc:
            self._error = exc
            self._close()

    def finish(self) -> memoryview:
        """The message: pages of the file, which are freed with the view.

        Raises:
            WireError: it is longer than the limit.
            StorageError: the disk is full or fails.
        """
        size, error, fd = self._size, self._error, self._fd
        self._size, self._error, self._fd = 0, None, -1
        if error is not None:
            raise error
        if size > self._limit:
            raise WireError(
                f"a message of {size} bytes; SL_MAX_MESSAGE_MB allows {self._limit}. Client wheels "
                "from 2.3 on hand models over in files, of any size"
            )
        try:
            return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ))
        finally:
            os.close(fd)

    def close(self) -> None:
        """Forget what is there."""
        self._close()
        self._size, self._error = 0, None

    def _append(self, piece: bytes) -> None:
        if self._fd < 0:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                self._fd = os.dup(file.fileno())
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
