"""The weighted mean of one block of parameters: FedAvg's arithmetic, the same on any machine.

Float64 sums in the order given, one division, one rounding to the tensor's dtype (bfloat16: by way
of float32), to nearest even throughout; integers and booleans exactly, rounded half to even.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_SCALE = 2.0**-32
"""Exact; keeps a weighted float64 sum from overflowing for weightages up to 2**32 in all."""


class Mean:
    """Weighted mean, a block at a time; keeps its working memory from block to block."""

    def __init__(self) -> None:
        self._sums = np.empty(0)
        self._term = np.empty(0)

    def __call__(
        self, dtype: str, rows: Iterable[Array], weights: Sequence[int], out: Array
    ) -> None:
        """Write the mean of ``rows`` into ``out``; see ``merge.MergeMethod``."""
        if dtype == "BF16":
            out[:] = _narrow(self._float_mean(_Widened(rows), weights, len(out)))
        elif out.dtype.kind == "f":
            out[:] = self._float_mean(rows, weights, len(out))
        else:
            out[:] = _integer_mean(rows, weights, len(out), out.dtype)

    def _float_mean(self, rows: Iterable[Array], weights: Sequence[int], count: int) -> Array:
        """Float64 means.

        Finite inputs narrower than float64 cannot overflow the sum, so a sum that is not finite
        means an input that is not, or float64 inputs near their limit: those are summed again,
        scaled.
        """
        total = sum(weights)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self._weighted_sum(rows, weights, count)
            if np.isfinite(sums).all():
                return np.divide(sums, total, out=sums)
            scaled = self._weighted_sum(rows, [weight * _SCALE for weight in weights], count)
        if not np.isfinite(scaled).all():
            raise FloatingPointError("an input is not finite")
        scaled /= total
        limit = np.finfo(np.float64).max * _SCALE
        means: Array = np.clip(scaled, -limit, limit) / _SCALE
        return means

    def _weighted_sum(self, rows: Iterable[Array], weights: Sequence[float], count: int) -> Array:
        if len(self._sums) < count:
            self._sums, self._term = np.empty(count), np.empty(count)
        sums, term = self._sums[:count], self._term[:count]
        for index, (row, weight) in enumerate(zip(rows, weights, strict=True)):
            if index == 0:
                np.multiply(row, weight, out=sums, dtype=np.float64)
            elif weight == 1:
                np.add(sums, row, out=sums)
            else:
                np.multiply(row, weight, out=term, dtype=np.float64)
                np.add(sums, term, out=sums)
        return sums


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


@dataclass(frozen=True, slots=True)
class _Widened:
    """Rows of bfloat16 bit patterns, as float32."""

    rows: Iterable[Array]

    def __iter__(self) -> Iterator[Array]:
        for row in self.rows:
            yield (row.astype("<u4") << 16).view("<f4")


def _narrow(values: Array) -> Array:
    """Finite float64 values as bfloat16 bit patterns, by way of float32."""
    bits = values.astype("<f4").view("<u4")
    rounded: Array = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return rounded.astype("<u2")
