"""Signed votes for blocks, and certificates made of them.

A vote says "this signer accepted this block in this ballot" (:mod:`services.sn.core.agreement`).
The votes of a quorum in one ballot are the block's certificate: proof for anybody, at any time,
that the block is final.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import rlp
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from rlp.sedes import Binary, CountableList, List, big_endian_int

from services.sn.adapters.rlp_shape import require_modest
from services.sn.core.agreement import Accepted, is_quorum

LONGEST_LIST = 256
"""Votes in one message or certificate: several for each of as many signers as there can be."""
LARGEST = 1 << 63
"""Block numbers and ballots lie below."""

_VOTE = List([big_endian_int, big_endian_int, Binary.fixed_length(32), Binary.fixed_length(65)])
_VOTES = CountableList(_VOTE, max_length=LONGEST_LIST)


@dataclass(frozen=True, slots=True)
class Vote:
    """A signer accepted a block."""

    number: int
    """Of the block."""
    accepted: Accepted
    signature: bytes
    """65 bytes, over :func:`vote_hash`."""

    def signer(self, genesis: bytes) -> bytes:
        """The account that signed.

        Args:
            genesis: hash of block 0.

        Raises:
            ValidationError: it is no signature.
        """
        digest = vote_hash(genesis, self.number, self.accepted)
        try:
            key = Signature(self.signature).recover_public_key_from_msg_hash(digest)
        except (BadSignature, ValidationError, ValueError) as exc:
            raise ValidationError(f"a vote for block {self.number} is not signed: {exc}") from exc
        return key.to_canonical_address()


def vote_hash(genesis: bytes, number: int, accepted: Accepted) -> bytes:
    """What a signer signs."""
    said = rlp.encode([number, accepted.ballot, accepted.block])
    return keccak(b"swarm-sn-vote" + genesis + said)


def cast(key: PrivateKey, genesis: bytes, number: int, accepted: Accepted) -> Vote:
    """A vote by the owner of ``key``."""
    digest = vote_hash(genesis, number, accepted)
    return Vote(number, accepted, key.sign_msg_hash(digest).to_bytes())


def encode_votes(votes: Sequence[Vote]) -> bytes:
    """Votes, or a certificate, as bytes; ``b""`` for none."""
    if not votes:
        return b""
    rows = [(v.number, v.accepted.ballot, v.accepted.block, v.signature) for v in votes]
    return bytes(rlp.encode(rows, sedes=_VOTES))


def decode_votes(raw: bytes) -> list[Vote]:
    """Votes from bytes.

    Raises:
        ValidationError: they are none.
    """
    if not raw:
        return []
    require_modest(raw)
    try:
        rows = rlp.decode(raw, sedes=_VOTES)
    except (rlp.exceptions.RLPException, TypeError, ValueError, IndexError) as exc:
        raise ValidationError(f"not a list of votes: {exc}") from exc
    if any(number >= LARGEST or ballot >= LARGEST for number, ballot, _, _ in rows):
        raise ValidationError("a vote with a number out of range")
    return [
        Vote(number, Accepted(ballot, bytes(block)), bytes(signature))
        for number, ballot, block, signature in rows
    ]


def certifies(
    votes: Sequence[Vote], number: int, block: bytes, genesis: bytes,
    signers: Sequence[bytes], sentinel: bytes,
) -> bool:  # fmt: skip
    """Whether ``votes`` are a certificate of a block.

    Args:
        votes: any.
        number: of the block.
        block: its hash.
        genesis: hash of block 0.
        signers: after the parent block.
        sentinel: signer of block 0.

    Raises:
        ValidationError: one of the votes is not signed.
    """
    by_ballot: dict[int, set[bytes]] = {}
    for vote in votes:
        if vote.number == number and vote.accepted.block == block:
            by_ballot.setdefault(vote.accepted.ballot, set()).add(vote.signer(genesis))
    return any(is_quorum(voters, signers, sentinel) for voters in by_ballot.values())
