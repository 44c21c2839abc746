"""Merging models: the files of a round's peers become one, deterministically.

The same inputs in the same order give the same bytes on any machine, so that anybody who holds the
files can recompute a merge. A model is merged as its flat data section, in blocks, never tensor by
tensor; memory does not grow with the size of the model. ``methods`` lists the methods.

Weightages are first divided by their greatest common divisor, so only their ratios count. An input
of weightage 0 has no part in the merge and is never read.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from services.common.errors import LayoutError
from services.sl.core.items import FLOATS, Array, finite
from services.sl.core.method import InputError, MergeMethod, MethodError, Piece
from services.sl.core.methods import METHODS, Factory, method_named
from services.sl.core.outliers import SAMPLES, Update, sampled_norms, updates
from services.sl.core.spread import PANEL
from swarmlearning.wire.digest import Buffer
from swarmlearning.wire.tensors import DTYPES, Layout, Tensor, arrange

BLOCK_ITEMS = 32 * 1024
"""Most items merged at a time: the float64 sums of a block stay in a core's cache."""
_ALL_ITEMS = 256 * 1024
"""Items of all inputs together in a block, if that leaves each one enough to be quick with."""

Read = Callable[["Block", bool], Piece]
"""Gives the inputs' items of a block, and the base's where the flag says so; valid until the next
call."""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the data section with items of one dtype."""

    dtype: str
    begin: int
    """First byte, counted from the start of the data section."""
    count: int
    """Items."""

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.begin + self.count * DTYPES[self.dtype].itemsize


def block_items(inputs: int, *, ram_intensive: bool = True) -> int:
    """How many items of each input to merge at a time.

    Always a multiple of ``spread.PANEL``, so that the result does not depend on it.

    Args:
        inputs: how many there are.
        ram_intensive: False where memory is short.
    """
    if not ram_intensive:
        return PANEL
    return max(PANEL, min(BLOCK_ITEMS, _ALL_ITEMS // inputs // PANEL * PANEL))


def blocks(layout: Layout, items: int = BLOCK_ITEMS) -> Iterator[Block]:
    """Cut a data section into blocks, in order and without holes.

    Args:
        layout: of the data section.
        items: most items in a block.
    """
    for dtype, begin, count in _runs(layout.tensors):
        width = DTYPES[dtype].itemsize
        for start in range(0, count, items):
            yield Block(dtype, begin + start * width, min(items, count - start))


def _runs(tensors: Sequence[Tensor]) -> Iterator[tuple[str, int, int]]:
    """Neighbouring tensors of one dtype as (dtype, first byte, items)."""
    at = 0
    while at < len(tensors):
        first = tensors[at]
        count = 0
        while at < len(tensors) and tensors[at].dtype == first.dtype:
            count += tensors[at].count
            at += 1
        yield first.dtype, first.begin, count


def merge(
    method: str, layout: Layout, inputs: Sequence[Buffer], weightages: Sequence[int],
    output: Buffer, base: Buffer | None = None, *,
    methods: Mapping[str, Factory] = METHODS, items: int = 0,
) -> list[Update]:  # fmt: skip
    """Merge whole data sections in memory.

    Args:
        method: name of a merge method.
        layout: of every input.
        inputs: data sections, in the order agreed on (by peer).
        weightages: one per input, 0 or more; at least one above 0.
        output: writable, ``layout.data_size`` bytes.
        base: data section of the merged model of the round before.
        methods: those there are.
        items: most items in a block, a multiple of ``spread.PANEL``; 0: as suits the inputs.

    Returns:
        How each input of weightage above 0 compares; empty where that cannot be told.

    Raises:
        InputError: an input holds values that are not finite, or that this method cannot merge;
            says which one.
        ConfigError: see ``methods.method_named``.
        MethodError: a method of the user's failed.
    """
    merging = method_named(method, methods)
    active, weights = shares(weightages)
    items = items or block_items(len(active))

    def read(block: Block, with_base: bool) -> Piece:
        row = _items(base, block) if with_base and base is not None else None
        return Piece(block.dtype, [_items(inputs[i], block) for i in active], weights, row)

    try:
        for _ in survey(merging, layout, read, items):
            pass
        for block in blocks(layout, items):
            piece = read(block, merging.uses_base)
            merge_block(merging, layout, block, piece, _items(output, block))
    except InputError as exc:
        raise InputError(active[exc.index], str(exc)) from None
    return compared(merging, layout, read, weights)


def survey(method: MergeMethod, layout: Layout, read: Read, items: int) -> Iterator[Block]:
    """Show a method that needs it the whole models, block by block (those are returned).

    Raises:
        InputError: see :func:`merge_block`.
    """
    if method.two_pass:
        for block in blocks(layout, items):
            piece = read(block, method.uses_base)
            with _naming_the_input(method, layout, block, piece):
                method.survey(piece)
            yield block


def merge_block(
    method: MergeMethod, layout: Layout, block: Block, piece: Piece, out: Array
) -> None:
    """Merge one block into ``out``.

    Raises:
        InputError: a row holds items that are not finite, or that the method cannot merge;
            ``index`` is the row's.
        MethodError: the method is a user's, and failed.
    """
    with _naming_the_input(method, layout, block, piece):
        method(piece, out)


@contextmanager
def _naming_the_input(
    method: MergeMethod, layout: Layout, block: Block, piece: Piece
) -> Iterator[None]:
    """See that no method gets items that are not finite, and whose fault it is if it does."""
    try:
        if not method.finds_not_finite:
            _require_finite(layout, block, piece)
        yield
    except FloatingPointError as exc:
        _require_finite(layout, block, piece)
        raise MethodError(f"the merge method does not give finite values: {exc}") from exc


def _require_finite(layout: Layout, block: Block, piece: Piece) -> None:
    for index, row in enumerate(piece.rows):
        good = finite(block.dtype, row)
        if not good.all():
            name = _tensor_at(layout, block, int(np.argmin(good))).name
            raise InputError(index, f"tensor {name!r} holds values that are not finite")


def compared(
    method: MergeMethod, layout: Layout, read: Read, weights: Sequence[int]
) -> list[Update]:
    """How large each input's update is, as the method measured it, or in a few blocks."""
    norms = method.update_norms() or sampled_norms(read(block, True) for block in _samples(layout))
    return updates(norms, weights)


def _samples(layout: Layout) -> list[Block]:
    """Some blocks of floats, evenly spread."""
    floats = [block for block in blocks(layout, PANEL) if block.dtype in FLOATS]
    return floats[:: -(-len(floats) // SAMPLES) or 1]


def shares(weightages: Sequence[int]) -> tuple[list[int], list[int]]:
    """Positions of the inputs that count, and their weights in lowest terms."""
    active = [index for index, weightage in enumerate(weightages) if weightage]
    if not active or min(weightages) < 0:
        raise ValueError(f"weightages {list(weightages)}: need some above 0 and none below")
    divisor = math.gcd(*(weightages[index] for index in active))
    return active, [weightages[index] // divisor for index in active]


def are_finite(layout: Layout, piece: Buffer, offset: int) -> bool:
    """Whether all floating point values in a piece of a data section are finite.

    Args:
        layout: one of our form, so that no item lies across two pieces.
        piece: the bytes.
        offset: of the first one in the data section, a multiple of 8; negative where the piece
            begins in the header.
    """
    end = offset + memoryview(piece).nbytes
    for dtype, begin, count in _runs(layout.tensors):
        width = DTYPES[dtype].itemsize
        first, last = max(begin, offset), min(begin + count * width, end)
        if first < last:
            row = np.frombuffer(piece, DTYPES[dtype], (last - first) // width, first - offset)
            if not finite(dtype, row).all():
                return False
    return True


def check_finite(layout: Layout, data: Buffer) -> None:
    """Check that all floating point values of a data section are finite.

    Raises:
        LayoutError: some are not; names the first tensor.
    """
    for block in blocks(layout):
        good = finite(block.dtype, _items(data, block))
        if not good.all():
            name = _tensor_at(layout, block, int(np.argmin(good))).name
            raise LayoutError(f"tensor {name!r} holds values that are not finite")


def require_same_layout(layouts: Sequence[Layout], agreed: Layout | None = None) -> Layout:
    """Check that models have the same names, dtypes, shapes and order of tensors.

    Args:
        layouts: of the models.
        agreed: what they must be, where that is settled. Otherwise what most of them are; where
            two layouts are as frequent, the one that comes first.

    Returns:
        The layout that all have.

    Raises:
        InputError: one is different; says where first, and what is expected there.
    """
    expected = agreed or Counter(layouts).most_common(1)[0][0]
    for index, layout in enumerate(layouts):
        if layout != expected:
            raise InputError(index, _difference(layout, expected))
    return expected


def our_form(layout: Layout) -> Layout:
    """The same layout as we write it: what the header of a merged file is made of.

    Raises:
        LayoutError: it is none of ours, because the tensors are in another order.
    """
    ours = arrange((tensor.name, tensor.dtype, tensor.shape) for tensor in layout.tensors)
    if ours != layout:
        raise LayoutError("the tensors are not in the order of our files (wider items first)")
    return ours


def _difference(layout: Layout, expected: Layout) -> str:
    """The first difference, in words."""
    found = {tensor.name: tensor for tensor in layout.tensors}
    for tensor in expected.tensors:
        other = found.pop(tensor.name, None)
        if other is None:
            return f"tensor {tensor.name!r} ({_kind(tensor)}) is missing"
        if _kind(other) != _kind(tensor):
            return f"tensor {tensor.name!r} is {_kind(other)}, expected {_kind(tensor)}"
    for name, tensor in found.items():
        return f"tensor {name!r} ({_kind(tensor)}) is not expected"
    pairs = zip(layout.tensors, expected.tensors, strict=True)
    ours, theirs = next(pair for pair in pairs if pair[0] != pair[1])
    return f"tensor {ours.name!r} comes where {theirs.name!r} is expected"


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def _items(section: Buffer, block: Block) -> Array:
    return np.frombuffer(section, DTYPES[block.dtype], block.count, block.begin)


def _tensor_at(layout: Layout, block: Block, item: int) -> Tensor:
    place = block.begin + item * DTYPES[block.dtype].itemsize
    return layout.tensors[bisect_right(layout.tensors, place, key=lambda t: t.begin) - 1]
