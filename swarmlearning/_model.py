"""What a session needs from a machine learning framework."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from swarmlearning.errors import SwarmError
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


def check_same(layout: Layout, source: Arrays) -> None:
    """Compare a merged model with this program's, before anything of it is loaded.

    Args:
        layout: of this program's model.
        source: the merged model.

    Raises:
        SwarmError: names, shapes or dtypes differ.
    """
    ours = {tensor.name: tensor for tensor in layout.tensors}
    missing, unexpected = ours.keys() - source.keys(), source.keys() - ours.keys()
    if missing or unexpected:
        raise SwarmError(
            "the merged model is not this program's model: "
            f"missing {sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}; "
            "all peers must train the same model"
        )
    for name, tensor in ours.items():
        array = source[name]
        if array.shape != tensor.shape or array.dtype != tensor.numpy:
            raise SwarmError(
                f"the merged model is not this program's model: {name!r} is "
                f"{array.dtype}{list(array.shape)}, not {tensor.numpy}{list(tensor.shape)}; "
                "all peers must train the same model"
            )
