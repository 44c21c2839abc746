"""How far models are from a reference, and from each other: the geometry behind robust merges.

All floating point tensors of a model are one long vector; integers and booleans have no part. The
reference is the merged model of the round before, or, in the first round, the coordinate-wise
median of the inputs: in either case a point near the honest models that no single one can move.

**The same on any machine.** In each panel of 8192 items, an input's differences are rounded to
multiples of a power of two, so that the largest has 20 bits. Products of such numbers sum *exactly*
in float64 (2 * 20 + 13 = 53 bits), so the order of summation, which BLAS chooses by processor and
number of threads, does not matter. The sums of the panels are added in their order. A norm is off
by 4e-5 of its size at worst (where one difference in a panel dwarfs all others), typically by 1e-9.
"""

import math
from collections.abc import Sequence

import numpy as np

from services.sl.core.items import FLOATS, Array, widened
from services.sl.core.median import CoordMedian
from services.sl.core.method import InputError, Piece

PANEL = 8192
"""Items that are rounded alike."""
BITS = 20
"""Of a panel's largest difference."""
_LOWEST = {np.float32: -126, np.float64: -400}
"""Exponents of the smallest bit that is kept: products must not underflow."""
_HIGHEST = {np.float32: 2.0**124, np.float64: 2.0**500}
"""Differences that are too large to be rounded in their own dtype."""
LIMIT = 2.0**480
"""Largest float64 value that distances are taken of (3e144): squares must not overflow."""


class Reference:
    """What updates are measured from."""

    def __init__(self) -> None:
        self._median = CoordMedian()
        self._room = np.empty(0, np.uint8)

    def __call__(self, piece: Piece) -> Array:
        """The reference's items for a piece; valid until the next call."""
        if piece.base is not None:
            return piece.base
        if not all(np.isfinite(widened(piece.dtype, row)).all() for row in piece.rows):
            raise FloatingPointError("an input is not finite")
        like = piece.rows[0]
        if len(self._room) < like.nbytes:
            self._room = np.empty(like.nbytes, np.uint8)
        out = self._room[: like.nbytes].view(like.dtype)
        self._median(Piece(piece.dtype, piece.rows, piece.weights), out)
        return out


class Spread:
    """Sums up products of the inputs' differences from the reference, block by block.

    Args:
        pairs: of all pairs of inputs; otherwise only the squares.
    """

    def __init__(self, *, pairs: bool) -> None:
        self.products: Array | None = None
        """Gram matrix of the differences (float64, inputs x inputs); without pairs its diagonal.
        None until the first block of floats."""
        self._pairs = pairs
        self._reference = Reference()
        self._memory: dict[str, Array] = {}

    def add(self, piece: Piece) -> None:
        """See a block.

        Raises:
            FloatingPointError: an item is not finite.
            InputError: a float64 item is larger than :data:`LIMIT`.
        """
        if piece.dtype not in FLOATS:
            return
        if piece.dtype == "F64":
            _check_limit(piece.rows)
        count = len(piece.rows)
        if self.products is None:
            self.products = np.zeros((count, count) if self._pairs else count)
        reference = widened(piece.dtype, self._reference(piece))
        rows = [widened(piece.dtype, row) for row in piece.rows]
        for start in range(0, len(reference), PANEL):
            panel = slice(start, start + PANEL)
            self.products += self._products([row[panel] for row in rows], reference[panel])

    def norms(self) -> list[float]:
        """Length of each input's difference from the reference."""
        if self.products is None:
            return []
        squares = self.products.diagonal() if self._pairs else self.products
        return [float(norm) for norm in np.sqrt(squares)]

    def _products(self, rows: Sequence[Array], reference: Array) -> Array:
        exact = self._rounded(rows, reference)
        if not self._pairs:
            squares: Array = np.einsum("ik,ik->i", exact, exact)
            return squares
        if len(rows) > 8:
            return exact @ exact.T
        # numpy multiplies a matrix by itself with syrk, which is three times slower for few rows
        wheel = self._room("wheel", len(rows) + 1, len(reference), np.float64)
        wheel[:-1], wheel[-1] = exact, exact[0]
        return np.roll(wheel[:-1] @ wheel[1:].T, 1, axis=1)

    def _rounded(self, rows: Sequence[Array], reference: Array) -> Array:
        """Rounded differences, float64; valid until the next call."""
        kind, digits = reference.dtype.type, np.finfo(reference.dtype).nmant
        differences = self._room("differences", len(rows), len(reference), kind)
        with np.errstate(over="ignore", invalid="ignore"):
            for row, line in zip(rows, differences, strict=True):
                np.subtract(row, reference, out=line)
            highest, lowest = differences.max(axis=1).tolist(), differences.min(axis=1).tolist()
        peaks = [max(high, -low) for high, low in zip(highest, lowest, strict=True)]
        if not all(map(math.isfinite, peaks)) or max(peaks) >= _HIGHEST[kind]:
            if kind is np.float64:
                raise FloatingPointError("an input is not finite")
            return self._rounded(
                [row.astype(np.float64) for row in rows], reference.astype(np.float64)
            )
        # x + c - c rounds x to the last bit of c, 1.5 * 2**n
        magic = [
            math.ldexp(1.5, max(math.frexp(p)[1] - BITS, _LOWEST[kind]) + digits) for p in peaks
        ]
        shift = np.array(magic, kind)[:, None]
        differences += shift
        differences -= shift
        exact = self._room("exact", len(rows), len(reference), np.float64)
        exact[:] = differences
        return exact

    def _room(self, name: str, rows: int, count: int, kind: type) -> Array:
        """Memory that is used again, for ``count`` (at most a panel) items of each row."""
        key = f"{name} {np.dtype(kind)}"
        if key not in self._memory:
            self._memory[key] = np.empty((rows, PANEL), kind)
        return self._memory[key][:, :count]


def _check_limit(rows: Sequence[Array]) -> None:
    for index, row in enumerate(rows):
        peak = max(float(row.max()), -float(row.min()))
        if not peak < LIMIT:
            if not np.isfinite(peak):
                raise FloatingPointError("an input is not finite")
            raise InputError(index, f"a value of {peak:.3g} is too large to measure distances")


def median_norm(norms: Sequence[float], weights: Sequence[float]) -> float:
    """Lower weighted median of the norms above 0; 0 if there are none."""
    moved = sorted((norm, w) for norm, w in zip(norms, weights, strict=True) if norm > 0)
    half, reached = sum(weight for _, weight in moved) / 2, 0.0
    for norm, weight in moved:
        reached += weight
        if reached >= half:
            return norm
    return 0.0
