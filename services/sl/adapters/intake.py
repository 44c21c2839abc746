"""A model file on its way from a connection into the store: written and hashed as it arrives.

Pieces are small enough to stay in a core's cache from TLS to the disk. A second thread hashes them,
because hashing takes as long as receiving and both release the GIL: with a core to spare it costs
no time (``docs/performance-data.md``). Without one it would only cost, so that where many files
arrive at once, most are hashed where they are received.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import BoundedSemaphore
from typing import Self

from services.sl.adapters.store import Draft
from swarmlearning.wire.digest import Digester

PIECE = 256 * 1024
"""Bytes received, written and hashed at a time."""
AHEAD = 8
"""Pieces that may wait to be hashed."""


class Hashers:
    """The threads that hash what arrives; one for every two cores."""

    def __init__(self) -> None:
        count = max(1, (os.cpu_count() or 1) // 2)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="hash")
        self._free = BoundedSemaphore(count)

    def start(self, job: Callable[[], None]) -> Future[None] | None:
        """Run ``job`` in a thread at once; None if all are busy."""
        if not self._free.acquire(blocking=False):
            return None
        future = self._threads.submit(job)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """End them, as soon as their jobs are done."""
        self._threads.shutdown(wait=False)


class Intake:
    """Takes the bytes of one file in order; use it in ``with``, which ends the second thread.

    Args:
        draft: where they go; must outlive this.
        size: of the file, bytes.
        hashers: one of them hashes, if one is free and the file is worth it.
    """

    def __init__(self, draft: Draft, size: int, hashers: Hashers) -> None:
        self.received = 0
        """Bytes so far."""
        self._draft, self._size = draft, size
        self._digester = Digester()
        self._memory = memoryview(bytearray(min(PIECE, size)))
        self._made = 1
        self._pieces: SimpleQueue[memoryview | None] = SimpleQueue()
        self._hashed: SimpleQueue[memoryview] = SimpleQueue()
        self._helper: Future[None] | None = None
        if size > AHEAD * PIECE:
            self._helper = hashers.start(self._hash)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_helper()

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self._size - self.received

    def room(self) -> memoryview:
        """Memory for the next bytes; fill some of it from its start, then :meth:`add` that."""
        return self._memory[: self.missing]

    def add(self, piece: memoryview) -> None:
        """Take the next bytes: the filled part of :meth:`room`, or other memory, left alone then.

        Raises:
            StorageError: the disk is full or fails.
        """
        if not piece:
            return
        self._draft.write(piece)
        self.received += len(piece)
        if self._helper is None:
            self._digester.update(piece)
            return
        self._pieces.put(piece)
        if piece.obj is self._memory.obj:
            self._memory = self._fresh()

    def hexdigest(self) -> str:
        """Digest of all that came. Raises what went wrong in the thread that hashes."""
        helper = self._helper
        self._end_helper()
        if helper is not None:
            helper.result()
        return self._digester.hexdigest()

    def _fresh(self) -> memoryview:
        """Memory that no piece in the queue uses."""
        if self._made <= AHEAD:
            self._made += 1
            return memoryview(bytearray(PIECE))
        return self._hashed.get()

    def _hash(self) -> None:
        """Whatever happens, give the memory back: somebody waits for it."""
        problem: Exception | None = None
        while (piece := self._pieces.get()) is not None:
            try:
                self._digester.update(piece)
            except Exception as exc:  # noqa: BLE001 - raised at the end
                problem = exc
            if isinstance(piece.obj, bytearray) and len(piece.obj) == PIECE:
                self._hashed.put(memoryview(piece.obj))
        if problem is not None:
            raise problem

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._pieces.put(None)
            wait([self._helper])
            self._helper = None
