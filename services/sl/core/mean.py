"""The weighted mean of one block of parameters: FedAvg's arithmetic, the same on any machine.

Float64 sums in the order given, one division, one rounding to the tensor's dtype (bfloat16: by way
of float32), to nearest even throughout; integers and booleans exactly, rounded half to even.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from services.sl.core.items import FLOATS, Array, round_into, widened
from services.sl.core.method import OnePass, Piece

_SCALE = 2.0**-32
"""Exact; keeps a weighted float64 sum from overflowing for weightages up to 2**32 in all."""


class Sums:
    """Weighted sums in float64, in the order given; keeps its working memory."""

    def __init__(self) -> None:
        self._sums = np.empty(0)
        self._term = np.empty(0)

    def __call__(self, dtype: str, rows: Iterable[Array], weights: Sequence[float]) -> Array:
        """sum(weight * row), valid until the next call. Rows as in ``method.Piece``, floats."""
        sums = term = self._sums
        for index, (row, weight) in enumerate(zip(rows, weights, strict=True)):
            values = widened(dtype, row)
            if index == 0:
                sums, term = self._room(len(values))
                np.copyto(sums, values)
                np.multiply(sums, weight, out=sums)
            elif weight == 1:
                np.copyto(term, values)  # quicker than adding a narrower dtype
                np.add(sums, term, out=sums)
            else:
                np.copyto(term, values)
                np.multiply(term, weight, out=term)
                np.add(sums, term, out=sums)
        return sums

    def _room(self, count: int) -> tuple[Array, Array]:
        if len(self._sums) < count:
            self._sums, self._term = np.empty(count), np.empty(count)
        return self._sums[:count], self._term[:count]


class Mean(OnePass):
    """Weighted mean, a block at a time."""

    finds_not_finite = True

    def __init__(self) -> None:
        self._sum = Sums()

    def __call__(self, piece: Piece, out: Array) -> None:
        """Write the mean of the rows into ``out``; see ``method.MergeMethod``."""
        if piece.dtype in FLOATS:
            round_into(out, piece.dtype, self._float_mean(piece))
        else:
            out[:] = _integer_mean(piece.rows, piece.weights, len(out), out.dtype)

    def _float_mean(self, piece: Piece) -> Array:
        """Float64 means.

        Finite inputs narrower than float64 cannot overflow the sum, so a sum that is not finite
        means an input that is not, or float64 inputs near their limit: those are summed again,
        scaled. Only those, because scaling costs tiny numbers their last digits: an item's mean
        must not depend on what else is in its block.
        """
        dtype, rows, weights = piece.dtype, piece.rows, piece.weights
        total = sum(weights)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self._sum(dtype, rows, weights)
            good = np.isfinite(sums)
            if good.all():
                return np.divide(sums, total, out=sums)
            means: Array = sums / total
            large = [row[~good] for row in rows]
            scaled = self._sum(dtype, large, [weight * _SCALE for weight in weights])
        if not np.isfinite(scaled).all():
            raise FloatingPointError("an input is not finite")
        limit = np.finfo(np.float64).max * _SCALE
        means[~good] = np.clip(scaled / total, -limit, limit) / _SCALE
        return means


def _integer_mean(
    rows: Iterable[Array], weights: Sequence[int], count: int, dtype: np.dtype[Any]
) -> Array:
    """Exact means, rounded half to even.

    With x = q * total + r, the mean of x is sum(w * q) + sum(w * r) / total: nothing in it is
    larger than the inputs (sums that wrap around on the way wrap back).
    """
    wide = np.dtype(np.int64 if dtype.kind == "i" else np.uint64)
    total, one = wide.type(sum(weights)), wide.type(1)
    whole, rest = np.zeros(count, wide), np.zeros(count, wide)
    for row, weight in zip(rows, weights, strict=True):
        items = (row != 0 if dtype.kind == "b" else row).astype(wide)
        quotient, remainder = np.divmod(items, total)
        whole += quotient * wide.type(weight)
        rest += remainder * wide.type(weight)
    carried, remainder = np.divmod(rest, total)
    whole += carried
    twice = remainder + remainder
    whole += (twice > total) | ((twice == total) & (whole & one == one))
    return whole.astype(dtype)
