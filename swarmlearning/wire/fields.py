"""Protobuf messages taken apart where they lie: nothing is copied, whatever they claim.

The protobuf library copies what it parses. Weights inside a message may be gigabytes, so the two
messages that carry some are read and written here, field by field.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from swarmlearning.wire.tensors import WireError

VARINT: Final = 0
"""Wire type of numbers."""
BYTES: Final = 2
"""Wire type of text, bytes, messages and packed numbers."""
_FIXED: Final = {1: 8, 5: 4}
"""Wire type -> bytes of a number of fixed size."""


class Field(NamedTuple):
    """One field of a message."""

    number: int
    wire_type: int
    """:data:`VARINT`, :data:`BYTES`, 1 or 5 (numbers of fixed size, left as bytes)."""
    value: int
    """Of a varint, unsigned; 0 for all others."""
    data: memoryview
    """Of all but a varint; a view of the message."""
    begin: int
    """Where in the message its tag starts."""
    end: int
    """One past its last byte."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in its order.

    Args:
        message: bytes.

    Raises:
        WireError: it ends inside a field, or holds something that is not a field.
    """
    at, nothing = 0, message[:0]
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise WireError(f"a message has a field of number {number}")
        if wire_type == VARINT:
            value, at = _varint(message, at)
            yield Field(number, wire_type, value, nothing, begin, at)
            continue
        if wire_type == BYTES:
            size, at = _varint(message, at)
        elif wire_type in _FIXED:
            size = _FIXED[wire_type]
        else:
            raise WireError(f"field {number} of a message has wire type {wire_type}")
        if size > len(message) - at:
            raise WireError(
                f"field {number} of a message claims {size} bytes, {len(message) - at} are left"
            )
        at += size
        yield Field(number, wire_type, 0, message[at - size : at], begin, at)


def varints(packed: memoryview, most: int) -> list[int]:
    """Packed numbers.

    Raises:
        WireError: they are not numbers, or more than ``most``.
    """
    values: list[int] = []
    at = 0
    while at < len(packed):
        if len(values) == most:
            raise WireError(f"a list of numbers has more than {most}")
        value, at = _varint(packed, at)
        values.append(value)
    return values


def varint(value: int) -> bytes:
    """A number from 0 as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def start(number: int, size: int) -> bytes:
    """What comes before the ``size`` bytes of a field of type :data:`BYTES`."""
    return varint(number << 3 | BYTES) + varint(size)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            if value >= 2**64:
                break
            return value, at + index + 1
    raise WireError("a message holds a number that does not end")
