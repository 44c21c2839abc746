"""The digest that names a model file: SHA-256 over the SHA-256 digests of 4 MiB chunks.

Two levels, because then chunks can be hashed in parallel, while they arrive, and a byte range can
be verified alone (``PERFORMANCE.md``: 2.6 GB/s on two threads against 1.4 for plain SHA-256). The
last chunk may be short; a file whose length is a multiple of 4 MiB has no empty last chunk; the
digest of an empty file is SHA-256 of nothing.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from mmap import mmap

CHUNK = 4 * 1024 * 1024
"""Bytes hashed into one first-level digest."""

Buffer = bytes | bytearray | memoryview | mmap
"""C-contiguous bytes in memory; wrap an array in a memoryview."""

Mapper = Callable[[Callable[[memoryview], bytes], Iterable[memoryview]], Iterable[bytes]]
"""``map``, or an executor's ``map``: calls a function on each item, results in order."""


class Digester:
    """Digest of bytes that arrive piece by piece, in any sizes.

    The result depends only on the bytes, never on how they were cut.
    """

    def __init__(self) -> None:
        self._whole = sha256()
        self._chunk = sha256()
        self._filled = 0

    def update(self, buffer: Buffer) -> None:
        """Add the bytes of ``buffer`` (C-contiguous)."""
        view = memoryview(buffer).cast("B")
        while len(view):
            part = view[: CHUNK - self._filled]
            self._chunk.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == CHUNK:
                self._whole.update(self._chunk.digest())
                self._chunk, self._filled = sha256(), 0

    def hexdigest(self) -> str:
        """Digest of everything so far: 64 hex digits, lower case. More may be added afterwards."""
        whole = self._whole.copy()
        if self._filled:
            whole.update(self._chunk.digest())
        return whole.hexdigest()


def _chunk_digest(chunk: memoryview) -> bytes:
    return sha256(chunk).digest()


def digest_of(buffer: Buffer, mapper: Mapper = map) -> str:
    """Digest of a whole buffer: 64 hex digits, lower case.

    Args:
        buffer: C-contiguous bytes, e.g. an mmap of the file.
        mapper: pass ``ThreadPoolExecutor(...).map`` to hash chunks in parallel (hashlib releases
            the GIL); the result is the same.
    """
    view = memoryview(buffer).cast("B")
    chunks = (view[at : at + CHUNK] for at in range(0, len(view), CHUNK))
    return combine(mapper(_chunk_digest, chunks))


def combine(chunk_digests: Iterable[bytes]) -> str:
    """The digest of a file from the SHA-256 digests (32 bytes each) of its chunks, in order.

    For callers that hash each chunk as they produce it, e.g. on several threads.
    """
    whole = sha256()
    for digest in chunk_digests:
        whole.update(digest)
    return whole.hexdigest()
