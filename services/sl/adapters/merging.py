"""Merges model files of the store into a new one, in a thread, block by block.

Memory does not grow with the number of peers: one block of one input is in memory at a time. The
files are read, not mapped, so they do not count as memory, and one that somebody shortens is an
error and not the end of the process. The result is hashed while it is written.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.common.errors import LayoutError
from services.common.ids import Digest
from services.sl.adapters.job import Stop, run_job
from services.sl.adapters.store import Draft, ModelFile, Store
from services.sl.core.mean import Array
from services.sl.core.merge import (
    BLOCK_ITEMS,
    Block,
    InputError,
    blocks,
    merge_block,
    method_named,
    our_form,
    require_same_layout,
    shares,
)
from swarmlearning.wire.digest import Digester
from swarmlearning.wire.tensors import DTYPES, Layout, WireError, parse, write_header

__all__ = ["InputError", "merge_files"]

WIDEST = 8
"""Bytes of the widest item."""


async def merge_files(
    method: str,
    store: Store,
    inputs: Sequence[tuple[Digest, int]],
    agreed: Digest | None = None,
) -> tuple[Digest, int]:
    """Merge files of the store; the same inputs give the same file on any machine.

    Cancelling ends it within a block and leaves nothing behind.

    Args:
        method: name of a merge method (``core.merge.METHODS``).
        store: has the inputs, gets the result.
        inputs: digest and node weightage of each model, in the order agreed on: by peer. Those of
            weightage 0 are not read; one at least must have more.
        agreed: a file whose layout the inputs must have, e.g. the merged model of the round
            before. Without it most of the inputs decide, and the first one where there is a tie.

    Returns:
        Digest and size (bytes) of the merged file.

    Raises:
        InputError: one input is no model file, has another layout than the others or values that
            are not finite; ``index`` says which one.
        ConfigError: there is no such method.
        NotFoundError: an input is not in the store.
        StorageError: the disk is full or fails.
    """
    return await run_job(None, partial(_merge_files, method, store, list(inputs), agreed))


def _merge_files(
    method: str,
    store: Store,
    inputs: Sequence[tuple[Digest, int]],
    agreed: Digest | None,
    stop: Stop,
) -> tuple[Digest, int]:
    merging = method_named(method)
    active, weights = shares([weightage for _, weightage in inputs])
    with ExitStack() as stack:
        files = [stack.enter_context(store.open(inputs[index][0])) for index in active]
        expected = _layout_in_store(store, agreed) if agreed else None
        try:
            layouts = [_input_layout(index, file) for index, file in enumerate(files)]
            layout = our_form(require_same_layout(layouts, expected))
            sections = [_Section(f, la.data_offset) for f, la in zip(files, layouts, strict=True)]
            with store.writer(layout.file_size) as draft:
                output, memory = _Output(draft, layout), bytearray(BLOCK_ITEMS * WIDEST)
                for block in blocks(layout):
                    stop.check()
                    rows = _Rows(sections, block, memory)
                    merge_block(merging, layout, block, rows, weights, output.room(block))
                    output.add(block)
                return output.commit(), layout.file_size
        except InputError as exc:
            raise InputError(active[exc.index], str(exc)) from exc


def _input_layout(index: int, file: ModelFile) -> Layout:
    try:
        layout = _layout(file)
        our_form(layout)
    except (WireError, LayoutError) as exc:
        raise InputError(index, str(exc)) from exc
    return layout


def _layout_in_store(store: Store, digest: Digest) -> Layout:
    with store.open(digest) as file:
        return _layout(file)


def _layout(file: ModelFile) -> Layout:
    """What the header says. Only the header is mapped in, and only for this moment."""
    if not file.size:
        raise WireError("the file is empty")
    return parse(mmap.mmap(file.fd, file.size, prot=mmap.PROT_READ))


@dataclass(frozen=True, slots=True)
class _Section:
    """The data section of an input."""

    file: ModelFile
    offset: int


class _Rows:
    """One block of every input; each is read when its turn comes."""

    def __init__(self, sections: Sequence[_Section], block: Block, memory: bytearray) -> None:
        self._sections, self._begin = sections, block.begin
        self._view = memoryview(memory)[: block.end - block.begin]
        self._row = np.frombuffer(memory, DTYPES[block.dtype], block.count)

    def __iter__(self) -> Iterator[Array]:
        for section in self._sections:
            section.file.read_into(self._view, section.offset + self._begin)
            yield self._row


class _Output:
    """The merged file while it is written."""

    def __init__(self, draft: Draft, layout: Layout) -> None:
        self._draft = draft
        self._digester = Digester()
        self._block = bytearray(BLOCK_ITEMS * WIDEST)
        header = bytearray(layout.data_offset)
        write_header(header, layout)
        self._write(memoryview(header))

    def room(self, block: Block) -> Array:
        """Where the merged items of ``block`` go; then call :meth:`add`."""
        return np.frombuffer(self._block, DTYPES[block.dtype], block.count)

    def add(self, block: Block) -> None:
        """Hash and write what is in :meth:`room`."""
        self._write(memoryview(self._block)[: block.end - block.begin])

    def commit(self) -> Digest:
        """Make it a file of the store."""
        digest = Digest(self._digester.hexdigest())
        self._draft.commit(digest)
        return digest

    def _write(self, piece: memoryview) -> None:
        self._digester.update(piece)
        self._draft.write(piece)
