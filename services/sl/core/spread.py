"""How far models are from a reference, and from each other: the geometry behind robust merges.

All floating point tensors of a model are one long vector; integers and booleans have no part. The
reference is the merged model of the round before, or, in the first round, the coordinate-wise
median of the inputs: in either case a point near the honest models that no single one can move.

**The same on any machine.** A panel of 2048 differences is scaled by a power of two and rounded to
integers of 21 bits and a sign. Products of those sum *exactly* in float64 (2 * 21 + 11 = 53 bits),
so the order of summation, which BLAS chooses by processor and number of threads, does not matter.
The sums of the panels are added in their order. Norms are off by 2e-5 of their size at worst (a
panel whose differences are all but one below the last bit) and by 1e-9 typically.
"""

from collections.abc import Sequence

import numpy as np

from services.sl.core.items import FLOATS, Array, widened
from services.sl.core.median import CoordMedian
from services.sl.core.method import InputError, Piece

PANEL = 2048
"""Items that share a scale."""
BITS = 21
"""Of a rounded difference."""
_STRIP = 4 * PANEL
"""Items worked on at a time: small enough for a core's cache."""
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
        self._exact = np.empty(0)

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
        for start in range(0, len(reference), _STRIP):
            strip = slice(start, start + _STRIP)
            self._add_strip([row[strip] for row in rows], reference[strip])

    def norms(self) -> list[float]:
        """Length of each input's difference from the reference."""
        if self.products is None:
            return []
        squares = self.products.diagonal() if self._pairs else self.products
        return [float(norm) for norm in np.sqrt(squares)]

    def _add_strip(self, rows: Sequence[Array], reference: Array) -> None:
        assert self.products is not None
        panels = -(-len(reference) // PANEL)
        shape = len(rows), panels, PANEL
        if self._exact.size < len(rows) * panels * PANEL:
            self._exact = np.empty(len(rows) * panels * PANEL)
        exact = self._exact[: len(rows) * panels * PANEL].reshape(shape)
        kind = reference.dtype
        while True:
            with np.errstate(over="ignore", invalid="ignore"):
                differences = _differences(rows, reference, np.zeros(shape, kind))
                peaks = np.maximum(differences.max(axis=2), -differences.min(axis=2))
            if np.isfinite(peaks).all():
                break
            if kind == np.float64:
                raise FloatingPointError("an input is not finite")
            kind = np.dtype(np.float64)  # large float32 values of opposite signs
        steps = _steps(peaks)
        differences *= (1 / steps)[:, :, None].astype(kind)
        np.rint(differences, out=exact)
        for panel in range(panels):
            step = steps[:, panel]
            items = exact[:, panel]
            if self._pairs:
                self.products += (items @ items.T) * (step[:, None] * step)
            else:
                self.products += np.einsum("ik,ik->i", items, items) * (step * step)


def _check_limit(rows: Sequence[Array]) -> None:
    for index, row in enumerate(rows):
        peak = max(float(row.max()), -float(row.min()))
        if not peak < LIMIT:
            if not np.isfinite(peak):
                raise FloatingPointError("an input is not finite")
            raise InputError(index, f"a value of {peak:.3g} is too large to measure distances")


def _differences(rows: Sequence[Array], reference: Array, room: Array) -> Array:
    """Of the rows from the reference; the last panel is filled up with zeros."""
    flat = room.reshape(len(rows), -1)
    for row, line in zip(rows, flat, strict=True):
        np.subtract(row, reference, out=line[: len(reference)], dtype=room.dtype)
    return room


def _steps(peaks: Array) -> Array:
    """Per row and panel, the power of two that a rounded difference counts for, float64.

    Within float32's range of powers, so that both it and its inverse can be multiplied with.
    """
    _, exponents = np.frexp(peaks)
    steps: Array = np.ldexp(1.0, np.clip(exponents - BITS, -120, None))
    return steps
