"""Merges model files of the store into a new one, in a thread, block by block.

One block of all inputs is in memory at a time, whatever the size of the models. The files are read,
not mapped, so they do not count as memory, and one that somebody shortens is an error and not the
end of the process. The result is hashed while it is written.
"""

import mmap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.common.errors import LayoutError
from services.common.ids import Digest
from services.sl.adapters.job import Stop, run_job
from services.sl.adapters.store import Draft, ModelFile, Store
from services.sl.core.items import Array
from services.sl.core.merge import (
    Block,
    block_items,
    blocks,
    compared,
    merge_block,
    our_form,
    require_same_layout,
    shares,
    survey,
)
from services.sl.core.method import InputError, MergeMethod, Piece
from services.sl.core.methods import METHODS, Factory, method_named
from services.sl.core.outliers import Update
from swarmlearning.wire.digest import Digester
from swarmlearning.wire.tensors import DTYPES, Layout, WireError, parse, write_header

__all__ = ["InputError", "MergedFile", "merge_files"]


@dataclass(frozen=True, slots=True)
class MergedFile:
    """What a merge made."""

    digest: Digest
    size: int
    """Bytes."""
    updates: tuple[Update | None, ...]
    """How each input's change compares; None for weightage 0 and where that cannot be told."""


async def merge_files(
    method: str,
    store: Store,
    inputs: Sequence[tuple[Digest, int]],
    agreed: Digest | None = None,
    *,
    methods: Mapping[str, Factory] = METHODS,
    ram_intensive: bool = True,
) -> MergedFile:
    """Merge files of the store; the same inputs give the same file on any machine.

    Cancelling ends it within a block and leaves nothing behind.

    Args:
        method: name of a merge method.
        store: has the inputs, gets the result.
        inputs: digest and node weightage of each model, in the order agreed on: by peer. Those of
            weightage 0 are not read; one at least must have more.
        agreed: the merged model of the round before, which the inputs were trained from: they must
            have its layout, and some methods measure from it. Without it (first round) most of the
            inputs decide on the layout, and the first one where there is a tie.
        methods: those there are.
        ram_intensive: work in large blocks. The result is the same either way.

    Raises:
        InputError: one input is no model file, has another layout than the others or values that
            are not finite; ``index`` says which one.
        ConfigError: there is no such method.
        MethodError: the method is a user's, and failed.
        NotFoundError: an input is not in the store, or the method needs ``agreed`` and that is not.
        StorageError: the disk is full or fails.
    """
    merging = method_named(method, methods)
    job = partial(_merge_files, merging, store, list(inputs), agreed, ram_intensive)
    return await run_job(None, job)


def _merge_files(
    merging: MergeMethod, store: Store, inputs: Sequence[tuple[Digest, int]],
    agreed: Digest | None, ram_intensive: bool, stop: Stop,
) -> MergedFile:  # fmt: skip
    active, weights = shares([weightage for _, weightage in inputs])
    items = block_items(len(active), ram_intensive=ram_intensive)
    if agreed is not None and not merging.uses_base and not store.has(agreed):
        agreed = None
    with ExitStack() as stack:
        files = [stack.enter_context(store.open(inputs[index][0])) for index in active]
        base = stack.enter_context(store.open(agreed)) if agreed else None
        expected = _layout(base) if base else None
        try:
            layouts = [_input_layout(index, file) for index, file in enumerate(files)]
            layout = our_form(require_same_layout(layouts, expected))
            sections = [_Section(f, la.data_offset) for f, la in zip(files, layouts, strict=True)]
            beneath = _Section(base, expected.data_offset) if base and expected else None
            room = items * max((t.numpy.itemsize for t in layout.tensors), default=0)
            source = _Source(sections, beneath, weights, room)
            for _ in survey(merging, layout, source.read, items):
                stop.check()
            with store.writer(layout.file_size) as draft:
                output = _Output(draft, layout, room)
                for block in blocks(layout, items):
                    stop.check()
                    piece = source.read(block, merging.uses_base)
                    merge_block(merging, layout, block, piece, output.room(block))
                    output.add(block)
                digest = output.commit()
            found = compared(merging, layout, source.read, weights)
        except InputError as exc:
            raise InputError(active[exc.index], str(exc)) from exc
    updates = dict(zip(active, found, strict=False))
    return MergedFile(digest, layout.file_size, tuple(updates.get(i) for i in range(len(inputs))))


def _input_layout(index: int, file: ModelFile) -> Layout:
    try:
        layout = _layout(file)
        our_form(layout)
    except (WireError, LayoutError) as exc:
        raise InputError(index, str(exc)) from exc
    return layout


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


class _Source:
    """Reads one block of every input at a time, always into the same memory."""

    def __init__(
        self, sections: Sequence[_Section], base: _Section | None, weights: Sequence[int],
        room: int,
    ) -> None:  # fmt: skip
        self._sections, self._base, self._weights = sections, base, weights
        self._rooms = [bytearray(room) for _ in sections]
        self._base_room = bytearray(room if base else 0)

    def read(self, block: Block, with_base: bool) -> Piece:
        rows = [_row(s, block, room) for s, room in zip(self._sections, self._rooms, strict=True)]
        wanted = self._base if with_base else None
        base = _row(wanted, block, self._base_room) if wanted else None
        return Piece(block.dtype, rows, self._weights, base)


def _row(section: _Section, block: Block, room: bytearray) -> Array:
    view = memoryview(room)[: block.end - block.begin]
    section.file.read_into(view, section.offset + block.begin)
    return np.frombuffer(view.toreadonly(), DTYPES[block.dtype], block.count)


class _Output:
    """The merged file while it is written."""

    def __init__(self, draft: Draft, layout: Layout, room: int) -> None:
        self._draft = draft
        self._digester = Digester()
        self._block = bytearray(room)
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
