"""The chain's consensus: Clique (EIP-225) on py-evm's Prague rules, with what they need.

What stock py-evm 0.12 lacks, and what is done here about it:

* a checkpoint header may replace the whole signer set: its list must equal the snapshot's;
* a signer that votes itself out crashes the snapshot code: refused as invalid;
* snapshots are kept in memory only: every 128th is stored, so that a start is quick;
* ``get_fee_recipient`` needs a signature that a block under construction lacks: constant;
* rules of Paris (difficulty and nonce are 0) exclude Clique's: those two are not asked for;
* blocks must be a second apart: equal timestamps are allowed, because we seal on demand;
* total difficulty may replace a block that writes were answered for: the signers agree on each
  block instead (:mod:`services.sn.core.agreement`), difficulties decide nothing;
* gap tracking breaks when a block takes another's place: switched off, we import in order.

Ours on top: of two signers, the sentinel's vote alone admits and removes others; gas is free and
the base fee 0; the gas limit of a block never changes and one transaction may use 30 million;
whether a timestamp lies in the future is judged by the node (it knows the swarm's time), not here.
EIP-225's "signed recently" rule is left out, as in py-evm: a swarm of one or two SNs must go on.
"""

import functools
import secrets
from collections.abc import Iterable
from typing import cast

from eth.abc import (
    AtomicDatabaseAPI,
    BlockAPI,
    BlockHeaderAPI,
    ChainDatabaseAPI,
    DatabaseAPI,
    SignedTransactionAPI,
)
from eth.consensus.clique._utils import (
    get_block_signer,
    get_signers_at_checkpoint,
    is_checkpoint,
    is_in_turn,
    validate_header_integrity,
)
from eth.consensus.clique.clique import CliqueConsensus, CliqueConsensusContext
from eth.consensus.clique.constants import NONCE_DROP, SIGNATURE_LENGTH, VANITY_LENGTH
from eth.consensus.clique.datatypes import MutableSnapshot, Snapshot, VoteAction
from eth.consensus.clique.exceptions import SnapshotNotFound
from eth.consensus.clique.snapshot_manager import SnapshotManager
from eth.constants import (
    BLANK_ROOT_HASH,
    GENESIS_PARENT_HASH,
    SECPK1_N,
    ZERO_ADDRESS,
    ZERO_HASH32,
)
from eth.db.chain import ChainDB
from eth.db.chain_gaps import GENESIS_CHAIN_GAPS, GapChange, GapInfo
from eth.rlp.headers import BlockHeader
from eth.typing import ChainGaps
from eth.vm.forks.paris import ParisVM
from eth.vm.forks.prague import PragueVM
from eth_keys.exceptions import BadSignature
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

EPOCH = 1024
"""Blocks between checkpoints: headers that list all signers and clear all open votes."""
SNAPSHOT_EVERY = 128
"""Blocks between stored snapshots of the signer set."""
BLOCK_GAS_LIMIT = 10**12
"""Never reached: half of it would raise the base fee."""
TRANSACTION_GAS_CAP = 30_000_000
"""Gas that one transaction may use."""
IN_TURN, OUT_OF_TURN = 2, 1
"""Difficulties of Clique."""
VANITY = b"swarm-learning chain 1"
"""Start of the genesis header's vanity field; its last four bytes are the chain id."""


def signer_of(header: BlockHeaderAPI) -> Address:
    """Who sealed a header.

    Of the two forms of each signature only one is taken: else anybody could make a twin of
    another's block, which would win half of the time.

    Raises:
        ValidationError: the seal is no signature.
    """
    if int.from_bytes(header.extra_data[-33:-1], "big") > SECPK1_N // 2:
        raise ValidationError(f"{header} carries no valid seal: it is the other form of one")
    try:
        return get_block_signer(header)
    except (BadSignature, ValidationError, ValueError) as exc:
        raise ValidationError(f"{header} carries no valid seal: {exc}") from exc


class _Snapshots(SnapshotManager):
    """Signer sets by block."""

    @functools.cached_property
    def sentinel(self) -> Address:
        """The signer of the genesis block."""
        genesis = self._chain_db.get_canonical_block_header_by_number(BlockNumber(0))
        (signer,) = get_signers_at_checkpoint(genesis)
        return signer

    def apply(self, current_snapshot: Snapshot, header: BlockHeaderAPI) -> Snapshot:
        """The signer set after ``header``.

        Raises:
            ValidationError: the header's signer may not do what it says.
        """
        signer = signer_of(header)
        if signer not in current_snapshot.signers:
            raise ValidationError(f"0x{signer.hex()} sealed {header} but is not a signer")
        if is_checkpoint(header.block_number, self._epoch_length):
            listed = list(get_signers_at_checkpoint(header))
            if listed != current_snapshot.get_sorted_signers():
                raise ValidationError(f"{header} lists other signers than the chain has")
        elif header.nonce == NONCE_DROP and header.coinbase == signer:
            raise ValidationError(f"the signer of {header} votes on itself")
        after = self._by_quorum(super().apply(current_snapshot, header), signer)
        if header.block_number % SNAPSHOT_EVERY == 0:
            self.persist_snapshot(after)
        return after

    def _by_quorum(self, snapshot: Snapshot, signer: Address) -> Snapshot:
        """Of two signers, the sentinel's vote decides alone, as it does on blocks.

        Else the death of the other one for good could never be mended.
        """
        if len(snapshot.signers) != 2 or signer != self.sentinel:
            return snapshot
        mine = [vote for vote in snapshot.votes if vote.signer == signer]
        if not mine:
            return snapshot
        signers = list(snapshot.signers)
        for vote in mine:
            if vote.action is VoteAction.NOMINATE:
                signers.append(vote.subject)
            else:
                signers.remove(vote.subject)
        after = MutableSnapshot(signers, snapshot.block_hash, votes=[], tallies={})
        return self.add_snapshot(after)

    def get_snapshot(self, block_number: int, block_hash: Hash32) -> Snapshot:
        """A signer set from memory, from disk, or from a checkpoint."""
        try:
            return super().get_snapshot(block_number, block_hash)
        except SnapshotNotFound:
            snapshot = self.get_snapshot_from_db(block_hash)
            self._snapshots[block_hash] = snapshot
            return snapshot


class Context(CliqueConsensusContext):
    """Holds the snapshots of one chain."""

    epoch_length = EPOCH

    def __init__(self, db: AtomicDatabaseAPI) -> None:
        self.db = db
        chain_db: ChainDatabaseAPI = ChainDB(db)
        self.snapshot_manager = _Snapshots(chain_db, self.epoch_length)


class Clique(CliqueConsensus):
    """Who may seal what."""

    @classmethod
    def get_fee_recipient(cls, header: BlockHeaderAPI) -> Address:
        """Nobody: gas is free. The same before and after sealing, as execution must be."""
        return ZERO_ADDRESS

    def validate_seal(self, header: BlockHeaderAPI) -> None:
        """Check the form of a header; its timestamp against the clock is the node's business."""
        validate_header_integrity(header.copy(timestamp=0), self._epoch_length)

    def validate_seal_extension(
        self, header: BlockHeaderAPI, parents: Iterable[BlockHeaderAPI]
    ) -> None:
        """Check that an authorised signer sealed this header with the right difficulty."""
        if header.block_number == 0:
            return
        self.validate_seal(header)
        snapshot = self._snapshot_manager.get_or_create_snapshot(
            header.block_number - 1, header.parent_hash, parents
        )
        expected = IN_TURN if is_in_turn(signer_of(header), snapshot, header) else OUT_OF_TURN
        if header.difficulty != expected:
            raise ValidationError(
                f"{header} has difficulty {header.difficulty}, its signer's is {expected}"
            )
        self._snapshot_manager.apply(snapshot, header)


def _header_from_parent(parent: BlockHeaderAPI | None, **fields: object) -> BlockHeaderAPI:
    """Prague's, with Clique's use of difficulty, nonce and mix hash."""
    clique = {name: fields.pop(name) for name in ("difficulty", "nonce") if name in fields}
    header: BlockHeaderAPI = PragueVM.create_header_from_parent(parent, **fields)
    return header.copy(mix_hash=ZERO_HASH32, **clique)


class SwarmVM(PragueVM):
    """Prague rules for blocks that Clique seals."""

    extra_data_max_bytes = 65_535
    consensus_class = Clique
    create_header_from_parent = staticmethod(_header_from_parent)

    def configure_header(self, **fields: object) -> BlockHeader:
        """The header under construction with these fields; the seal is checked later."""
        return cast("BlockHeader", self.get_header().copy(**fields))

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """Check a header against its parent's: numbers, gas, base fee, time."""
        if header.gas_limit != parent_header.gas_limit:
            raise ValidationError(f"{header} changes the gas limit")
        if header.timestamp == parent_header.timestamp:
            header = header.copy(timestamp=header.timestamp + 1)
        super(ParisVM, cls).validate_header(header, parent_header)

    def validate_transaction_against_header(
        self, base_header: BlockHeaderAPI, transaction: SignedTransactionAPI
    ) -> None:
        """Check what a transaction asks of its block."""
        if transaction.gas > TRANSACTION_GAS_CAP:
            raise ValidationError(
                f"a transaction may use {TRANSACTION_GAS_CAP} gas, this asks for {transaction.gas}"
            )
        if transaction.chain_id != self.chain_context.chain_id:
            raise ValidationError(
                f"the transaction is for chain {transaction.chain_id}, this is chain "
                f"{self.chain_context.chain_id}"
            )
        require_one_form(transaction)
        super().validate_transaction_against_header(base_header, transaction)


def require_one_form(transaction: SignedTransactionAPI) -> None:
    """Check that a transaction's signature is of the one form that EIP-2 allows.

    py-evm asks it of old transactions only. Of the others anybody could make a twin, with another
    hash than its sender waits for.

    Raises:
        ValidationError: it is the other form.
    """
    if transaction.s > SECPK1_N // 2:
        raise ValidationError("the transaction's signature is the other form of one")


class HeadDB(ChainDB):
    """Leaves it to the caller which block is the head; scores stay total difficulties."""

    def make_head(self, block: BlockAPI) -> None:
        """Make a stored block the head, whatever the scores say."""
        with self.db.atomic_batch() as db:
            self._set_as_canonical_chain_head(db, block.header, GENESIS_PARENT_HASH)
            for index, transaction in enumerate(block.transactions):
                self._add_transaction_to_canonical_chain(db, transaction.hash, block.header, index)

    @classmethod
    def _update_header_chain_gaps(
        cls, db: DatabaseAPI, persisting_header: BlockHeaderAPI, base_gaps: ChainGaps | None = None
    ) -> GapInfo:
        return GapChange.NoChange, base_gaps or GENESIS_CHAIN_GAPS

    @classmethod
    def _update_chain_gaps(
        cls, db: DatabaseAPI, persisted_block: BlockAPI, base_gaps: ChainGaps | None = None
    ) -> GapInfo:
        return GapChange.NoChange, base_gaps or GENESIS_CHAIN_GAPS


def new_chain_id() -> int:
    """A random 31-bit number, so that transactions of one swarm mean nothing in another."""
    return secrets.randbelow(2**31 - 2**16) + 2**16


def genesis_header(signer: Address, chain_id: int, timestamp: int) -> BlockHeaderAPI:
    """The first header: no accounts, no contracts, one signer; commits to the chain id.

    Args:
        signer: account of the sentinel that makes it.
        chain_id: see :func:`new_chain_id`.
        timestamp: seconds since 1970.
    """
    vanity = VANITY.ljust(VANITY_LENGTH - 4, b"\0") + chain_id.to_bytes(4, "big")
    return SwarmVM.create_genesis_header(
        difficulty=1,
        extra_data=vanity + signer + bytes(SIGNATURE_LENGTH),
        gas_limit=BLOCK_GAS_LIMIT,
        timestamp=timestamp,
        nonce=NONCE_DROP,
        coinbase=ZERO_ADDRESS,
        base_fee_per_gas=0,
    )


def read_genesis(header: BlockHeaderAPI) -> tuple[Address, int]:
    """Signer and chain id of a genesis header.

    Raises:
        ValidationError: it is not one that :func:`genesis_header` makes.
    """
    extra = header.extra_data
    if len(extra) != VANITY_LENGTH + 20 + SIGNATURE_LENGTH:
        raise ValidationError("the genesis block is not one of this software")
    signer = Address(extra[VANITY_LENGTH : VANITY_LENGTH + 20])
    chain_id = int.from_bytes(extra[VANITY_LENGTH - 4 : VANITY_LENGTH], "big")
    if header != genesis_header(signer, chain_id, header.timestamp):
        raise ValidationError("the genesis block is not one of this software")
    assert header.parent_hash == GENESIS_PARENT_HASH
    assert header.state_root == BLANK_ROOT_HASH
    return signer, chain_id
