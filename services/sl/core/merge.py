"""Merging models: the files of a round's peers become one, deterministically.

The same inputs in the same order give the same bytes on any machine, so that anybody who holds the
files can recompute a merge. A model is merged as its flat data section, in blocks, never tensor by
tensor; memory does not grow with the number of peers. To add a method, write a :class:`MergeMethod`
and register it in :data:`METHODS`.

==========  ====================================================================================
``mean``    weighted mean, sum(W_i * X_i) / sum(W_i): FedAvg (McMahan et al. 2017,
            arXiv:1602.05629); HPE's default
==========  ====================================================================================

Weightages are first divided by their greatest common divisor, so only their ratios count. An input
of weightage 0 has no part in the merge and is never read.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.common.errors import ConfigError, LayoutError
from services.sl.core.mean import Array, Mean
from swarmlearning.wire.digest import Buffer
from swarmlearning.wire.tensors import DTYPES, Layout, Tensor, arrange

BLOCK_ITEMS = 32 * 1024
"""Items merged at a time: the float64 sums of a block stay in a core's cache."""


class InputError(LayoutError):
    """One input must not be merged; the others may be all right.

    Args:
        index: its position in the inputs.
        message: what is wrong with it.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class MergeMethod(Protocol):
    """Merges one block of all inputs."""

    def __call__(
        self, dtype: str, rows: Iterable[Array], weights: Sequence[int], out: Array
    ) -> None:
        """Write the merged block into ``out``.

        Args:
            dtype: of the tensors, a key of ``wire.tensors.DTYPES``; BF16 items are bit patterns.
            rows: the inputs' items, one 1-d array per input. May be iterated again; an array is
                valid only until the next one is taken. Not to be written to.
            weights: positive, without a common divisor; as many as rows.
            out: 1-d, of the rows' numpy dtype.

        Raises:
            FloatingPointError: an item of some input is not finite.
        """


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


def method_named(name: str) -> MergeMethod:
    """A new instance of the merge method that users call ``name``.

    Raises:
        ConfigError: there is none; the message names those there are.
    """
    try:
        return METHODS[name]()
    except KeyError:
        known = ", ".join(sorted(METHODS))
        raise ConfigError(f"unknown merge method {name!r}; known: {known}") from None


def merge(
    method: str,
    layout: Layout,
    inputs: Sequence[Buffer],
    weightages: Sequence[int],
    output: Buffer,
) -> None:
    """Merge whole data sections in memory.

    Args:
        method: name of a merge method.
        layout: of every input.
        inputs: data sections, in the order agreed on (by peer).
        weightages: one per input, 0 or more; at least one above 0.
        output: writable, ``layout.data_size`` bytes.

    Raises:
        InputError: an input holds values that are not finite; says which one.
        ConfigError: see :func:`method_named`.
    """
    merging = method_named(method)
    active, weights = shares(weightages)
    for block in blocks(layout):
        rows = [_items(inputs[index], block) for index in active]
        try:
            merge_block(merging, layout, block, rows, weights, _items(output, block))
        except InputError as exc:
            raise InputError(active[exc.index], str(exc)) from None


def shares(weightages: Sequence[int]) -> tuple[list[int], list[int]]:
    """Positions of the inputs that count, and their weights in lowest terms."""
    active = [index for index, weightage in enumerate(weightages) if weightage]
    if not active or min(weightages) < 0:
        raise ValueError(f"weightages {list(weightages)}: need some above 0 and none below")
    divisor = math.gcd(*(weightages[index] for index in active))
    return active, [weightages[index] // divisor for index in active]


def merge_block(
    method: MergeMethod,
    layout: Layout,
    block: Block,
    rows: Iterable[Array],
    weights: Sequence[int],
    out: Array,
) -> None:
    """Merge one block; arguments as for :class:`MergeMethod`.

    Raises:
        InputError: a row holds items that are not finite; ``index`` is the row's.
    """
    try:
        method(block.dtype, rows, weights, out)
    except FloatingPointError:
        for index, row in enumerate(rows):
            bad = np.flatnonzero(~_finite(block.dtype, row))
            if bad.size:
                name = _tensor_at(layout, block, int(bad[0])).name
                raise InputError(
                    index, f"tensor {name!r} holds values that are not finite"
                ) from None
        raise


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
            if not _finite(dtype, row).all():
                return False
    return True


def check_finite(layout: Layout, data: Buffer) -> None:
    """Check that all floating point values of a data section are finite.

    Raises:
        LayoutError: some are not; names the first tensor.
    """
    for block in blocks(layout):
        bad = np.flatnonzero(~_finite(block.dtype, _items(data, block)))
        if bad.size:
            name = _tensor_at(layout, block, int(bad[0])).name
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


def _finite(dtype: str, row: Array) -> Array:
    if dtype == "BF16":
        good: Array = (row & 0x7F80) != 0x7F80
    else:
        good = np.isfinite(row)
    return good


def _tensor_at(layout: Layout, block: Block, item: int) -> Tensor:
    place = block.begin + item * DTYPES[block.dtype].itemsize
    return layout.tensors[bisect_right(layout.tensors, place, key=lambda t: t.begin) - 1]


METHODS: dict[str, Callable[[], MergeMethod]] = {"mean": Mean}
"""Makes a merge method, by the name that users give (``mergeMethod``). One per merge: it may keep
working memory between blocks."""
