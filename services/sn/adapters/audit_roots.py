"""A block's body against its header: Merkle roots and blooms are recomputed.

So the events that the receipts list are those which the block's signer committed to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rlp
from eth_bloom.bloom import BloomFilter
from trie.hexary import HexaryTrie

from services.sn.adapters.audit_headers import (
    Header,
    Json,
    minimal,
    read_header,
    shown,
    take_bytes,
    take_number,
)
from services.sn.adapters.audit_transactions import Transaction, read_transaction
from services.sn.core.verdict import Violation

EMPTY_ROOT = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
"""Of a trie without entries."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction."""

    succeeded: bool
    gas: int
    """Used in the block up to here."""
    bloom: bytes
    logs: tuple[LogEntry, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class AuditedBlock:
    """A block whose header, transactions and receipts belong together."""

    header: Header
    transactions: tuple[Transaction, ...]
    receipts: tuple[Receipt, ...]


def read_block(number: int, view: Json | None, receipts: Sequence[Json] | None) -> AuditedBlock:
    """A block out of ``eth_getBlockByNumber`` (full) and the receipts of its transactions.

    Raises:
        Violation: something of it does not belong to the rest.
    """
    if view is None or receipts is None:
        raise Violation(number, "the block is missing", "nothing", "a block")
    try:
        return _read_block(number, view, receipts)
    except (AttributeError, TypeError, KeyError) as exc:
        raise Violation(number, f"the block is not as JSON-RPC gives blocks: {exc}") from exc


def _read_block(number: int, view: Json, receipts: Sequence[Json]) -> AuditedBlock:
    header = read_header(view, number)
    sent = tuple(
        read_transaction(item, number, place)
        for place, item in enumerate(_objects(view.get("transactions"), number, "transactions"))
    )
    _check_root(number, "transactions", [item.raw for item in sent], header.transactions_root)
    given = _objects(receipts, number, "receipts")
    if len(given) != len(sent):
        raise Violation(
            number, "it has not one receipt per transaction", f"{len(given)} receipts", len(sent)
        )
    outcomes = tuple(
        _read_receipt(item, transaction, number, place)
        for place, (item, transaction) in enumerate(zip(given, sent, strict=True))
    )
    _check_root(number, "receipts", [item.raw for item in outcomes], header.receipts_root)
    _check_sums(header, outcomes)
    return AuditedBlock(header, sent, outcomes)


def _objects(value: object, block: int, what: str) -> list[Json]:
    if not isinstance(value, list | tuple) or not all(isinstance(x, dict) for x in value):
        raise Violation(block, f"its {what} are no list of objects", shown(value), "objects")
    return list(value)


def trie_root(items: Sequence[bytes]) -> bytes:
    """Root of the Merkle trie of a list."""
    if not items:
        return EMPTY_ROOT
    trie = HexaryTrie({})
    for place, item in enumerate(items):
        trie[rlp.encode(minimal(place))] = item
    return bytes(trie.root_hash)


def _check_root(block: int, what: str, items: Sequence[bytes], expected: bytes) -> None:
    found = trie_root(items)
    if found != expected:
        raise Violation(
            block, f"its {what} do not make the {what} root of its header", f"0x{found.hex()}",
            f"0x{expected.hex()}",
        )  # fmt: skip


def _read_receipt(view: Json, transaction: Transaction, block: int, place: int) -> Receipt:
    given = take_bytes(view, "transactionHash", block, 32)
    if given != transaction.hash:
        raise Violation(
            block, f"receipt {place} is of another transaction", f"0x{given.hex()}",
            f"0x{transaction.hash.hex()}",
        )  # fmt: skip
    logs = tuple(read_log(item, block) for item in _objects(view.get("logs"), block, "logs"))
    bloom = bloom_of(logs)
    if take_bytes(view, "logsBloom", block, 256) != bloom:
        raise Violation(
            block, f"transaction {place}: the events of its receipt do not make its bloom filter",
            f"{len(logs)} events", "those that were filtered for",
        )  # fmt: skip
    status, gas = take_number(view, "status", block), take_number(view, "cumulativeGasUsed", block)
    body = [minimal(status), minimal(gas), bloom, [_log_fields(entry) for entry in logs]]
    prefix = bytes([transaction.kind]) if transaction.kind else b""
    return Receipt(status == 1, gas, bloom, logs, prefix + rlp.encode(body))


def read_log(view: Json, block: int) -> LogEntry:
    """An event out of JSON.

    Raises:
        Violation: it is none.
    """
    topics = view.get("topics")
    if not isinstance(topics, list):
        raise Violation(block, "an event without topics", shown(topics), "a list")
    return LogEntry(
        take_bytes(view, "address", block, 20),
        tuple(take_bytes({"topic": topic}, "topic", block, 32) for topic in topics),
        take_bytes(view, "data", block),
    )


def _log_fields(entry: LogEntry) -> list[Any]:
    return [entry.address, list(entry.topics), entry.data]


def bloom_of(logs: Iterable[LogEntry]) -> bytes:
    """The bloom filter of some events: their addresses and topics."""
    items = [item for entry in logs for item in (entry.address, *entry.topics)]
    return int(BloomFilter.from_iterable(items)).to_bytes(256, "big")


def _check_sums(header: Header, receipts: Sequence[Receipt]) -> None:
    united = 0
    for receipt in receipts:
        united |= int.from_bytes(receipt.bloom)
    if united.to_bytes(256, "big") != header.bloom:
        raise Violation(
            header.number, "its bloom filter is not that of its receipts",
            f"0x{header.bloom.hex().lstrip('0')[:40] or '0'}...", "the union of the receipts'",
        )  # fmt: skip
    gas = receipts[-1].gas if receipts else 0
    if gas != header.gas_used:
        raise Violation(
            header.number, "its gas used is not that of its receipts", header.gas_used, gas
        )
