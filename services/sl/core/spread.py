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
from typing import Any

import numpy as np

from services.sl.core.items import FLOATS, Array, widened
from services.sl.core.median import CoordMedian
from services.sl.core.method import InputError, Piece

PANEL = 8192
"""Items that are rounded alike."""
BITS = 20
"""Of a panel's largest difference."""
_LOWEST = {np.dtype(np.float32): -126, np.dtype(np.float64): -400}
"""Exponents of the smallest bit that is kept: products must not underflow."""
_HIGHEST = {np.dtype(np.float32): 2.0**124, np.dtype(np.float64): 2.0**500}
"""Differences that are too large to be rounded in their own dtype."""
LIMIT = 2.0**480
"""Largest float64 value that distances are taken of (3e144): squares must not overflow."""


class _TooLargeError(Exception):
    """Differences that float32 cannot hold."""


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
        try:
            self._add(rows, reference)
        except _TooLargeError:
            self._add_singly(rows, reference)

    def norms(self) -> list[float]:
        """Length of each input's difference from the reference."""
        if self.products is None:
            return []
        squares = self.products.diagonal() if self._pairs else self.products
        return [float(norm) for norm in np.sqrt(squares)]

    def _add(self, rows: Sequence[Array], reference: Array) -> None:
        assert self.products is not None
        for products in self._products(self._rounded(rows, reference)):
            self.products += products

    def _add_singly(self, rows: Sequence[Array], reference: Array) -> None:
        """Panel by panel: those with huge differences in float64, and no others for their sake.

        What a panel adds must not depend on what else is in its block.
        """
        for start in range(0, len(reference), PANEL):
            panel = slice(start, start + PANEL)
            parts, beneath = [row[panel] for row in rows], reference[panel]
            try:
                self._add(parts, beneath)
            except _TooLargeError:
                self._add([part.astype("<f8") for part in parts], beneath.astype("<f8"))

    def _products(self, exact: Array) -> Array:
        """Per panel; of the inputs, panels and items of :meth:`_rounded`."""
        inputs = exact[:-1]
        if not self._pairs:
            squares: Array = np.einsum("ipk,ipk->pi", inputs, inputs)
            return squares
        few = len(inputs) <= 8
        # numpy multiplies a matrix by itself with syrk, which is three times slower for few rows
        others = exact[1:] if few else inputs
        products: Array = np.matmul(inputs.transpose(1, 0, 2), others.transpose(1, 2, 0))
        return np.roll(products, 1, axis=2) if few else products

    def _rounded(self, rows: Sequence[Array], reference: Array) -> Array:
        """Rounded differences, float64, by input and panel, the first input once more at the end.

        Valid until the next call.

        Raises:
            _TooLargeError: float32 differences are too large for it, or not finite.
            FloatingPointError: the same of float64.
        """
        kind, digits = reference.dtype, np.finfo(reference.dtype).nmant
        count, panels = len(reference), -(-len(reference) // PANEL)
        differences = self._room(f"differences {kind}", (len(rows), panels, PANEL), kind)
        flat = differences.reshape(len(rows), -1)
        flat[:, count:] = 0
        with np.errstate(over="ignore", invalid="ignore"):
            for row, line in zip(rows, flat, strict=True):
                np.subtract(row, reference, out=line[:count])
            peaks = np.maximum(differences.max(axis=2), -differences.min(axis=2))
        if not (peaks < _HIGHEST[kind]).all():
            if kind == np.float64:
                raise FloatingPointError("an input is not finite")
            raise _TooLargeError
        exponents = np.maximum(np.frexp(peaks)[1] - BITS, _LOWEST[kind])
        # x + c - c rounds x to the last bit of c, 1.5 * 2**n
        shift = np.ldexp(kind.type(1.5), exponents + digits)[:, :, None]
        differences += shift
        differences -= shift
        exact = self._room("exact", (len(rows) + 1, panels, PANEL), np.dtype(np.float64))
        exact[:-1] = differences
        exact[-1] = exact[0]
        return exact

    def _room(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
        """Memory that is used again."""
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(size, kind)
        return self._memory[name][:size].reshape(shape)


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
