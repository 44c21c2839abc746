"""Blocks, transactions, receipts and events as Ethereum's JSON-RPC shows them.

Runs on the chain's thread. Numbers are ``0x`` hex without leading zeros, bytes are ``0x`` hex.
"""

import functools
from typing import Any

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.exceptions import ReceiptNotFound, TransactionNotFound
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_typing import BlockNumber, Hash32
from eth_utils.address import to_checksum_address

from services.sn.adapters.evm_chain import SwarmChain
from services.sn.adapters.evm_store import LogRow

Json = dict[str, Any]

BLOOM_BYTES = 256
TIMESTAMP = 11
"""Place of the timestamp in a header."""

checksummed = functools.lru_cache(maxsize=1024)(to_checksum_address)


def hexed(value: bytes) -> str:
    """Bytes as ``0x`` hex."""
    return "0x" + value.hex()


def transaction_view(
    transaction: SignedTransactionAPI, chain_id: int, header: BlockHeaderAPI | None, place: int
) -> Json:
    """A transaction; pending where ``header`` is None.

    Args:
        transaction: which.
        chain_id: of this chain.
        header: of the block that it is in.
        place: its index there.
    """
    kind = getattr(transaction, "type_id", None) or 0
    parity = transaction.y_parity
    v = parity if kind else 35 + 2 * chain_id + parity
    view: Json = {
        "hash": hexed(transaction.hash),
        "type": hex(kind),
        "nonce": hex(transaction.nonce),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": "0x0",
        "input": hexed(transaction.data),
        "chainId": hex(chain_id),
        "v": hex(v),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "blockHash": None,
        "blockNumber": None,
        "transactionIndex": None,
    }
    if kind:
        view["yParity"] = hex(parity)
        view["accessList"] = [
            {"address": to_checksum_address(address), "storageKeys": [hexed32(k) for k in keys]}
            for address, keys in transaction.access_list
        ]
    if kind > 1:
        view["maxFeePerGas"] = view["maxPriorityFeePerGas"] = "0x0"
    if header is not None:
        view["blockHash"] = hexed(header.hash)
        view["blockNumber"] = hex(header.block_number)
        view["transactionIndex"] = hex(place)
    return view


def hexed32(value: int) -> str:
    """A number as 32 bytes of hex."""
    return hexed(value.to_bytes(32, "big"))


def time_of(chain: SwarmChain, block_hash: bytes) -> int:
    """When a block was made; reads nothing else of it, as histories are long."""
    return int.from_bytes(rlp.decode(chain.store[block_hash])[TIMESTAMP])


def log_view(row: LogRow, time: int) -> Json:
    """An event.

    Args:
        row: which.
        time: of its block.
    """
    topics = [row.topics[k : k + 32] for k in range(0, len(row.topics), 32)]
    return {
        "address": checksummed(row.address),
        "topics": [hexed(topic) for topic in topics],
        "data": hexed(row.data),
        "blockNumber": hex(row.number),
        "blockHash": hexed(row.block),
        "blockTimestamp": hex(time),
        "transactionHash": hexed(row.tx),
        "transactionIndex": hex(row.tx_position),
        "logIndex": hex(row.position),
        "removed": False,
    }


def receipt_view(chain: SwarmChain, transaction_hash: Hash32) -> Json | None:
    """The receipt of a transaction on the canonical chain, or None.

    A failed one has ``revertReason`` (as Besu's receipts do) where this process executed it.
    """
    try:
        number, place = chain.get_canonical_transaction_index(transaction_hash)
        transaction = chain.get_canonical_transaction_by_index(number, place)
        receipt = chain.get_transaction_receipt_by_index(number, place)
        before = _used_before(chain, number, place)
    except (TransactionNotFound, ReceiptNotFound):
        return None
    header = chain.get_canonical_block_header_by_number(number)
    succeeded = receipt.state_root == b"\x01"
    created = None
    if not transaction.to:
        created = generate_contract_address(transaction.sender, transaction.nonce)
    view = {
        "transactionHash": hexed(transaction_hash),
        "transactionIndex": hex(place),
        "blockHash": hexed(header.hash),
        "blockNumber": hex(number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": to_checksum_address(created) if created else None,
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(receipt.gas_used - before),
        "effectiveGasPrice": "0x0",
        "type": hex(getattr(transaction, "type_id", None) or 0),
        "status": "0x1" if succeeded else "0x0",
        "logs": [
            log_view(row, header.timestamp)
            for row in chain.store.logs(number, number)
            if row.tx == transaction_hash
        ],
        "logsBloom": _bloom(receipt),
    }
    if not succeeded and transaction_hash in chain.reverts:
        view["revertReason"] = hexed(chain.reverts[transaction_hash])
    return view


def _used_before(chain: SwarmChain, number: BlockNumber, place: int) -> int:
    if place == 0:
        return 0
    return chain.get_transaction_receipt_by_index(number, place - 1).gas_used


def _bloom(carrier: BlockHeaderAPI | ReceiptAPI) -> str:
    return hexed(carrier.bloom.to_bytes(BLOOM_BYTES, "big"))


def block_view(chain: SwarmChain, header: BlockHeaderAPI, *, full: bool) -> Json:
    """A block; its transactions as objects where ``full``, else as hashes."""
    assert isinstance(header, PragueBlockHeader)
    block = chain.get_block_by_header(header)
    transactions = [
        transaction_view(t, chain.chain_id, header, place) if full else hexed(t.hash)
        for place, t in enumerate(block.transactions)
    ]
    return {
        "number": hex(header.block_number),
        "hash": hexed(header.hash),
        "parentHash": hexed(header.parent_hash),
        "nonce": hexed(header.nonce),
        "mixHash": hexed(header.mix_hash),
        "sha3Uncles": hexed(header.uncles_hash),
        "logsBloom": _bloom(header),
        "transactionsRoot": hexed(header.transaction_root),
        "stateRoot": hexed(header.state_root),
        "receiptsRoot": hexed(header.receipt_root),
        "withdrawalsRoot": hexed(header.withdrawals_root or b""),
        "parentBeaconBlockRoot": hexed(header.parent_beacon_block_root or b""),
        "requestsHash": hexed(header.requests_hash),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": hex(header.difficulty),
        "totalDifficulty": hex(chain.total_difficulty(header.hash)),
        "extraData": hexed(header.extra_data),
        "size": hex(len(rlp.encode(block))),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "blobGasUsed": hex(header.blob_gas_used or 0),
        "excessBlobGas": hex(header.excess_blob_gas or 0),
        "timestamp": hex(header.timestamp),
        "uncles": [],
        "withdrawals": [],
        "transactions": transactions,
    }
