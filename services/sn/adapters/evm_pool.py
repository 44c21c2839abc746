"""Transactions that wait for a block. Used on the chain's thread only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from eth.abc import SignedTransactionAPI
from eth_typing import Address, Hash32
from eth_utils.exceptions import ValidationError

from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP

LIMIT = 4096
"""Transactions in the pool; more are refused until blocks take some."""
PER_BLOCK = 200
"""Transactions in one block: about a second of execution."""
BYTES, BYTES_PER_BLOCK = 128 << 10, 4 << 20
"""Of one transaction, and of all in one block: a block must fit into a message."""

NONCE_GAP = 256
"""How far ahead of its sender's next nonce a transaction may be."""

NonceOf = Callable[[Address], int]


@dataclass(frozen=True, slots=True)
class Pending:
    """A transaction and the bytes that it came as."""

    transaction: SignedTransactionAPI
    raw: bytes
    sender: Address
    nonce: int


class Pool:
    """Pending transactions, at most one per sender and nonce."""

    def __init__(self) -> None:
        self._by_hash: dict[Hash32, Pending] = {}
        self._by_sender: dict[Address, dict[int, Pending]] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def __contains__(self, transaction_hash: Hash32) -> bool:
        return transaction_hash in self._by_hash

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._by_hash.values())

    def get(self, transaction_hash: Hash32) -> Pending | None:
        """A pending transaction, or None."""
        return self._by_hash.get(transaction_hash)

    def add(self, transaction: SignedTransactionAPI, raw: bytes) -> None:
        """Take a transaction.

        Raises:
            ValidationError: it is too long, the pool is full, or another one has this sender and
                nonce.
        """
        if transaction.hash in self._by_hash:
            return
        if len(raw) > BYTES:
            raise ValidationError(f"a transaction may have {BYTES} bytes, this has {len(raw)}")
        if len(self._by_hash) >= LIMIT:
            raise ValidationError(f"{LIMIT} transactions wait already; try again later")
        pending = Pending(transaction, raw, transaction.sender, transaction.nonce)
        queue = self._by_sender.setdefault(pending.sender, {})
        if pending.nonce in queue:
            raise ValidationError(
                f"nonce {pending.nonce}: another transaction with it waits already"
            )
        queue[pending.nonce] = pending
        self._by_hash[transaction.hash] = pending

    def remove(self, hashes: Iterable[Hash32]) -> None:
        """Forget transactions; unknown ones are ignored."""
        for transaction_hash in hashes:
            pending = self._by_hash.pop(transaction_hash, None)
            if pending is None:
                continue
            queue = self._by_sender[pending.sender]
            del queue[pending.nonce]
            if not queue:
                del self._by_sender[pending.sender]

    def prune(self, nonce_of: NonceOf) -> None:
        """Forget what can never be executed, because its nonce is used.

        Args:
            nonce_of: a sender's next nonce after the head.
        """
        used = [
            pending.transaction.hash
            for sender, queue in self._by_sender.items()
            for floor in [nonce_of(sender)]
            for pending in queue.values()
            if pending.nonce < floor
        ]
        self.remove(used)

    def ready(self, nonce_of: NonceOf) -> list[SignedTransactionAPI]:
        """What the next block can execute: senders as they came, each in order of nonce."""
        found: list[SignedTransactionAPI] = []
        size = 0
        for sender, queue in self._by_sender.items():
            nonce = nonce_of(sender)
            while nonce in queue and len(found) < PER_BLOCK:
                size += len(queue[nonce].raw)
                if size > BYTES_PER_BLOCK:
                    return found
                found.append(queue[nonce].transaction)
                nonce += 1
        return found

    def next_nonce(self, sender: Address, nonce: int) -> int:
        """The nonce after ``nonce`` that no pending transaction of this sender uses."""
        queue = self._by_sender.get(sender, {})
        while nonce in queue:
            nonce += 1
        return nonce


def check_transaction(transaction: SignedTransactionAPI, chain_id: int, nonce_of: NonceOf) -> None:
    """Check what can be checked before execution.

    Args:
        transaction: which.
        chain_id: of this chain.
        nonce_of: a sender's next nonce after the head.

    Raises:
        ValidationError: it can never be executed, or not now.
    """
    transaction.validate()
    if transaction.chain_id != chain_id:
        raise ValidationError(
            f"the transaction is for chain {transaction.chain_id}, this is chain {chain_id}"
        )
    if transaction.gas > TRANSACTION_GAS_CAP:
        raise ValidationError(f"gas {transaction.gas} is over {TRANSACTION_GAS_CAP}")
    if transaction.max_fee_per_gas or transaction.value:
        raise ValidationError("gas is free and there is no currency: gasPrice and value are 0")
    nonce = nonce_of(transaction.sender)
    if transaction.nonce < nonce:
        raise ValidationError(f"nonce too low: {transaction.nonce}, the next is {nonce}")
    if transaction.nonce > nonce + NONCE_GAP:
        raise ValidationError(f"nonce too high: {transaction.nonce}, the next is {nonce}")
