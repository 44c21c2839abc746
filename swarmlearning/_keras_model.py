"""A Keras model as a :class:`swarmlearning._model.ModelAdapter`."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger
from typing import Any, Final

import keras  # type: ignore[import-untyped]
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from swarmlearning._model import Arrays, check_same
from swarmlearning._options import Options
from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import Layout, arrange

_WIRE: Final = {
    "bool": "BOOL",
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bfloat16": "BF16",
}
"""Keras' dtype -> dtype in the model file."""

_COUNTER: Final = re.compile(r"_\d+$")


class KerasModel:
    """A ``keras.Model``, and the data it is evaluated on.

    Args:
        model: gives the model; asked again for each exchange.
        options: with ``val_data`` and ``val_batch_size``.
        logger: for what the user should know.

    Raises:
        SwarmError: the validation data cannot be used.
    """

    def __init__(self, model: Callable[[], Any], options: Options, logger: Logger) -> None:
        self._model, self._trainable = model, options.trainable
        self._data = _evaluation(options.val_data, options.val_batch_size, logger)

    def layout(self) -> Layout:
        """See :class:`ModelAdapter`."""
        return arrange(
            (name, _dtype(variable), tuple(variable.shape))
            for name, variable in self._weights().items()
        )

    def save(self, target: Arrays) -> None:
        """See :class:`ModelAdapter`."""
        for name, variable in self._weights().items():
            np.copyto(target[name], _bits(_array(variable)))

    def load(self, source: Arrays) -> None:
        """See :class:`ModelAdapter`."""
        check_same(self.layout(), source)
        with _adapted_layers(self._model()):
            for name, variable in self._weights().items():
                array = source[name]
                if _dtype(variable) == "BF16":
                    array = array.view(ml_dtypes.bfloat16)
                variable.assign(array)

    def evaluate(self) -> tuple[float, float]:
        """See :class:`ModelAdapter`."""
        if self._data is None:
            return 0.0, 0.0
        model = self._model()
        if not model.compiled:
            raise SwarmError(
                "adsValData is given, but the model is not compiled: call "
                "model.compile(loss=..., metrics=[...]) before training, or leave adsValData out"
            )
        with _metrics_kept(model):
            scores = np.ravel(model.evaluate(**self._data, verbose=0))
        return float(scores[0]), float(scores[1]) if len(scores) > 1 else 0.0

    def _weights(self) -> dict[str, Any]:
        """Every weight by its place in the model, and its name there: ``0.kernel``, ``1.bias``.

        Keras numbers the layers of a process through, and names without a number are not unique.
        So the same model may have other paths in another program, but its places are the same.
        """
        model = self._model()
        if not model.weights:
            raise SwarmError(
                "the model has no weights yet: start it with a keras.Input, or call it on a batch, "
                "before training"
            )
        frozen = _frozen(model) if self._trainable else frozenset[int]()
        found = {
            f"{place}.{_COUNTER.sub('', variable.name)}": variable
            for place, variable in enumerate(model.weights)
            if id(variable) not in frozen
        }
        if not found:
            raise SwarmError(
                "exchange='trainable', but no layer of the model is trainable: there is nothing to "
                "merge"
            )
        return found


def _evaluation(data: Any, batch_size: Any, logger: Logger) -> dict[str, Any] | None:  # noqa: ANN401
    """The arguments of ``model.evaluate``; None without data.

    Raises:
        SwarmError: the data can be read only once, or never ends, or the batch size is no size.
    """
    if data is None:
        return None
    _check_repeats(data)
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        found = dict(zip(("x", "y", "sample_weight"), data, strict=False))
    else:
        found = {"x": data}
    if batch_size is None:
        return found
    if isinstance(data, tuple | list | dict) or hasattr(data, "__array__"):
        return {**found, "batch_size": _size(batch_size)}
    logger.info("adsValBatchSize is ignored: adsValData gives batches itself")
    return found


def _check_repeats(data: Any) -> None:  # noqa: ANN401 - whatever the user gave
    if hasattr(data, "__next__") and not hasattr(data, "__len__"):
        raise SwarmError(
            f"adsValData is a {type(data).__name__}, which can be read only once, but each merged "
            "model is evaluated on it: give arrays, a tf.data.Dataset or a keras.utils.PyDataset"
        )
    if callable(getattr(data, "cardinality", None)) and int(data.cardinality()) == -1:
        raise SwarmError(
            "adsValData never ends: leave out repeat(), or limit it with take(batches)"
        )


def _size(batch_size: Any) -> int:  # noqa: ANN401 - whatever the user gave
    try:
        size = int(batch_size)
    except (TypeError, ValueError):
        size = 0
    if size < 1:
        raise SwarmError(f"adsValBatchSize has to be a positive integer, not {batch_size!r}")
    return size


def _frozen(model: Any) -> frozenset[int]:  # noqa: ANN401 - a keras.Model
    """Identities of parameters that do not train, and of the statistics that go with them.

    Statistics go with the parameters of their layer; where it has none, with the layer itself.
    """
    found: list[Any] = []
    for layer in model._flatten_layers():
        parameters, statistics = layer._trainable_variables, layer._non_trainable_variables
        trained = [variable for variable in parameters if variable.trainable]
        found += [variable for variable in parameters if not variable.trainable]
        if not layer.trainable or (parameters and not trained):
            found += [*parameters, *statistics]
    return frozenset(map(id, found))


def _array(variable: Any) -> NDArray[Any]:  # noqa: ANN401 - a keras.Variable
    """What the variable holds; without a copy where it lies in this computer's memory."""
    value = variable.value
    if not hasattr(value, "read_value"):
        return np.asarray(keras.ops.convert_to_numpy(value))
    tensor = value.read_value()  # of a tf.Variable
    try:
        return np.asarray(memoryview(tensor))
    except (BufferError, TypeError, ValueError):  # another device; bfloat16 has no buffers
        return np.asarray(tensor.numpy())


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """bfloat16 as the bit patterns that are exchanged; all else as it is."""
    return array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array


def _dtype(variable: Any) -> str:  # noqa: ANN401 - a keras.Variable
    wire = _WIRE.get(variable.dtype)
    if wire is None:
        raise SwarmError(f"{variable.path!r} has dtype {variable.dtype}, which cannot be merged")
    return wire


@contextmanager
def _adapted_layers(model: Any) -> Iterator[None]:  # noqa: ANN401 - a keras.Model
    """Have ``Normalization`` layers use the statistics that are assigned meanwhile.

    They compute with constants, made of their weights when the layer was adapted. Compiled
    functions hold these constants, too, and are made anew if any changed.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Normalization) and layer.weights
    ]
    before = [[np.array(_array(weight)) for weight in layer.weights] for layer in layers]
    yield
    changed = False
    for layer, old in zip(layers, before, strict=True):
        if any(
            not np.array_equal(_array(weight), array)
            for weight, array in zip(layer.weights, old, strict=True)
        ):
            layer.finalize_state()
            changed = True
    for what in ("train", "test", "predict") if changed else ():
        if getattr(model, f"{what}_function", None) is not None:
            getattr(model, f"make_{what}_function")(force=True)


@contextmanager
def _metrics_kept(model: Any) -> Iterator[None]:  # noqa: ANN401 - a keras.Model
    """Keep what the metrics of the running epoch have counted; evaluation starts them anew."""
    before = [(v, np.array(_array(v))) for v in model.metrics_variables]
    try:
        yield
    finally:
        model.reset_metrics()
        for variable, value in before:
            variable.assign(value)
