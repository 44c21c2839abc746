"""What a pickle of HPE's client may make: numpy arrays of numbers, as inert values.

Nothing here is numpy's or Python's own: where a pickle says "call numpy's ``_reconstruct``", a
:class:`PickledArray` appears, and is filled only with data that was checked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from swarmlearning.wire.tensors import DTYPES, MAX_DIMENSIONS, WireError

_ARRAY: Final = ("numpy", "ndarray")
_DTYPE: Final = ("numpy", "dtype")
_DTYPES: Final = frozenset(dtype.str[1:] for dtype in DTYPES.values())

_NUMPY_MODULES: Final = ("numpy.core", "numpy._core")
"""As numpy 1 and numpy 2 write them."""

ALLOWED: Final = frozenset(
    {_ARRAY, _DTYPE, ("_codecs", "encode"), ("collections", "OrderedDict")}
    | {(f"{m}.multiarray", name) for m in _NUMPY_MODULES for name in ("_reconstruct", "scalar")}
    | {(f"{m}.numeric", "_frombuffer") for m in _NUMPY_MODULES}
)
"""Module and name of all that a pickle may call."""


class PickleError(WireError):
    """Not a pickle of a dict of numeric numpy arrays."""


@dataclass(frozen=True)
class Global:
    """Something that a pickle calls, by name only."""

    module: str
    name: str


@dataclass
class PickledDtype:
    """``numpy.dtype`` of a plain numeric type."""

    kind: str
    """numpy's code without byte order, e.g. ``f4``."""
    order: str = "<"

    def build(self, state: object) -> None:
        """Take the byte order from numpy's state of a dtype.

        Raises:
            PickleError: it is a dtype with fields, subarrays or its own alignment.
        """
        plain = (None, None, None, -1, -1, 0)
        if not isinstance(state, tuple) or state[:1] != (3,) or tuple(state[2:8]) != plain:
            raise PickleError("a dtype is not a plain numeric one")
        if state[1] not in ("<", ">", "|"):
            raise PickleError("a dtype has no known byte order")
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        """The real dtype."""
        return np.dtype(self.order + self.kind)


@dataclass
class PickledArray:
    """``numpy.ndarray``, empty until :meth:`build`."""

    value: NDArray[Any] | None = None
    """A read-only view of the file."""

    def build(self, state: object) -> None:
        """Take shape, dtype and data from numpy's state of an array.

        Raises:
            PickleError: they do not fit each other.
        """
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise PickleError("an array's state is not numpy's")
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran is True else "C")


def short(value: object) -> str:
    """Words for an error; of anything but text only its type, which cannot be endless."""
    return repr(value[:80]) if isinstance(value, str) else type(value).__name__


def at_most(arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """``arguments`` filled up to ``count`` with None.

    Raises:
        PickleError: there are more.
    """
    if len(arguments) > count:
        raise PickleError("it calls a function with too many arguments")
    return (*arguments, *([None] * (count - len(arguments))))


def _make_dtype(kind: object, _align: object, _copy: object, *_: object) -> PickledDtype:
    if not isinstance(kind, str) or kind.lstrip("<>|=") not in _DTYPES:
        raise PickleError(f"items of type {short(kind)} are not numbers")
    order = kind[0] if kind[0] in "<>|" else "<"
    return PickledDtype(kind.lstrip("<>|="), order)


def _make_array(kind: object, *_: object) -> PickledArray:
    if kind != Global(*_ARRAY):
        raise PickleError("it makes an array of a class of its own")
    return PickledArray()


def _make_from_buffer(
    data: object, dtype: object, shape: object, order: object, axes: object
) -> PickledArray:
    if order != "K":
        return PickledArray(_array(data, dtype, shape, order))
    array = _array(data, dtype, shape, "C")  # numpy 2.3 and newer: contiguous but for its axes
    if not isinstance(axes, tuple) or not all(type(axis) is int for axis in axes):
        raise PickleError("an array's axes are not numbers")
    if sorted(axes) != list(range(array.ndim)):
        raise PickleError("an array's axes are not in any order")
    return PickledArray(array.transpose(axes))


def _make_scalar(dtype: object, data: object, *_: object) -> PickledArray:
    return PickledArray(_array(data, dtype, (), "C"))


def _make_bytes(text: object, encoding: object, *_: object) -> memoryview:
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError("it encodes something that is not latin1 text")
    try:
        return memoryview(text.encode("latin1"))
    except UnicodeEncodeError as exc:
        raise PickleError("it encodes something that is not latin1 text") from exc


def _make_ordered_dict(items: object, *_: object) -> dict[str, Any]:
    if items is not None:
        raise PickleError("an OrderedDict is made of something")
    return {}


def _make_unfilled(*_: object) -> None:
    raise PickleError("it makes an array that is not filled")


CALLS: Final[dict[str, Callable[[Any, Any, Any, Any, Any], Any]]] = {
    "dtype": _make_dtype,
    "_reconstruct": _make_array,
    "_frombuffer": _make_from_buffer,
    "scalar": _make_scalar,
    "encode": _make_bytes,
    "OrderedDict": _make_ordered_dict,
    "ndarray": _make_unfilled,
}
"""Name -> what a call of it makes; always called with five arguments."""


def _array(data: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    """A view of ``data``, which must have exactly the bytes that the rest says."""
    if not isinstance(dtype, PickledDtype):
        raise PickleError("an array's items have no plain numeric type")
    if not isinstance(data, memoryview):
        raise PickleError("an array's data is not bytes")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or order not in ("C", "F"):
        raise PickleError("an array's shape is not a short tuple of sizes")
    if any(type(size) is not int or not 0 <= size < 2**47 for size in shape):
        raise PickleError("an array's shape is not a short tuple of sizes")
    items = dtype.numpy
    if prod(shape) * items.itemsize != len(data):
        raise PickleError(f"{len(data)} bytes are not an array of {items.name}{list(shape)}")
    try:
        if not data:
            return np.empty(shape, items)
        return np.frombuffer(data, items).reshape(shape, order="F" if order == "F" else "C")
    except ValueError as exc:  # e.g. an empty array whose other sizes overflow
        raise PickleError(f"an array cannot have the shape {list(shape)}") from exc
