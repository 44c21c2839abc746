"""The weighted median of one block of parameters, coordinate by coordinate.

Sorted by value, with W the sum of all weights: the smallest value up to which the weights sum to
W/2 or more; where they sum to exactly W/2, the mean of this value and the next. With equal weights
that is the middle value, or the mean of the two middle ones. The mean is rounded once, to nearest
even, in the tensor's dtype, integers and booleans included. A zero is +0.

Equal weights take a sorting network of ``minimum`` and ``maximum`` over whole blocks, from which
everything that the middle does not depend on is struck out. With other weights, items of up to 32
bits are sorted by a whole network, as float64 numbers whose low bits carry the weight; wider ones
take rank counting: for each pair of inputs one comparison tells which comes first. None of these
calculates with the values, so nothing depends on the machine.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from services.sl.core.items import Array, round_into, widened
from services.sl.core.method import OnePass, Piece
from swarmlearning.wire.tensors import DTYPES

_HALVES = ("F16", "BF16")
_TAG_BITS = 20
"""Low bits of a float64 that no number of 32 bits sets."""
_TAG = (1 << _TAG_BITS) - 1
_STRIP = 8 * 1024
"""Items sorted at a time, so that they stay in a core's cache."""


class CoordMedian(OnePass):
    """Weighted coordinate-wise median; keeps its working memory from block to block."""

    def __init__(self) -> None:
        self._memory = np.empty((0, 0), np.uint8)

    def __call__(self, piece: Piece, out: Array) -> None:
        """Write the median of the rows into ``out``; see ``method.MergeMethod``."""
        rows, weights = piece.rows, piece.weights
        if len(rows) == 1:
            truth = piece.dtype == "BOOL"  # of which the file may hold any byte
            np.copyto(out, _key("BOOL", rows[0]).view(np.bool_) if truth else rows[0])
            return
        keys = [_key(piece.dtype, row) for row in rows]
        low, high = self._middle(keys, weights)
        if piece.dtype in _HALVES:
            _merge_halves(piece.dtype, low, high, out)
        elif piece.dtype == "BOOL":
            np.not_equal(_integer_mean(low, high), 0, out=out)
        elif out.dtype.kind == "f":
            _float_mean(low, high, out)
        else:
            out[:] = _integer_mean(low, high)

    def _middle(self, keys: Sequence[Array], weights: Sequence[int]) -> tuple[Array, Array]:
        """Lower and upper median of each coordinate; valid until the next call."""
        if max(weights) == min(weights):
            return self._by_network(keys)
        if keys[0].itemsize <= 4 and sum(weights) < 1 << _TAG_BITS:
            return self._by_tags(keys, weights)
        return self._by_rank(keys, weights)

    def _by_network(self, keys: Sequence[Array]) -> tuple[Array, Array]:
        lines = list(keys)
        free = self._lines(len(keys) + 1, keys[0])
        _exchange(network(len(keys)), lines, [None] * len(keys), free)
        return lines[(len(keys) - 1) // 2], lines[len(keys) // 2]

    def _by_tags(self, keys: Sequence[Array], weights: Sequence[int]) -> tuple[Array, Array]:
        """Sort float64 numbers that carry their weights in bits that the values do not need."""
        total, first = sum(weights), keys[0]
        low, high = np.empty_like(first), np.empty_like(first)
        for start in range(0, len(first), _STRIP):
            strip = slice(start, start + _STRIP)
            spare, *lines = self._lines(len(keys) + 1, np.empty(len(first[strip])))
            for key, weight, line in zip(keys, weights, lines, strict=True):
                np.copyto(line, key[strip])
                bits = line.view(np.int64)
                np.bitwise_or(bits, weight, out=bits)
            _exchange(network(len(keys), whole=True), lines, list(lines), [spare])
            low[strip] = _reach(lines, (total + 1) // 2)
            if total % 2 == 0:
                high[strip] = _reach(lines, total // 2 + 1)
        return low, low if total % 2 else high

    def _by_rank(self, keys: Sequence[Array], weights: Sequence[int]) -> tuple[Array, Array]:
        """Per input, the weights up to and including it, in the order of (value, position)."""
        total = sum(weights)
        kind = np.min_scalar_type(2 * total)
        items, pulls = np.stack(keys), np.array(weights, kind)[:, None]
        ranks = np.empty(items.shape, kind)
        ranks[:] = np.cumsum(pulls, axis=0, dtype=kind)
        for i in range(len(keys) - 1):
            before = np.less(items[i + 1 :], items[i]).astype(kind)  # whose place is before i's
            ranks[i] += np.add.reduce(before * pulls[i + 1 :], axis=0, dtype=kind)
            before *= pulls[i]
            ranks[i + 1 :] -= before
        low, high, *_ = self._lines(2, keys[0])
        _pick(items, pulls, ranks, (total + 1) // 2, low)
        if total % 2:
            return low, low
        _pick(items, pulls, ranks, total // 2 + 1, high)
        return low, high

    def _lines(self, count: int, like: Array) -> list[Array]:
        """Working memory for ``count`` arrays like ``like``."""
        if self._memory.shape[0] < count or self._memory.shape[1] < like.nbytes:
            self._memory = np.empty((count, like.nbytes), np.uint8)
        return [line[: like.nbytes].view(like.dtype) for line in self._memory]


Plan = tuple[tuple[int, int, bool, bool], ...]
"""Comparators: (i, j, whether line i = the smaller is needed, whether line j = the larger is)."""


@lru_cache(maxsize=64)
def network(count: int, *, whole: bool = False) -> Plan:
    """Comparators that sort ``count`` lines, or bring the middle ones to their places.

    Batcher's odd-even merge sort (Knuth, TAOCP 3, 5.2.2M), without what is not needed.
    """
    pairs, size = [], 1
    while size < count:
        step = size
        while step:
            for start in range(step % size, count - step, 2 * step):
                for i in range(start, min(start + step, count - step)):
                    if i // (2 * size) == (i + step) // (2 * size):
                        pairs.append((i, i + step))
            step //= 2
        size *= 2
    wanted = set(range(count)) if whole else {(count - 1) // 2, count // 2}
    kept = []
    for i, j in reversed(pairs):
        if i in wanted or j in wanted:
            kept.append((i, j, i in wanted, j in wanted))
            wanted |= {i, j}
    return tuple(reversed(kept))


def _exchange(plan: Plan, lines: list[Array], own: list[Array | None], free: list[Array]) -> None:
    """Run a network.

    Args:
        plan: the network.
        lines: what to sort; replaced by what comes out.
        own: those of the lines that may be written to.
        free: memory for results.
    """
    for i, j, keep_i, keep_j in plan:
        one, other = lines[i], lines[j]
        if keep_i:
            lines[i] = free.pop()
            np.minimum(one, other, out=lines[i])
        if keep_j:
            mine = own[j]
            lines[j] = free.pop() if mine is None else mine
            np.maximum(one, other, out=lines[j])
            own[j] = lines[j]
        spent = own[i]
        if spent is not None:
            free.append(spent)
        own[i] = lines[i] if keep_i else None


def _reach(lines: Sequence[Array], target: int) -> Array:
    """Of sorted and tagged lines, the value at which the weights reach the target."""
    bits = [line.view(np.int64) for line in lines]
    missing = (bits[0] & _TAG) - target
    found = bits[0].copy()
    for line in bits[1:]:
        go_on = missing >> 63  # all bits set where the weights do not suffice yet
        go_on &= found ^ line
        found ^= go_on
        missing += line & _TAG
    found &= ~_TAG
    return found.view(np.float64)


def _pick(items: Array, pulls: Array, ranks: Array, target: int, out: Array) -> None:
    """Where the ``target``-th unit of weight falls: the one i with rank - weight < target <= rank.

    In unsigned arithmetic, rank - target < weight says both.
    """
    hits = ranks - ranks.dtype.type(target) < pulls
    for row, hit in zip(items, hits, strict=True):
        np.copyto(out, row, where=hit)


def _key(dtype: str, row: Array) -> Array:
    """Items that ``minimum`` orders by value and quickly.

    Half precision as integers: bit patterns, of which the negative ones are turned round.
    """
    if dtype == "BOOL":
        truth: Array = row.view(np.uint8) != 0
        return truth.view(np.uint8)
    return _turned(row.view("<i2")) if dtype in _HALVES else row


def _turned(bits: Array) -> Array:
    """Bit patterns of half precision as integers of the same order, and back."""
    turned: Array = bits ^ ((bits >> 15) & 0x7FFF)
    return turned


def _merge_halves(dtype: str, low: Array, high: Array, out: Array) -> None:
    if low is high:
        bits = _turned(low)
        bits[bits == -0x8000] = 0
        out[:] = bits.view(out.dtype)
        return
    one, other = (_half_values(dtype, keys) for keys in (low, high))
    round_into(out, dtype, (one + other) * 0.5 + 0.0)


def _half_values(dtype: str, keys: Array) -> Array:
    values: Array = widened(dtype, _turned(keys).view(DTYPES[dtype])).astype(np.float64)
    return values


def _float_mean(low: Array, high: Array, out: Array) -> None:
    """(low + high) / 2: halving is exact, or else the sum was, so this rounds once."""
    if low is high:
        np.add(low, 0, out=out)
        return
    with np.errstate(over="ignore"):
        np.add(low, high, out=out)
    np.multiply(out, out.dtype.type(0.5), out=out)
    large = ~np.isfinite(out)
    if large.any():  # only those: half of a tiny number is not exact
        out[large] = low[large] * out.dtype.type(0.5) + high[large] * out.dtype.type(0.5)
    np.add(out, 0, out=out)


def _integer_mean(low: Array, high: Array) -> Array:
    """(low + high) / 2 without overflow, a half to even."""
    if low is high:
        return low
    floor: Array = (low & high) + ((low ^ high) >> 1)
    floor += (low ^ high) & floor & 1
    return floor
