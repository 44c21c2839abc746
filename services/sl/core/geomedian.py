"""The weighted geometric median of whole models, by Weiszfeld's algorithm on their Gram matrix.

The first pass measures the models (``spread``), the iteration happens in as many dimensions as
there are inputs (``weiszfeld``), the second pass is one weighted sum in float64. Distances are over
all floating point tensors as one vector; integers and booleans take the coordinate-wise median.
"""

from services.sl.core.items import FLOATS, Array, round_into
from services.sl.core.mean import Sums
from services.sl.core.median import CoordMedian
from services.sl.core.method import Piece
from services.sl.core.spread import Spread
from services.sl.core.weiszfeld import geometric_median


class GeoMedian:
    """Weighted geometric median."""

    uses_base = True
    two_pass = True
    finds_not_finite = True

    def __init__(self) -> None:
        self._spread = Spread(pairs=True)
        self._median = CoordMedian()
        self._sum = Sums()
        self._coefficients: list[float] = []

    def survey(self, piece: Piece) -> None:
        """Take the inner products of the inputs' updates."""
        self._spread.add(piece)

    def update_norms(self) -> list[float]:
        """Length of each input's update; empty if there are no parameters."""
        return self._spread.norms()

    def __call__(self, piece: Piece, out: Array) -> None:
        """Write the median's items into ``out``; see ``method.MergeMethod``."""
        if piece.dtype not in FLOATS:
            self._median(piece, out)
            return
        if not self._coefficients:
            assert self._spread.products is not None
            self._coefficients = geometric_median(self._spread.products, piece.weights)
        used = [(row, a) for row, a in zip(piece.rows, self._coefficients, strict=True) if a]
        if len(used) == 1:
            out[:] = used[0][0]
            return
        rows, coefficients = zip(*used, strict=True)
        round_into(out, piece.dtype, self._sum(piece.dtype, rows, coefficients))
