"""Weights inside a message, as HPE's clients 2.1 and 2.2 send and expect them.

They are a protobuf map of name -> ``NDArray`` (``swarm.proto`` has the schema), read and written in
place. The dtype of an array is the text that Python prints for it, e.g. ``dtype('float32')``; those
clients *evaluate* what they get back, behind ``np.``. Here such a text is looked up in a list of
plain numeric types and is nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.sl.core.pickles import loadable
from swarmlearning.wire.fields import BYTES, VARINT, Field, fields, start, varint, varints
from swarmlearning.wire.tensors import DTYPES, MAX_DIMENSIONS, WireError

MAX_TENSORS: Final = 100_000
"""Most tensors of a model."""
MAX_NAME: Final = 4096
"""Longest name of a tensor (bytes)."""

_WRAPPED: Final = ("dtype('", "')")


def _texts() -> Iterator[tuple[str, np.dtype[Any]]]:
    for dtype in DTYPES.values():
        code = dtype.str[1:]
        yield dtype.name, dtype
        for order in ("", "<", ">", "|") if dtype.itemsize == 1 else ("", "<", ">"):
            yield order + code, np.dtype(order + code)


_TYPES: Final[dict[str, np.dtype[Any]]] = dict(_texts())
"""Every text that is a dtype, without what Python puts around it."""


@dataclass(frozen=True)
class Weights:
    """A model that came in a message."""

    arrays: dict[str, NDArray[Any]]
    """Read-only views of the message."""
    dtypes: dict[str, str]
    """The dtype of each, in the words of its sender."""


def load(message: memoryview) -> Weights:
    """Read a ``Weights`` message.

    Raises:
        WireError: it is none, or holds something that is not an array of numbers, or a name twice.
    """
    arrays: dict[str, NDArray[Any]] = {}
    dtypes: dict[str, str] = {}
    for count, entry in enumerate(fields(message)):
        if count == MAX_TENSORS:
            raise WireError(f"it has more than {MAX_TENSORS} tensors")
        if entry.number != 1:
            continue
        parts = _parts(entry, {1: BYTES, 2: BYTES}, "an entry")
        raw_name = parts.get(1, [])
        name = _text(raw_name[0].data, "a name") if raw_name else ""
        if name in arrays:
            raise WireError(f"tensor {name!r} comes twice")
        if 2 not in parts:
            raise WireError(f"tensor {name!r} has no value")
        arrays[name], dtypes[name] = _array(parts[2][0], name)
    return Weights(arrays, dtypes)


def dump(
    arrays: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str]
) -> tuple[int, Iterator[bytes | memoryview]]:
    """Write a ``Weights`` message.

    Args:
        arrays: C-contiguous, little endian; their memory is handed on, not copied.
        dtypes: how the receiver writes the dtype of each, from :func:`load`.

    Returns:
        Its size in bytes, and its pieces.
    """
    entries = [_entry(name, loadable(a), dtypes.get(name, "")) for name, a in arrays.items()]
    size = sum(len(head) + array.nbytes for head, array in entries)
    return size, _pieces(entries)


def _pieces(entries: list[tuple[bytes, NDArray[Any]]]) -> Iterator[bytes | memoryview]:
    for head, array in entries:
        yield head
        if array.nbytes:
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _entry(name: str, array: NDArray[Any], sent: str) -> tuple[bytes, NDArray[Any]]:
    """All of a map entry but the data, which comes last."""
    dtype = _written(array.dtype, sent).encode()
    shape = b"".join(map(varint, array.shape))
    value = start(1, len(dtype)) + dtype
    if shape:
        value += start(2, len(shape)) + shape
    value += start(3, array.nbytes)
    key = name.encode()
    inner = start(1, len(key)) + key + start(2, len(value) + array.nbytes) + value
    return start(1, len(inner) + array.nbytes) + inner, array


def _written(dtype: np.dtype[Any], sent: str) -> str:
    """``dtype`` in the form that the receiver used itself."""
    prefix, suffix = _WRAPPED
    bare = not sent.startswith(prefix)
    if _TYPES.get(_unwrapped(sent)) == dtype:
        return sent
    return dtype.name if bare and sent else f"{prefix}{dtype.name}{suffix}"


def _unwrapped(text: str) -> str:
    prefix, suffix = _WRAPPED
    if text.startswith(prefix) and text.endswith(suffix):
        return text[len(prefix) : -len(suffix)]
    return text


def _array(value: Field, name: str) -> tuple[NDArray[Any], str]:
    parts = _parts(value, {1: BYTES, 2: None, 3: BYTES}, f"tensor {name!r}")
    text = _text(parts[1][0].data, "a dtype") if 1 in parts else ""
    dtype = _TYPES.get(_unwrapped(text))
    if dtype is None:
        raise WireError(f"tensor {name!r}: items of type {text[:80]!r} are not numbers")
    shape = _shape(parts.get(2, []), name)
    data = parts[3][0].data if 3 in parts else memoryview(b"")
    if prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"tensor {name!r}: {len(data)} bytes are not {dtype.name}{list(shape)}")
    try:
        if not len(data):
            return np.empty(shape, dtype), text
        return np.frombuffer(data, dtype).reshape(shape), text
    except ValueError as exc:  # an empty array whose other sizes overflow
        raise WireError(f"tensor {name!r} cannot have the shape {list(shape)}") from exc


def _shape(found: list[Field], name: str) -> tuple[int, ...]:
    """The sizes, which protobuf writes as one packed field or one by one."""
    sizes: list[int] = []
    for field in found:
        packed = field.wire_type == BYTES
        sizes += varints(field.data, MAX_DIMENSIONS) if packed else [field.value]
        if not packed and field.wire_type != VARINT:
            raise WireError(f"tensor {name!r}: its shape is not whole numbers")
    if len(sizes) > MAX_DIMENSIONS:
        raise WireError(f"tensor {name!r} has more than {MAX_DIMENSIONS} dimensions")
    if any(size >= 2**32 for size in sizes):
        raise WireError(f"tensor {name!r}: its shape has a negative or a huge size")
    return tuple(sizes)


def _parts(outer: Field, known: Mapping[int, int | None], what: str) -> dict[int, list[Field]]:
    """The known fields of a message; one that may have any type may come several times."""
    if outer.wire_type != BYTES:
        raise WireError(f"{what} is not a message")
    found: dict[int, list[Field]] = {}
    for count, field in enumerate(fields(outer.data)):
        if count > MAX_DIMENSIONS + len(known):
            raise WireError(f"{what} has too many fields")
        if field.number not in known:
            continue
        wanted = known[field.number]
        if wanted is not None and (field.number in found or field.wire_type != wanted):
            raise WireError(f"{what}: field {field.number} comes twice or has another type")
        found.setdefault(field.number, []).append(field)
    return found


def _text(data: memoryview, what: str) -> str:
    if len(data) > MAX_NAME:
        raise WireError(f"{what} is longer than {MAX_NAME} bytes")
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as exc:
        raise WireError(f"{what} is not UTF-8") from exc
