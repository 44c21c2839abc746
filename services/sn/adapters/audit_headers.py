"""Block headers as JSON-RPC gives them, not believed: each hash is recomputed from the fields."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import rlp
from eth_utils.crypto import keccak

from services.sn.core.verdict import Violation

Json = Mapping[str, Any]

_FIELDS: tuple[tuple[str, int | None], ...] = (
    ("parentHash", 32), ("sha3Uncles", 32), ("miner", 20), ("stateRoot", 32),
    ("transactionsRoot", 32), ("receiptsRoot", 32), ("logsBloom", 256), ("difficulty", None),
    ("number", None), ("gasLimit", None), ("gasUsed", None), ("timestamp", None),
    ("extraData", 0), ("mixHash", 32), ("nonce", 8),
)  # fmt: skip
"""In the order of the RLP; bytes of this length (0: any), None for a number."""
_LATER: tuple[tuple[str, int | None], ...] = (
    ("baseFeePerGas", None), ("withdrawalsRoot", 32), ("blobGasUsed", None),
    ("excessBlobGas", None), ("parentBeaconBlockRoot", 32), ("requestsHash", 32),
)  # fmt: skip
"""What later forks appended, each only where those before it are there."""
_HEX = re.compile("0x[0-9a-fA-F]*")
LONGEST_NUMBER = 66
"""Characters of 256 bits in ``0x`` hex."""
_EXTRA = 12
"""Place of ``extraData``."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose hash was recomputed."""

    number: int
    hash: bytes
    parent: bytes
    time: int
    transactions_root: bytes
    receipts_root: bytes
    bloom: bytes
    gas_used: int
    fields: tuple[bytes, ...]
    """As RLP encodes them."""

    @property
    def raw(self) -> bytes:
        """The RLP."""
        encoded: bytes = rlp.encode(self.fields)
        return encoded


def read_header(view: object, number: int) -> Header:
    """The header of block ``number`` out of what JSON-RPC gave for it.

    Raises:
        Violation: it is another block's, is no header, or has another hash than it says.
    """
    if not isinstance(view, dict):
        raise Violation(number, "no block was given for it", shown(view), "a block")
    fields = _encoded(view, number)
    given = take_bytes(view, "hash", number, 32)
    if int.from_bytes(fields[8]) != number:
        raise Violation(number, "another block was given for it", int.from_bytes(fields[8]), number)
    hashes = [keccak(rlp.encode(form)) for form in _hashed_forms(fields)]
    if given not in hashes:
        raise Violation(
            number, "the header's fields do not make its hash", f"0x{hashes[0].hex()}",
            f"0x{given.hex()}",
        )  # fmt: skip
    return Header(
        number=number, hash=given, parent=fields[0], time=int.from_bytes(fields[11]),
        transactions_root=fields[4], receipts_root=fields[5], bloom=fields[6],
        gas_used=int.from_bytes(fields[10]), fields=fields,
    )  # fmt: skip


def _encoded(view: Json, number: int) -> tuple[bytes, ...]:
    later = [item for item in _LATER if view.get(item[0]) is not None]
    if later != list(_LATER[: len(later)]):
        names = ", ".join(name for name, _ in later)
        raise Violation(number, f"the header has {names}, but not what comes before them")
    return tuple(
        minimal(take_number(view, name, number)) if size is None
        else take_bytes(view, name, number, size or None)
        for name, size in (*_FIELDS, *later)
    )  # fmt: skip


def _hashed_forms(fields: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """What the hash may be of: the header itself, or (Besu's QBFT) one without commit seals."""
    forms = [fields]
    try:
        extra = rlp.decode(fields[_EXTRA])
    except (rlp.exceptions.RLPException, RecursionError):
        return forms
    if isinstance(extra, list) and len(extra) == 5:
        bare = rlp.encode([*extra[:3], b"", []])
        forms.append((*fields[:_EXTRA], bare, *fields[_EXTRA + 1 :]))
    return forms


def check_link(header: Header, parent: Header | None) -> None:
    """Check that a header follows its parent.

    Raises:
        Violation: it does not.
    """
    expected = parent.hash if parent is not None else bytes(32)
    if header.parent != expected:
        raise Violation(
            header.number, "its parent is another block", f"0x{header.parent.hex()}",
            f"0x{expected.hex()}",
        )  # fmt: skip
    if parent is not None and header.time < parent.time:
        raise Violation(
            header.number, "it is older than its parent", header.time, f"{parent.time} or later"
        )


# --- values out of JSON


def take_bytes(view: Json, name: str, block: int, size: int | None = None) -> bytes:
    """A field that is bytes.

    Raises:
        Violation: it is missing, no hex, or of another length than ``size``.
    """
    value = view.get(name)
    if not _is_hex(value) or len(value) % 2:
        raise Violation(block, f"{name} is not 0x hex", shown(value), "bytes in hex")
    found = bytes.fromhex(value[2:])
    if size is not None and len(found) != size:
        raise Violation(block, f"{name} is of a wrong length", shown(value), f"{size} bytes")
    return found


def take_number(view: Json, name: str, block: int) -> int:
    """A field that is a number.

    Raises:
        Violation: it is missing or no number.
    """
    value = view.get(name)
    if not _is_hex(value) or not 2 < len(value) <= LONGEST_NUMBER:
        raise Violation(block, f"{name} is not a number", shown(value), "0x hex")
    return int(value, 16)


def _is_hex(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def shown(value: object) -> str:
    """A value from an answer, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def minimal(number: int) -> bytes:
    """A number as RLP wants it: big-endian, no leading zeros."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
