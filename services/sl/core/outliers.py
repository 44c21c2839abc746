"""How large each input's update is, compared with the others: for logs and the ledger.

A method that measures the whole models says it itself. For the others a few blocks are looked at,
spread evenly over the model, which costs about a millisecond per input whatever its size. That
shows a model that is broken or scaled; it is a report, not a defence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.sl.core.method import InputError, Piece
from services.sl.core.spread import Spread, median_norm

SAMPLES = 16
"""Most blocks that are looked at."""
CONSPICUOUS = 3.0
"""An update is an outlier from so many times the median norm on."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one input changed since the merged model of the round before.

    In the first round: how it differs from the coordinate-wise median of the inputs.
    """

    norm: float
    """Length of the change over all floating point items looked at."""
    ratio: float
    """Of the norm to the median norm of the inputs that changed anything; 0 if none did."""

    @property
    def is_outlier(self) -> bool:
        """Whether it is conspicuously large."""
        return self.ratio >= CONSPICUOUS


def updates(norms: Sequence[float], weights: Sequence[int]) -> list[Update]:
    """Compare norms, one per input; none where they are not known."""
    middle = median_norm(norms, weights) if norms else 0.0
    return [Update(norm, norm / middle if middle else 0.0) for norm in norms]


def sampled_norms(pieces: Iterable[Piece]) -> list[float]:
    """Norms over some blocks; empty where they cannot be told (no floats, or not finite)."""
    spread = Spread(pairs=False)
    try:
        for piece in pieces:
            spread.add(piece)
    except (FloatingPointError, InputError):
        return []
    return spread.norms()
