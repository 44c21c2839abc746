"""One copy of the chain: builds, seals, imports and reads blocks. Synchronous, one thread.

Every method runs on the thread that opened the store (:mod:`evm_node` sees to it). What is sealed
or imported becomes the head; :mod:`evm_decisions` decides what is.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import rlp
from eth._utils.rlp import validate_imported_block_unchanged
from eth.abc import (
    BlockAPI,
    BlockHeaderAPI,
    BlockPersistResult,
    ReceiptAPI,
    SignedTransactionAPI,
)
from eth.chains.base import Chain
from eth.consensus.clique._utils import is_in_turn, sign_block_header
from eth.consensus.clique.constants import (
    NONCE_AUTH,
    NONCE_DROP,
    SIGNATURE_LENGTH,
    VANITY_LENGTH,
)
from eth.consensus.clique.datatypes import Snapshot
from eth.constants import BLANK_ROOT_HASH, ZERO_ADDRESS
from eth.db.schema import SchemaV1
from eth.exceptions import CanonicalHeadNotFound, HeaderNotFound, PyEVMError
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from services.common.errors import ConfigError
from services.sn.adapters.evm_rules import (
    IN_TURN,
    OUT_OF_TURN,
    Clique,
    Context,
    HeadDB,
    SwarmVM,
    genesis_header,
    new_chain_id,
    read_genesis,
    require_one_form,
)
from services.sn.adapters.evm_store import LogRow, Store
from services.sn.adapters.rlp_shape import (
    require_modest,
    require_modest_block,
    require_modest_transaction,
)
from services.sn.core.signers import Motion

REVERTS_KEPT = 4096
"""How many recent reverts' output is remembered, so that a receipt can say why."""

Refuse = Callable[[SignedTransactionAPI, str], None]


class _NothingToSealError(Exception):
    """Undoes the transaction of a block that turned out to be empty."""


@dataclass(frozen=True, slots=True)
class HeadChange:
    """What one block did to the canonical chain."""

    block: BlockAPI
    """The head."""
    removed: tuple[BlockAPI, ...] = ()
    """The block that was the head with the same number, if there was one."""


class SwarmChain(Chain):
    """py-evm's chain with our rules and store. Make one with :func:`load` or :func:`create`."""

    vm_configuration = ((BlockNumber(0), SwarmVM),)
    consensus_context_class = Context
    chaindb_class = HeadDB
    chaindb: HeadDB
    store: Store

    def __init__(self, store: Store, chain_id: int, genesis_signer: Address) -> None:
        super().__init__(store)
        self.store = store
        self.chain_id = chain_id
        self.genesis_signer = genesis_signer
        self.reverts: dict[Hash32, bytes] = {}

    # --- reading --------------------------------------------------------------------------

    @property
    def head(self) -> BlockHeaderAPI:
        """Header of the newest canonical block."""
        return self.get_canonical_head()

    @cached_property
    def genesis_hash(self) -> Hash32:
        """Hash of block 0."""
        return self.get_canonical_block_hash(BlockNumber(0))

    def total_difficulty(self, block_hash: Hash32) -> int:
        """Sum of the difficulties from genesis to this block."""
        return self.get_score(block_hash)

    def signers_after(self, header: BlockHeaderAPI) -> Snapshot:
        """Who may seal the block after ``header``, and the open votes."""
        context = self.consensus_context
        assert isinstance(context, Context)
        return Clique(context).get_snapshot(header)

    def state_at(self, header: BlockHeaderAPI) -> SwarmVM:
        """A VM whose ``state`` is the one after ``header``."""
        return self._vm(header)

    def _vm(self, header: BlockHeaderAPI) -> SwarmVM:
        vm = self.get_vm(header)
        assert isinstance(vm, SwarmVM)
        return vm

    def decode_transaction(self, raw: bytes) -> SignedTransactionAPI:
        """Parse a signed transaction.

        Raises:
            ValidationError: it is none.
        """
        require_modest_transaction(raw)
        try:
            transaction = SwarmVM.get_transaction_builder().decode(raw)
        except (rlp.exceptions.RLPException, PyEVMError, ValueError, TypeError, IndexError) as exc:
            raise ValidationError(f"not a signed transaction: {exc}") from exc
        require_one_form(transaction)
        return transaction

    def decode_block(self, raw: bytes) -> BlockAPI:
        """Parse a block.

        Raises:
            ValidationError: it is none.
        """
        require_modest_block(raw)
        try:
            block: BlockAPI = rlp.decode(raw, SwarmVM.get_block_class())
        except (rlp.exceptions.RLPException, PyEVMError, ValueError, TypeError) as exc:
            raise ValidationError(f"not a block: {type(exc).__name__}") from exc
        return block

    def knows(self, block_hash: Hash32) -> bool:
        """Whether this block is stored, canonical or not."""
        return self.headerdb.header_exists(block_hash)

    # --- sealing --------------------------------------------------------------------------

    def seal(
        self,
        key: PrivateKey,
        transactions: Sequence[SignedTransactionAPI],
        *,
        timestamp: int,
        vote: Motion | None = None,
        even_empty: bool = False,
        refuse: Refuse,
    ) -> HeadChange | None:
        """Execute, seal and store a block on the head, in one durable transaction.

        Args:
            key: the signer's.
            transactions: in the order to execute; invalid ones are left out.
            timestamp: seconds since 1970; the parent's where that is later.
            vote: on who is a signer.
            even_empty: seal a block without transactions too (to cast a vote).
            refuse: told of every transaction left out, with the reason.

        Returns:
            What changed, or None where no transaction was valid.

        Raises:
            ValidationError: this key may not seal.
            ChainUnavailableError: the disk took it not.
        """
        with suppress(_NothingToSealError), self.store.transaction():
            block = self._build(key, transactions, timestamp, vote, refuse)
            _require_content(block, even_empty=even_empty)
            return self._persist(block)
        return None

    def _build(
        self,
        key: PrivateKey,
        transactions: Sequence[SignedTransactionAPI],
        timestamp: int,
        vote: Motion | None,
        refuse: Refuse,
    ) -> BlockAPI:
        header = self._draft(key, timestamp, vote)
        vm = self._vm(header)
        vm.block_preprocessing(vm.get_block())
        accepted: list[SignedTransactionAPI] = []
        receipts: list[ReceiptAPI] = []
        for transaction in transactions:
            try:
                receipt, computation = vm.apply_transaction(header, transaction)
            except ValidationError as exc:
                refuse(transaction, str(exc))
                continue
            except PyEVMError as exc:  # its half-done changes are in the state: begin anew
                refuse(transaction, str(exc))
                raise ValidationError(f"transaction 0x{transaction.hash.hex()}: {exc}") from exc
            header = vm.add_receipt_to_header(header, receipt)
            header = vm.increment_blob_gas_used(header, transaction)
            accepted.append(transaction)
            receipts.append(receipt)
            if computation.is_error:
                self._remember_revert(transaction.hash, computation.output)
        block = vm.set_block_transactions_and_withdrawals(
            vm.get_block(), header, tuple(accepted), tuple(receipts)
        )
        block = vm.finalize_block(vm.block_postprocessing(block)).block
        return block.copy(header=sign_block_header(block.header, key))

    def _draft(self, key: PrivateKey, timestamp: int, vote: Motion | None) -> BlockHeaderAPI:
        parent = self.head
        number = parent.block_number + 1
        snapshot = self.signers_after(parent)
        checkpoint = number % Context.epoch_length == 0
        listed = b"".join(snapshot.get_sorted_signers()) if checkpoint else b""
        subject, nonce = ZERO_ADDRESS, NONCE_DROP
        if vote is not None and not checkpoint:
            subject, nonce = Address(vote.account), NONCE_AUTH if vote.admit else NONCE_DROP
        header = self.create_header_from_parent(
            parent,
            gas_limit=parent.gas_limit,
            timestamp=max(timestamp, parent.timestamp),
            coinbase=subject,
            nonce=nonce,
            extra_data=bytes(VANITY_LENGTH) + listed + bytes(SIGNATURE_LENGTH),
        )
        me = Address(key.public_key.to_canonical_address())
        difficulty = IN_TURN if is_in_turn(me, snapshot, header) else OUT_OF_TURN
        return header.copy(difficulty=difficulty)

    def _remember_revert(self, transaction: Hash32, output: bytes) -> None:
        self.reverts[transaction] = output
        if len(self.reverts) > REVERTS_KEPT:
            self.reverts.pop(next(iter(self.reverts)))

    # --- importing ------------------------------------------------------------------------

    def import_sealed(self, block: BlockAPI) -> HeadChange:
        """Check, execute and store another SN's block; it becomes the head.

        Its parent must be the head, or the head's parent: then it takes the head's place.

        Raises:
            ValidationError: it breaks a rule.
            ChainUnavailableError: the disk took it not.
        """
        with self.store.transaction():
            try:
                self.validate_block(block)
                parent = self.get_block_header_by_hash(block.header.parent_hash)
                draft = self.create_header_from_parent(parent)
                vm = self.get_vm(draft.copy(gas_used=block.header.gas_used))
                executed = vm.import_block(block).block
                validate_imported_block_unchanged(executed, block)
            except (PyEVMError, rlp.exceptions.RLPException) as exc:
                raise ValidationError(f"{block} cannot be executed: {exc}") from exc
            return self._persist(executed, validated=True)

    def persist_block(self, block: BlockAPI, perform_validation: bool = True) -> BlockPersistResult:
        """py-evm's name for storing an executed block."""
        with self.store.transaction():
            change = self._persist(block, validated=not perform_validation)
        return BlockPersistResult(block, (block,), change.removed)

    def _persist(self, block: BlockAPI, *, validated: bool = False) -> HeadChange:
        if not validated:
            self.validate_block(block)
        before = self.head
        self.chaindb.persist_block(block)
        return self._lead_to(block, before)

    def make_head(self, block: BlockAPI) -> HeadChange:
        """Put a stored block in the place of the head; both have the same parent."""
        with self.store.transaction():
            return self._lead_to(block, self.head)

    def _lead_to(self, block: BlockAPI, before: BlockHeaderAPI) -> HeadChange:
        """Make ``block`` the head: a child of ``before``, or in its place."""
        removed: tuple[BlockAPI, ...] = ()
        if block.header.parent_hash != before.hash:
            assert block.header.parent_hash == before.parent_hash, "not the head's child or sibling"
            removed = (self.get_block_by_header(before),)
            self._forget(removed[0])
        if removed or self.head.hash != block.hash:
            self.chaindb.make_head(block)
        self._index(block)
        return HeadChange(block, removed)

    def _forget(self, block: BlockAPI) -> None:
        self.store.drop_logs(block.number)
        for transaction in block.transactions:
            key = SchemaV1.make_transaction_hash_to_block_lookup_key(transaction.hash)
            if self.store.exists(key):
                self.store.delete(key)

    def _index(self, block: BlockAPI) -> None:
        if not block.transactions:
            return
        rows: list[LogRow] = []
        for place, receipt in enumerate(block.get_receipts(self.chaindb)):
            for log in receipt.logs:
                topics = b"".join(topic.to_bytes(32, "big") for topic in log.topics)
                rows.append(
                    LogRow(
                        block.number,
                        len(rows),
                        block.hash,
                        block.transactions[place].hash,
                        place,
                        log.address,
                        topics,
                        log.data,
                    )
                )
        self.store.add_logs(rows)


def _require_content(block: BlockAPI, *, even_empty: bool) -> None:
    if not (block.transactions or even_empty):
        raise _NothingToSealError


def load(store: Store) -> SwarmChain | None:
    """The chain in a store, or None where it holds none yet.

    Raises:
        ConfigError: what it holds is not a whole chain of ours.
    """
    raw = store.meta("genesis")
    if raw is None:
        return None
    try:
        signer, chain_id = read_genesis(_decode_header(raw))
        chain = SwarmChain(store, chain_id, signer)
        stored = chain.get_canonical_block_header_by_number(BlockNumber(0))
        head = chain.head
        chain.signers_after(head)
        stateless = head.state_root == BLANK_ROOT_HASH
        whole = rlp.encode(stored) == raw and (stateless or store.exists(head.state_root))
    except (ValidationError, HeaderNotFound, CanonicalHeadNotFound, KeyError) as exc:
        raise _damaged(store, str(exc)) from exc
    if not whole:
        raise _damaged(store, "state or genesis block missing")
    return chain


def _damaged(store: Store, reason: str) -> ConfigError:
    return ConfigError(
        f"the chain in {store.folder} is damaged ({reason}). Restore the folder from a copy, or, "
        "if other SNs hold the chain, empty it: this SN fetches the chain from them again"
    )


def create(store: Store, signer: Address) -> SwarmChain:
    """Make a new chain: the sentinel's first start."""
    return install(store, rlp.encode(genesis_header(signer, new_chain_id(), int(time.time()))))


def install(store: Store, raw: bytes) -> SwarmChain:
    """Begin the store with another SN's genesis header.

    Raises:
        ValidationError: it is not one of this software.
    """
    header = _decode_header(raw)
    signer, chain_id = read_genesis(header)
    with store.transaction():
        SwarmChain.get_chaindb_class()(store).persist_header(header)
        store.set_meta("genesis", raw)
    return SwarmChain(store, chain_id, signer)


def _decode_header(raw: bytes) -> BlockHeaderAPI:
    require_modest(raw)
    try:
        header: BlockHeaderAPI = rlp.decode(raw, PragueBlockHeader)
    except (rlp.exceptions.RLPException, AttributeError, ValueError, TypeError) as exc:
        raise ValidationError(f"not a block header: {exc}") from exc
    return header
