"""What SNs say to each other on port 30303: RLP lists in binary WebSocket frames.

    HELLO   version, genesis header, account, proof, final block, clock, seals, endpoint
    TXS     signed transactions
    BLOCK   a block, the certificate of its parent, and the votes for it
    SYNC    block hashes, newest first: "send what follows the first one that you know"
    BLOCKS  at most 100 final blocks in order, each with its certificate; empty: "nothing follows"
    PEERS   endpoints of other SNs
    VOTES   signed votes for a block
    PREPARE block number, ballot: "promise to take part in no lower ballot"
    PROMISE block number, ballot; ballot and hash of the block accepted before, if any

The listening side says HELLO first, so that a new SN can learn the genesis header from it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import rlp
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.sedes import CountableList, List, big_endian_int, binary

from services.sn.adapters.rlp_shape import first, second

VERSION = b"swarm/2"
MAX_MESSAGE = 16 << 20
"""Bytes of one message."""
MAX_BLOCKS = 100
"""Blocks in one BLOCKS message."""
MAX_BLOCKS_BYTES = 8 << 20
"""A BLOCKS message ends with the block that exceeds this."""
MAX_PEERS = 64
MAX_ITEMS = 4096
"""Items of any message; the pool holds no more transactions."""
MAX_HELLO = 8 << 10
"""Bytes of a HELLO; a longer one is cut, and then none."""

_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.%]{2,60}\]|[A-Za-z0-9._-]{0,253}):[0-9]{1,5}")
LARGEST = 1 << 63
"""Block numbers and ballots lie below."""
LATEST_CLOCK_MS = 1 << 53
"""A clock beyond the year 287,000 is none."""


class Kind(IntEnum):
    """First element of a message."""

    HELLO = 0
    TXS = 1
    BLOCK = 2
    SYNC = 3
    BLOCKS = 4
    PEERS = 5
    VOTES = 6
    PREPARE = 7
    PROMISE = 8


@dataclass(frozen=True, slots=True)
class Hello:
    """Who an SN is and where its chain stands."""

    genesis: bytes
    """Header of block 0 (RLP); it commits to the chain id."""
    address: bytes
    """Account that it signs blocks with."""
    proof: bytes
    """Its signature over :func:`proof_hash`: the account is its own."""
    final: int
    """Number of its newest final block."""
    clock_ms: int
    """Its clock, milliseconds since 1970."""
    seals: bool
    """Whether it wants to be a signer."""
    endpoint: str
    """``host:port`` that others dial; empty host: the address it is seen at; empty: not at all."""


@dataclass(frozen=True, slots=True)
class Items:
    """Any message but HELLO."""

    kind: Kind
    items: tuple[bytes, ...]


Message = Hello | Items

_HELLO = List([big_endian_int, *[binary] * 4, *[big_endian_int] * 3, binary])
_ITEMS = List([big_endian_int, CountableList(binary)])


def encode(message: Message) -> bytes:
    """A message as bytes."""
    if isinstance(message, Items):
        return bytes(rlp.encode([message.kind, message.items], sedes=_ITEMS))
    fields = [
        Kind.HELLO,
        VERSION,
        message.genesis,
        message.address,
        message.proof,
        message.final,
        message.clock_ms,
        int(message.seals),
        message.endpoint.encode(),
    ]
    return bytes(rlp.encode(fields, sedes=_HELLO))


def decode(raw: bytes | str) -> Message:
    """A message from bytes.

    Raises:
        ValidationError: it is none of these.
    """
    if isinstance(raw, str):
        raise ValidationError("a text frame; all messages are binary")
    try:
        kind = Kind(big_endian_int.deserialize(first(raw)))
        if kind is not Kind.HELLO:
            return Items(kind, tuple(second(raw, MAX_ITEMS)))
        return _hello(rlp.decode(raw[:MAX_HELLO], sedes=_HELLO))
    except (
        rlp.exceptions.RLPException,
        ValueError,
        TypeError,
        IndexError,
        RecursionError,
        OverflowError,
    ) as exc:
        raise ValidationError(f"not a message of {VERSION.decode()}: {exc}") from exc


def _hello(fields: tuple[int, bytes, bytes, bytes, bytes, int, int, int, bytes]) -> Hello:
    _, version, genesis, address, proof, final, clock_ms, seals, endpoint = fields
    if version != VERSION:
        raise ValueError(f"version {version[:16]!r}")
    if len(address) != 20 or len(proof) != 65:
        raise ValueError("account or proof of a wrong length")
    if final >= LARGEST:
        raise ValueError("a block number out of range")
    if clock_ms >= LATEST_CLOCK_MS:
        raise ValueError("a clock out of range")
    where = endpoint.decode("ascii")
    if where and not is_endpoint(where):
        raise ValueError(f"endpoint {where[:40]!r}")
    return Hello(genesis, address, proof, final, clock_ms, bool(seals), where)


def items_of(message: Message) -> Items:
    """A message that comes after HELLO.

    Raises:
        ValidationError: it is another HELLO.
    """
    if isinstance(message, Hello):
        raise ValidationError("a second HELLO")
    return message


def pack(*numbers: int) -> tuple[bytes, ...]:
    """Numbers as items."""
    return tuple(big_endian_int.serialize(number) for number in numbers)


def unpack(items: Sequence[bytes]) -> list[int]:
    """Numbers from items.

    Raises:
        ValidationError: one is none, or too large.
    """
    try:
        numbers = [big_endian_int.deserialize(item) for item in items]
    except rlp.exceptions.RLPException as exc:
        raise ValidationError(f"not a number: {exc}") from exc
    if any(number >= LARGEST for number in numbers):
        raise ValidationError("a number out of range")
    return numbers


def is_endpoint(text: str) -> bool:
    """Whether ``text`` is ``host:port`` (the host may be empty)."""
    return _ENDPOINT.fullmatch(text) is not None and 0 < int(text.rpartition(":")[2]) < 65_536


def proof_hash(genesis: bytes, mine: str, theirs: str) -> bytes:
    """What an SN signs to show that its account is its own.

    It binds the account to both certificates of the link, so that nobody can use it elsewhere.

    Args:
        genesis: header of block 0.
        mine: fingerprint of the signing SN's certificate.
        theirs: fingerprint of the other's.
    """
    return keccak(b"swarm-sn-hello" + keccak(genesis) + bytes.fromhex(mine + theirs))
