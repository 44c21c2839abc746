"""The mean of updates that are clipped to the median norm.

An update is what an input changed: X_i - B, where B is the merged model of the round before, or in
the first round the coordinate-wise median of the inputs. With n_i the length of update i over all
floating point tensors and c the (lower) weighted median of the lengths above 0, the result is

    B + sum(W_i * min(1, c / n_i) * (X_i - B)) / sum(W_i).

Inputs that did not move (a peer whose training is over contributes the merged model itself) do not
count for c: a majority of them would otherwise freeze the model. Nobody is clipped means the bytes
of ``mean``. Integers and booleans take the coordinate-wise median.
"""

from collections.abc import Sequence

from services.sl.core.items import FLOATS, Array, round_into
from services.sl.core.mean import Sums
from services.sl.core.median import CoordMedian
from services.sl.core.method import Piece
from services.sl.core.spread import Reference, Spread, median_norm


class NormClip:
    """Mean of updates clipped to their weighted median norm."""

    uses_base = True
    two_pass = True
    finds_not_finite = True

    def __init__(self) -> None:
        self._spread = Spread(pairs=False)
        self._reference = Reference()
        self._median = CoordMedian()
        self._sum = Sums()
        self._shares: list[float] = []

    def survey(self, piece: Piece) -> None:
        """Measure the updates."""
        self._spread.add(piece)

    def update_norms(self) -> list[float]:
        """Length of each input's update; empty if there are no parameters."""
        return self._spread.norms()

    def __call__(self, piece: Piece, out: Array) -> None:
        """Write the clipped mean into ``out``; see ``method.MergeMethod``."""
        if piece.dtype not in FLOATS:
            self._median(piece, out)
            return
        if not self._shares:
            self._shares = clipped_weights(self._spread.norms(), piece.weights)
        rows, shares = piece.rows, self._shares
        if len(shares) > len(rows):
            rows = [*rows, self._reference(piece)]
        sums = self._sum(piece.dtype, rows, shares)
        sums /= sum(piece.weights)
        round_into(out, piece.dtype, sums)


def clipped_weights(norms: Sequence[float], weights: Sequence[int]) -> list[float]:
    """What each input counts after clipping, and, if any was clipped, last what B counts.

    Returns:
        Numbers that sum to the sum of ``weights``; as many as there are, or one more.
    """
    bound = median_norm(norms, weights)
    shares = [
        weight * (bound / norm) if norm > bound else float(weight)
        for norm, weight in zip(norms, weights, strict=True)
    ]
    left = sum(w - share for w, share in zip(weights, shares, strict=True))
    return [*shares, left] if left > 0 else shares
