"""What a merge method is. ``docs/merging.md`` shows how to write one in 20 lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import LayoutError, SwarmError
from services.sl.core.items import Array


class InputError(LayoutError):
    """One input must not be merged; the others may be all right.

    Args:
        index: its position in the inputs.
        message: what is wrong with it.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class MethodError(SwarmError):
    """A merge method of the user's failed or gave a model that must not be published."""

    code = "merge-method"


@dataclass(frozen=True, slots=True)
class Piece:
    """The same block of items of all inputs."""

    dtype: str
    """Of the items, a key of ``wire.tensors.DTYPES``. BF16 items are bit patterns (``uint16``)."""
    rows: Sequence[Array]
    """The inputs' items, one 1-d array per input, all equally long. Not to be written to."""
    weights: Sequence[int]
    """Positive, without a common divisor; as many as rows."""
    base: Array | None = None
    """The same items of the merged model of the round before, from which the inputs were trained.
    None in the first round, and where the method does not use it."""


class MergeMethod(Protocol):
    """Merges models, a block at a time. One instance per merge, used by one thread.

    It must depend on nothing but what it is given, so that every SL gets the same bytes.
    """

    uses_base: bool
    """It wants :attr:`Piece.base`."""
    two_pass: bool
    """It must see all blocks (:meth:`survey`) before it can merge the first."""
    finds_not_finite: bool
    """Items that are infinite or NaN make it raise ``FloatingPointError``. Other methods are only
    called with finite items: that is checked for them, which costs a pass."""

    def survey(self, piece: Piece) -> None:
        """See a block; called for each one, in order, before the first merge (``two_pass``)."""

    def update_norms(self) -> Sequence[float]:
        """Length of each input's update, where :meth:`survey` measured it; else empty."""

    def __call__(self, piece: Piece, out: Array) -> None:
        """Write the merged block into ``out`` (1-d, of the rows' numpy dtype).

        Raises:
            FloatingPointError: an item of some input is not finite.
            InputError: an input cannot be merged for another reason; ``index`` is the row's.
        """


class OnePass:
    """What a method is like that merges each block by itself."""

    uses_base = False
    two_pass = False
    finds_not_finite = False

    def survey(self, piece: Piece) -> None:
        """Nothing to learn beforehand."""

    def update_norms(self) -> Sequence[float]:
        """Not measured."""
        return ()
