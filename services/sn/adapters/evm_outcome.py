"""What decisions on blocks take in, give out, and keep on disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import rlp
from eth_utils.exceptions import ValidationError
from rlp.sedes import List, big_endian_int, binary

from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_chain import HeadChange
from services.sn.adapters.evm_votes import Vote
from services.sn.core.agreement import Accepted

RECORD_KEY = "agreement"
"""Of the store's facts."""
_RECORD = List([big_endian_int, big_endian_int, big_endian_int, binary])


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block, what makes its parent final, and who accepted it."""

    block: bytes
    """RLP."""
    parent_certificate: bytes
    votes: bytes


@dataclass(slots=True)
class Outcome:
    """What came of a message or of proposing."""

    changes: list[HeadChange] = field(default_factory=list)
    """Of the chain's head, in order."""
    votes: list[Vote] = field(default_factory=list)
    """New ones, to be told to all."""
    proposal: Proposal | None = None
    """This SN's own, to be told to all."""
    final: bool = False
    """Whether a block became final."""
    is_new: bool = False
    """Whether the block was not known before: it is to be passed on."""
    behind: bool = False
    """Whether the other side has final blocks that this one lacks."""
    failure: ValidationError | ChainUnavailableError | None = None
    """What went wrong on the way: a rule was broken, or the disk takes no more. What is above
    happened before, and holds."""


@contextmanager
def noting(outcome: Outcome) -> Iterator[None]:
    """Keep what goes wrong inside in the outcome, beside what happened before."""
    try:
        yield
    except (ValidationError, ChainUnavailableError) as exc:
        outcome.failure = exc


def write_record(number: int, promised: int, accepted: Accepted | None) -> bytes:
    """What this SN promised and accepted for a block number, as it is kept on disk."""
    ballot, block = (0, b"") if accepted is None else (accepted.ballot, accepted.block)
    return bytes(rlp.encode([number, promised, ballot, block], sedes=_RECORD))


def read_record(raw: bytes | None) -> tuple[int, int, Accepted | None]:
    """Block number, highest ballot promised, and what was accepted; nothing where none is kept."""
    if raw is None:
        return 0, 0, None
    number, promised, ballot, block = rlp.decode(raw, sedes=_RECORD)
    return number, promised, Accepted(ballot, bytes(block)) if block else None
