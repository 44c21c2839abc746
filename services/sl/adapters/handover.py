"""Model files on their way between the ML program and the store.

The hand-over folder is a volume that both containers write, so nothing in it is trusted: files are
opened without following links, read with ``preadv`` into our own memory (a file that shrinks under
a map would end the process), and checked there, where the ML program cannot change them any more.

Two formats, told apart by the name the ML program gives: ``.safetensors`` (our client) and ``.pkl``
(HPE's client 2.3; see ``core.pickles`` for how it is read without unpickling). HPE's clients 2.1
and 2.2 use no files: their weights come and go inside messages (``core.weights``).
"""

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
from services.sl.adapters.store import Store, disk_errors
from services.sl.core import pickles, weights
from services.sl.core.merge import check_finite
from swarmlearning.wire.digest import CHUNK, combine, digest_of
from swarmlearning.wire.tensors import (
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
    model = _mapped(source)
    pieces = pickles.dump(_for_hpe(model)) if suffix == ".pkl" else iter([memoryview(model)])
    with (
        _opened(folder / name, os.O_RDWR) as fd,
        disk_errors("write", f"{folder / name} (the volume shared with the ML program)"),
    ):
        _write(fd, pieces)
    return name


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
        memory = _allocated(draft.path, size)
        digest = _read_and_hash(fd, memory)
        layout = parse(memory)
        if _is_ours(layout, memory):
            _check_values(layout, memory)
            draft.commit(digest)
            return digest, size
        return _store_arrays(read(memory, layout), _bfloat16(layout), store)


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


def _check_values(layout: Layout, memory: mmap.mmap) -> None:
    if not layout.tensors:
        raise LayoutError("the ML program's model has no parameters")
    section = memoryview(memory)[layout.data_offset :]
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


def _read_and_hash(fd: int, memory: mmap.mmap) -> Digest:
    def take(at: int, view: memoryview) -> bytes:
        _fill(fd, at, view)
        return sha256(view).digest()

    return Digest(combine(_for_chunks(memory, take)))


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
