"""Pickles of HPE's client, read without unpickling and written without pickling.

HPE's client 2.3 hands its parameters over as a pickled ``dict`` of numpy arrays and loads the
merged model with plain ``pickle.load``. Python's unpickler would run whatever the file says, and
can be made to allocate memory without end. So we read the format ourselves: a stack machine
(``pickle_reader``) that knows the opcodes numpy arrays need and, of the names a pickle may call,
exactly those of ``compat/01`` section 10. Nothing is imported or called; a "call" makes one of the
inert values of ``pickle_values``. Array data is never copied: arrays are views of the file.
"""

from collections.abc import Iterator, Mapping
from struct import pack
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.sl.core.pickle_reader import Reader
from services.sl.core.pickle_values import PickledArray, PickleError, short

__all__ = ["PickleError", "dump", "load", "loadable"]

MAX_SHARING: Final = 4
"""An array may be named several times; all together may have this many times the file's size."""


def load(buffer: bytes | bytearray | memoryview) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of numpy arrays.

    Args:
        buffer: the whole file. The arrays are views of it.

    Returns:
        Name -> array, in the file's order; numpy scalars become 0-d arrays.

    Raises:
        PickleError: it is anything else: other opcodes, names outside the list, object arrays,
            sizes that do not fit the data, trailing bytes.
    """
    reader = Reader(memoryview(buffer).cast("B"))
    found = reader.run()
    if not isinstance(found, dict):
        raise PickleError(f"it holds a {type(found).__name__}, not a dict of arrays")
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in found.items():
        if not isinstance(name, str):
            raise PickleError(f"a key is a {type(name).__name__}, not text")
        if not isinstance(value, PickledArray) or value.value is None:
            raise PickleError(f"{short(name)} is not an array of numbers")
        arrays[name] = value.value
    if sum(array.nbytes for array in arrays.values()) > MAX_SHARING * len(buffer):
        raise PickleError("its arrays together are far larger than the file")
    return arrays


def dump(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """Write arrays as a pickle that numpy 1.19 to 2.x reads, piece by piece.

    Names numpy's globals as numpy 1 does, and turns 0-d entries into 0-d floats: HPE's client
    loads through ``torch.Tensor(array)``, which takes a 0-d integer for a size.

    Args:
        arrays: C-contiguous; their memory is handed on, not copied.
    """
    yield b"\x80\x04}("
    for name, array in arrays.items():
        array = loadable(array)
        yield _unicode(name) + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        yield b"K\x00\x85C\x01b\x87R(K\x01("
        yield b"".join(map(_integer, array.shape)) + b"t" + _dtype(array.dtype) + b"\x89"
        yield b"\x8e" + pack("<Q", array.nbytes)
        if array.nbytes:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield b"tb"
    yield b"u."


def loadable(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as HPE's clients can load it: what is 0-d and no float becomes a 0-d float64."""
    if array.ndim or array.dtype.kind == "f":
        return array
    return array.astype(np.float64)


def _unicode(text: str) -> bytes:
    raw = text.encode()
    return b"X" + pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
    if value < 2**31:
        return b"J" + pack("<i", value)
    return b"\x8a\x08" + pack("<q", value)


def _dtype(dtype: np.dtype[Any]) -> bytes:
    order = "|" if dtype.itemsize == 1 else "<"
    return (
        b"cnumpy\ndtype\n" + _unicode(dtype.str[1:]) + b"\x89\x88\x87R"
        b"(K\x03" + _unicode(order) + b"NNN" + _integer(-1) * 2 + b"K\x00tb"
    )
