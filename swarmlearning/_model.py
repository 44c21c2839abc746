"""What a session needs from a machine learning framework."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from swarmlearning.wire.tensors import Layout

Arrays = Mapping[str, NDArray[Any]]
"""Parameter name -> array. bfloat16 is held as ``uint16`` bit patterns."""


class ModelAdapter(Protocol):
    """A user's model, seen as named arrays."""

    def layout(self) -> Layout:
        """Names, dtypes and shapes of everything that is exchanged, buffers included.

        Raises:
            SwarmError: a parameter cannot be exchanged; names it.
        """

    def save(self, target: Arrays) -> None:
        """Copy the model into ``target``: arrays of :meth:`layout`, in shared memory."""

    def load(self, source: Arrays) -> None:
        """Copy ``source`` into the model, in place and without changing dtypes.

        Raises:
            SwarmError: names, shapes or dtypes are not the model's.
        """

    def evaluate(self) -> tuple[float, float]:
        """Loss and metric of the model on the validation data; 0 for what is not measured."""
