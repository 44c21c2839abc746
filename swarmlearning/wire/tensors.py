"""Model files: the safetensors format, written and read in place by our own code.

A file is: length of the header (u64, little endian), the header (JSON, padded with spaces), the
data section. The header gives each tensor's name, dtype, shape and place in the data section.
What we write is a narrower form of the format than the library's, and readable by it:

* the data section starts at a multiple of 64 bytes and has no holes;
* tensors lie wider items first (8, 4, 2, 1 bytes), so that each one is aligned to its items, and by
  dtype and name within one width: a merge sees one long run per dtype, and the order in which a
  program lists its tensors (a protobuf map of HPE's client 2.2 has none) makes no difference;
* the same tensors give the same bytes, so equal models have equal digests.

Reading accepts what the library writes and refuses everything else: headers that lie about sizes,
overlapping or missing ranges, repeated names, unknown dtypes. Reading never copies the data.

bfloat16, which numpy lacks, is handled as ``uint16`` bit patterns whose dtype in the layout is
``BF16``.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmlearning.wire.digest import Buffer
from swarmlearning.wire.nesting import is_too_deep

ALIGNMENT = 64
"""The data section starts at a multiple of this many bytes."""

HEADER_DEPTH = 3
"""Levels of arrays and objects in a header."""
MAX_HEADER = 16 * 1024 * 1024
"""Longest header that is read (bytes); about 125,000 tensors."""

MAX_DIMENSIONS = 32
"""Most dimensions a tensor may have (numpy before 2.0 has no more)."""

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
"""safetensors dtype -> the numpy dtype it is read as (little endian)."""

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


class WireError(Exception):
    """Bytes that are not what the ML-SL protocol or the model file format allows."""


@dataclass(frozen=True)
class Tensor:
    """One tensor's place in a model file."""

    name: str
    dtype: str
    """A key of :data:`DTYPES`, e.g. ``F32``."""
    shape: tuple[int, ...]
    """``()`` for a 0-d tensor."""
    begin: int
    """First byte, counted from the start of the data section."""
    end: int
    """One past the last byte."""

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype its items are read as; ``uint16`` for BF16."""
        return DTYPES[self.dtype]

    @property
    def count(self) -> int:
        """Number of items."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What lies where in a model file.

    Two layouts are equal when names, dtypes, shapes and places are: their data sections can then
    be merged as flat arrays. Where the data section starts does not count.
    """

    tensors: tuple[Tensor, ...]
    """In the order of their data; contiguous from 0 to :attr:`data_size`."""
    data_offset: int = field(compare=False)
    """Where in the file the data section starts (bytes)."""

    @property
    def data_size(self) -> int:
        """Length of the data section (bytes)."""
        return self.tensors[-1].end if self.tensors else 0

    @property
    def file_size(self) -> int:
        """Length of the file (bytes)."""
        return self.data_offset + self.data_size


def arrange(items: Iterable[tuple[str, str, tuple[int, ...]]]) -> Layout:
    """The layout of our own files for tensors given as (name, dtype, shape).

    Raises:
        WireError: a dtype is unknown, a name comes twice or cannot be written, or :func:`parse`
            would not read it back.
    """
    listed = list(items)
    for name, dtype, shape in listed:
        if dtype not in DTYPES:
            raise WireError(f"tensor {name!r}: dtype {dtype} is not one of {', '.join(DTYPES)}")
        if len(shape) > MAX_DIMENSIONS:
            raise WireError(f"tensor {name!r} has more than {MAX_DIMENSIONS} dimensions")
        _check_name(name)
        _check_shape(name, shape)
    if len({name for name, _, _ in listed}) != len(listed):
        raise WireError("two tensors have the same name")
    listed.sort(key=lambda item: (-DTYPES[item[1]].itemsize, item[1], item[0]))
    tensors, at = [], 0
    for name, dtype, shape in listed:
        end = at + prod(shape) * DTYPES[dtype].itemsize
        tensors.append(Tensor(name, dtype, tuple(shape), at, end))
        at = end
    size = len(_header(tensors))
    if size - 8 > MAX_HEADER:
        raise WireError(
            f"{len(tensors)} tensors with these names need a header of {size} bytes; at most "
            f"{MAX_HEADER} are read"
        )
    return Layout(tuple(tensors), size)


def layout_of(arrays: Mapping[str, NDArray[Any]], bfloat16: Collection[str] = ()) -> Layout:
    """The layout in which :func:`write_into` stores ``arrays``.

    Args:
        arrays: name -> array of bool, integer or float items, any byte order, 0-d included.
        bfloat16: names of ``uint16`` arrays that hold bfloat16 bit patterns.

    Raises:
        WireError: an array's dtype has no place in the format (objects, text, complex, ...).
    """
    return arrange((name, _dtype(name, a, name in bfloat16), a.shape) for name, a in arrays.items())


def write_header(buffer: Buffer, layout: Layout) -> None:
    """Write the header of ``layout`` (one of :func:`arrange`) to the start of ``buffer``."""
    header = _header(layout.tensors)
    assert len(header) == layout.data_offset, "the layout was not made by arrange()"
    memoryview(buffer).cast("B")[: len(header)] = header


def write_into(buffer: Buffer, arrays: Mapping[str, NDArray[Any]], layout: Layout) -> None:
    """Write a whole model file into ``buffer``, which has ``layout.file_size`` bytes.

    One copy of the data, straight to its place; strided and big-endian arrays included.

    Args:
        buffer: writable, e.g. an mmap of the file.
        arrays: what ``layout`` was made of by :func:`layout_of`.
        layout: see ``arrays``.

    Raises:
        WireError: an array has another shape or dtype than the layout says.
    """
    write_header(buffer, layout)
    for tensor in layout.tensors:
        array = arrays[tensor.name]
        if array.shape != tensor.shape or array.dtype.newbyteorder("<") != tensor.numpy:
            raise WireError(
                f"tensor {tensor.name!r} is {array.dtype}{list(array.shape)}, "
                f"not {tensor.dtype}{list(tensor.shape)}"
            )
        np.copyto(view(buffer, layout, tensor), array, casting="equiv")


def view(buffer: Buffer, layout: Layout, tensor: Tensor) -> NDArray[Any]:
    """The tensor as an array that shares memory with ``buffer``; writable where that is."""
    if not tensor.count:
        return np.empty(tensor.shape, tensor.numpy)
    start = layout.data_offset + tensor.begin
    flat = np.frombuffer(buffer, tensor.numpy, tensor.count, start)
    return flat.reshape(tensor.shape)


def read(buffer: Buffer, layout: Layout | None = None) -> dict[str, NDArray[Any]]:
    """All tensors of a model file as arrays that share memory with ``buffer``.

    They keep an mmap open: drop them before closing it. BF16 tensors are ``uint16`` bit patterns.

    Args:
        buffer: the whole file.
        layout: what :func:`parse` said about it, when that is known already.

    Raises:
        WireError: see :func:`parse`.
    """
    known = parse(buffer) if layout is None else layout
    return {tensor.name: view(buffer, known, tensor) for tensor in known.tensors}


def parse(buffer: Buffer) -> Layout:
    """Read and check the header of a model file.

    Args:
        buffer: the whole file (bytes, memoryview, mmap); its data section is not touched.

    Raises:
        WireError: the header is not well formed, or the data section is not exactly covered by
            the tensors it lists.
    """
    raw = memoryview(buffer).cast("B")
    if len(raw) < 8:
        raise WireError(f"not a safetensors file: only {len(raw)} bytes long")
    length = int.from_bytes(raw[:8], "little")
    if length > MAX_HEADER:
        raise WireError(f"the header claims {length} bytes; at most {MAX_HEADER} are read")
    if 8 + length > len(raw):
        raise WireError(f"the header claims {length} bytes but the file has {len(raw)} in all")
    tensors = _tensors(_json(bytes(raw[8 : 8 + length])))
    _check_coverage(tensors, len(raw) - 8 - length)
    return Layout(tuple(tensors), 8 + length)


def _dtype(name: str, array: NDArray[Any], bfloat16: bool) -> str:
    dtype = array.dtype.newbyteorder("<")
    if bfloat16 and dtype == DTYPES["BF16"]:
        return "BF16"
    if bfloat16 or dtype not in _NAMES:
        wanted = "uint16 bit patterns" if bfloat16 else "bool, integer or float up to 64 bits"
        raise WireError(f"tensor {name!r} has items of type {array.dtype}, not {wanted}")
    return _NAMES[dtype]


def _header(tensors: Iterable[Tensor]) -> bytes:
    entries = {
        t.name: {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [t.begin, t.end]}
        for t in tensors
    }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _json(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise WireError("the header has a name twice")
        return made

    if is_too_deep(text, HEADER_DEPTH):
        raise WireError("the header is nested too deep")
    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as exc:
        raise WireError(f"the header is not JSON: {exc}") from exc
    if not isinstance(header, dict):
        raise WireError("the header is not a JSON object")
    return header


def _tensors(header: dict[str, Any]) -> list[Tensor]:
    """The header's tensors by place; empty ones first where several start at the same byte."""
    tensors = [_tensor(name, entry) for name, entry in header.items() if name != "__metadata__"]
    return sorted(tensors, key=lambda tensor: (tensor.begin, tensor.end))


def _tensor(name: str, entry: Any) -> Tensor:  # noqa: ANN401 - whatever JSON held
    _check_name(name)
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise WireError(f"tensor {name!r}: its entry is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError(f"tensor {name!r}: dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"tensor {name!r}: bad shape")
    if not _sizes(offsets) or len(offsets) != 2:
        raise WireError(f"tensor {name!r}: bad data_offsets")
    _check_shape(name, shape)
    begin, end = offsets
    if end - begin != prod(shape) * DTYPES[dtype].itemsize:
        raise WireError(
            f"tensor {name!r}: {dtype}{shape} does not fit its {end - begin} bytes at {begin}"
        )
    return Tensor(name, dtype, tuple(shape), begin, end)


def _sizes(value: Any) -> bool:  # noqa: ANN401 - whatever JSON held
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise WireError("a tensor's name is not valid Unicode") from exc
    if name == "__metadata__":
        raise WireError("a tensor cannot be called __metadata__")


def _check_shape(name: str, shape: Sequence[int]) -> None:
    """An empty array, too, may be too large for numpy but for the size that is 0."""
    if prod(n for n in shape if n) * 8 >= 2**63:
        raise WireError(f"tensor {name!r}: shape {list(shape)} is too large")


def _check_coverage(tensors: list[Tensor], size: int) -> None:
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise WireError(f"tensor {tensor.name!r} starts at byte {tensor.begin}, not {at}")
        at = tensor.end
    if at != size:
        raise WireError(f"the header describes {at} bytes of data but the file has {size}")
