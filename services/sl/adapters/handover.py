"""Model files on their way between the ML program and the store.

The hand-over folder is a volume that both containers write, so nothing in it is trusted: files are
opened without following links, read with ``preadv`` into our own memory (a file that shrinks under
a map would end the process), and checked there, where the ML program cannot change them any more.

Two formats, told apart by the name the ML program gives: ``.safetensors`` (our client) and ``.pkl``
(HPE's client 2.3; see ``core.pickles`` for how it is read without unpickling). HPE's clients 2.1
and 2.2 use no files: their weights come and go inside messages (``core.weights``).
"""

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LayoutError, StorageError
from services.common.ids import Digest
from services.sl.adapters.store import Draft, Store, disk_errors
from services.sl.core import pickles, weights
from services.sl.core.merge import are_finite, check_finite
from swarmlearning.wire.digest import CHUNK, combine, digest_of
from swarmlearning.wire.tensors import (
    MAX_HEADER,
    Layout,
    WireError,
    arrange,
    layout_of,
    parse,
    read,
    write_header,
    write_into,
)

TRAINED = "trained_weights"
MERGED = "merged_weights"
SUFFIXES = (".pkl", ".safetensors")

FILES = tuple(stem + suffix for stem in (TRAINED, MERGED) for suffix in SUFFIXES)
"""All files of a hand-over folder."""

THREADS = 2
"""Threads that read and hash; more gain nothing (``PERFORMANCE.md``)."""

PIECE = 256 * 1024
"""Bytes read, hashed, checked and written while they are in a core's cache."""

Result = TypeVar("Result")

_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def ingest(folder: Path, file_name: str, store: Store) -> tuple[Digest, int]:
    """Take the ML program's parameters into the store. Blocks; call it in a thread.

    Args:
        folder: the hand-over folder.
        file_name: as the ML program named it in its request.
        store: gets the file, in our format.

    Returns:
        Digest and size (bytes) of the file in the store.

    Raises:
        LayoutError: the file is not what it should be, or holds values that are not finite. Tell
            the ML program: it waits for an answer.
        StorageError: the disk is full or fails.
    """
    suffix = Path(file_name).suffix
    if not file_name:
        raise LayoutError("the ML program's request has neither a file name nor weights")
    if file_name != TRAINED + suffix or suffix not in SUFFIXES:
        raise LayoutError(
            f"the ML program named its parameters {file_name[:80]!r}; this SL reads "
            f"{' or '.join(TRAINED + suffix for suffix in SUFFIXES)}"
        )
    with _opened(folder / file_name, os.O_RDONLY) as fd:
        size = os.fstat(fd).st_size
        if not size:
            raise LayoutError(f"the ML program left {file_name} empty")
        try:
            if suffix == ".pkl":
                return _ingest_pickle(fd, size, store)
            return _ingest_safetensors(fd, size, store)
        except WireError as exc:
            raise LayoutError(f"the ML program's {file_name} is refused: {exc}") from exc


def ingest_message(message: memoryview, store: Store) -> tuple[Digest, int, dict[str, str]]:
    """Take parameters that came inside a message into the store. Blocks; call it in a thread.

    Args:
        message: a protobuf ``Weights`` message.
        store: gets the file, in our format.

    Returns:
        Digest and size (bytes) of the file in the store, and the sender's words for each dtype.

    Raises:
        LayoutError, StorageError: see :func:`ingest`.
    """
    try:
        found = weights.load(message)
        return *_store_arrays(found.arrays, frozenset(), store), found.dtypes
    except WireError as exc:
        raise LayoutError(f"the ML program's weights are refused: {exc}") from exc


def deliver_message(
    source: Path, dtypes: Mapping[str, str]
) -> tuple[int, Iterator[bytes | memoryview]]:
    """A merged model as a protobuf ``Weights`` message.

    Args:
        source: file of the store; its pages are read as the pieces are used.
        dtypes: as :func:`ingest_message` returned them.

    Returns:
        Size of the message in bytes, and its pieces.

    Raises:
        StorageError: the disk fails.
    """
    return weights.dump(_for_hpe(_mapped(source)), dtypes)


def deliver(source: Path, folder: Path, asked_name: str) -> str:
    """Write a merged model where the ML program reads it. Blocks; call it in a thread.

    The file keeps its place and its pages from sync to sync; the ML program has read it before it
    asks for the next one.

    Args:
        source: file of the store.
        folder: the hand-over folder.
        asked_name: what the ML program called its own parameters; tells the format.

    Returns:
        Name of the file, for the LossRequest.

    Raises:
        StorageError: the disk is full or fails.
    """
    suffix = Path(asked_name).suffix
    name = MERGED + suffix
    with disk_errors("read", source.name):
        file = source.open("rb")
    with (
        file,
        _opened(folder / name, os.O_RDWR) as fd,
        disk_errors("write", f"{folder / name} (the volume shared with the ML program)"),
    ):
        if suffix == ".pkl":
            _write(fd, pickles.dump(_for_hpe(_mapped(source))))
        else:
            _copy(file.fileno(), fd)
    return name


def _copy(source: int, target: int) -> None:
    """Copy a file over another one within the kernel, or by hand where that is not possible."""
    size, at = os.fstat(source).st_size, 0
    with contextlib.suppress(OSError):
        while at < size:
            count = os.copy_file_range(source, target, size - at, at, at)
            if not count:
                break
            at += count
    while at < size:
        piece = os.pread(source, PIECE, at)
        if not piece:
            raise StorageError("the merged model's file got shorter while it was delivered")
        at += os.pwrite(target, piece, at)
    if os.fstat(target).st_size != size:
        os.ftruncate(target, size)


def _write(fd: int, pieces: Iterable[bytes | memoryview]) -> None:
    at = 0
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            count = os.pwrite(fd, rest[:CHUNK], at)
            at += count
            rest = rest[count:]
    if os.fstat(fd).st_size != at:
        os.ftruncate(fd, at)


def _mapped(source: Path) -> mmap.mmap:
    with disk_errors("read", source.name), source.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _for_hpe(model: mmap.mmap) -> dict[str, NDArray[Any]]:
    layout = parse(model)
    arrays = read(model, layout)
    for tensor in layout.tensors:
        if tensor.dtype == "BF16":  # unknown to numpy, so to HPE's client; float32 loses nothing
            bits = arrays[tensor.name].astype(np.uint32) << np.uint32(16)
            arrays[tensor.name] = bits.view(np.float32)
    return arrays


def _ingest_safetensors(fd: int, size: int, store: Store) -> tuple[Digest, int]:
    with store.writer(size) as draft:
        taking = _Taking(fd, draft, size)
        digest = taking.take_all()
        memory = taking.memory
        if _is_ours(taking.layout, memory):
            _check_values(taking.layout, memory, finite=taking.finite)
            draft.commit(digest)
            return digest, size
        return _store_arrays(read(memory, taking.layout), _bfloat16(taking.layout), store)


class _Taking:
    """Copies a model file into a draft of the store, hashes it and looks for values not finite.

    Each byte is read from the ML program's file once, and all that is done to it is done while it
    is in a core's cache (``docs/performance-data.md``).
    """

    def __init__(self, fd: int, draft: Draft, size: int) -> None:
        self._fd, self._draft, self._size = fd, draft, size
        with disk_errors("write", "the ML program's parameters"):
            os.truncate(draft.path, size)
            with draft.path.open("rb") as file:
                self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.finite = True
        """Whether all values seen so far are; only of use where the layout is one of ours."""
        self.layout = Layout((), 0)

    def take_all(self) -> Digest:
        """Do it; :attr:`layout` is then what the header says.

        Raises:
            WireError: it is not a model file.
            LayoutError: it got shorter meanwhile.
        """
        begin = bytearray(8)
        _fill(self._fd, 0, memoryview(begin)[: self._size])
        header = 8 + min(int.from_bytes(begin, "little"), MAX_HEADER)
        places = range(0, self._size, CHUNK)
        first = min(-(-header // CHUNK), len(places))
        digests = [self._take(at) for at in places[:first]]
        self.layout = parse(self.memory)
        self._look_at(memoryview(self.memory)[: first * CHUNK], 0)
        with ThreadPoolExecutor(THREADS) as pool:
            digests += pool.map(self._take, places[first:])
        return Digest(combine(digests))

    def _take(self, at: int) -> bytes:
        """Take one chunk; its SHA-256."""
        chunk, room = sha256(), memoryview(bytearray(PIECE))
        for place in range(at, min(at + CHUNK, self._size), PIECE):
            piece = room[: self._size - place]
            _fill(self._fd, place, piece)
            self._draft.write_at(piece, place)
            chunk.update(piece)
            self._look_at(piece, place)
        return chunk.digest()

    def _look_at(self, piece: memoryview, place: int) -> None:
        """Note whether a piece of the file has values that are not finite."""
        offset = place - self.layout.data_offset
        if self.layout.tensors and not are_finite(self.layout, piece, offset):
            self.finite = False


def _ingest_pickle(fd: int, size: int, store: Store) -> tuple[Digest, int]:
    with disk_errors("make room for", "the ML program's parameters"):
        memory = mmap.mmap(-1, size)
    _for_chunks(memory, lambda at, view: _fill(fd, at, view))
    return _store_arrays(pickles.load(memoryview(memory)), frozenset(), store)


def _store_arrays(
    arrays: dict[str, NDArray[Any]], bfloat16: frozenset[str], store: Store
) -> tuple[Digest, int]:
    layout = layout_of(arrays, bfloat16)
    with store.writer(layout.file_size) as draft:
        memory = _allocated(draft.path, layout.file_size)
        write_into(memory, arrays, layout)
        _check_values(layout, memory)
        with ThreadPoolExecutor(THREADS) as pool:
            digest = Digest(digest_of(memory, pool.map))
        draft.commit(digest)
        return digest, layout.file_size


def _bfloat16(layout: Layout) -> frozenset[str]:
    return frozenset(tensor.name for tensor in layout.tensors if tensor.dtype == "BF16")


def _is_ours(layout: Layout, memory: mmap.mmap) -> bool:
    """The header is byte for byte what we would write; equal models then have equal digests."""
    ours = arrange((t.name, t.dtype, t.shape) for t in layout.tensors)
    if ours != layout or ours.data_offset != layout.data_offset:
        return False
    header = bytearray(ours.data_offset)
    write_header(header, ours)
    return memory[: len(header)] == header


def _check_values(layout: Layout, memory: mmap.mmap, finite: bool = False) -> None:
    """Check what an ML program's model holds; ``finite``: that was looked at already."""
    if not layout.tensors:
        raise LayoutError("the ML program's model has no parameters")
    section = memoryview(memory)[layout.data_offset :]
    if not finite:
        check_finite(layout, section)
    for tensor in layout.tensors:
        if tensor.dtype == "BOOL":
            items = np.frombuffer(section, np.uint8, tensor.count, tensor.begin)
            if items.size and items.max() > 1:
                raise LayoutError(f"tensor {tensor.name!r} holds booleans other than 0 and 1")


def _allocated(path: Path, size: int) -> mmap.mmap:
    """A map of our own new file, whose space is there before it is written."""
    with disk_errors("write", "the ML program's parameters"), path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)


def _for_chunks(memory: mmap.mmap, action: Callable[[int, memoryview], Result]) -> list[Result]:
    """Call ``action`` with place and memory of each chunk, on several threads."""
    view = memoryview(memory)
    places = range(0, len(view), CHUNK)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda at: action(at, view[at : at + CHUNK]), places))


def _fill(fd: int, at: int, view: memoryview) -> None:
    with disk_errors("read", "the ML program's parameters"):
        while view:
            count = os.preadv(fd, [view], at)
            if not count:
                raise LayoutError("the ML program's file got shorter while it was read")
            at += count
            view = view[count:]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A regular file of the hand-over folder, never through a link."""
    with disk_errors("open", str(path)):
        fd = os.open(path, flags | _OPEN)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise StorageError(f"{path} is not the file that the SL made there: remove it")
        yield fd
    finally:
        os.close(fd)
