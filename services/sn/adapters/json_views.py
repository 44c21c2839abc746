"""Blocks, transactions, receipts and events as Ethereum's JSON-RPC shows them.

Runs on the chain's thread. Numbers are ``0x`` hex without leading zeros, bytes are ``0x`` hex.
"""

import functools
from collections.abc import Sequence
from typing import Any

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.consensus.clique.datatypes import Snapshot, VoteAction
from eth.exceptions import TransactionNotFound
from eth.rlp.accounts import Account
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_typing import Address, Hash32
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from services.sn.adapters.evm_chain import SwarmChain
from services.sn.adapters.evm_store import LogRow
from services.sn.adapters.evm_votes import Vote

Json = dict[str, Any]

BLOOM_BYTES = 256
HASHED = 32
"""Trie nodes of fewer bytes have no hash: they are part of the node above."""
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
    """The receipt of a transaction on the canonical chain, or None."""
    try:
        number, place = chain.get_canonical_transaction_index(transaction_hash)
    except TransactionNotFound:
        return None
    receipts = block_receipts(chain, chain.get_canonical_block_header_by_number(number), place)
    return receipts[0] if receipts else None


def block_receipts(
    chain: SwarmChain, header: BlockHeaderAPI, only: int | None = None
) -> list[Json]:
    """The receipts of a canonical block's transactions, in order; none of another block.

    A failed one has ``revertReason`` (as Besu's receipts do) where this process executed it.

    Args:
        chain: where to read.
        header: of the block.
        only: leave out all but the transaction with this index.
    """
    if chain.get_canonical_block_hash(header.block_number) != header.hash:
        return []
    block = chain.get_block_by_header(header)
    logs: dict[bytes, list[Json]] = {}
    for row in chain.store.logs(header.block_number, header.block_number):
        logs.setdefault(row.tx, []).append(log_view(row, header.timestamp))
    views: list[Json] = []
    used = 0
    receipts = block.get_receipts(chain.chaindb)
    for place, (sent, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
        if only is None or place == only:
            view = _receipt_view(chain, header, place, sent, receipt)
            view["gasUsed"], view["logs"] = hex(receipt.gas_used - used), logs.get(sent.hash, [])
            views.append(view)
        used = receipt.gas_used
    return views


def _receipt_view(
    chain: SwarmChain,
    header: BlockHeaderAPI,
    place: int,
    sent: SignedTransactionAPI,
    receipt: ReceiptAPI,
) -> Json:
    succeeded = receipt.state_root == b"\x01"
    created = None if sent.to else generate_contract_address(sent.sender, sent.nonce)
    view: Json = {
        "transactionHash": hexed(sent.hash),
        "transactionIndex": hex(place),
        "blockHash": hexed(header.hash),
        "blockNumber": hex(header.block_number),
        "from": to_checksum_address(sent.sender),
        "to": to_checksum_address(sent.to) if sent.to else None,
        "contractAddress": to_checksum_address(created) if created else None,
        "cumulativeGasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": "0x0",
        "type": hex(getattr(sent, "type_id", None) or 0),
        "status": "0x1" if succeeded else "0x0",
        "logsBloom": _bloom(receipt),
    }
    if not succeeded and sent.hash in chain.reverts:
        view["revertReason"] = hexed(chain.reverts[sent.hash])
    return view


def _bloom(carrier: BlockHeaderAPI | ReceiptAPI) -> str:
    return hexed(carrier.bloom.to_bytes(BLOOM_BYTES, "big"))


def transaction_at(chain: SwarmChain, header: BlockHeaderAPI, place: int) -> Json | None:
    """The transaction with this index in a block, or None."""
    transactions = chain.get_block_by_header(header).transactions
    if not 0 <= place < len(transactions):
        return None
    return transaction_view(transactions[place], chain.chain_id, header, place)


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


def snapshot_view(header: BlockHeaderAPI, snapshot: Snapshot) -> Json:
    """Who may seal after a block, and the votes under way, as geth shows them."""
    return {
        "number": header.block_number,
        "hash": hexed(header.hash),
        "signers": {to_checksum_address(signer): {} for signer in snapshot.get_sorted_signers()},
        "votes": [
            {
                "signer": to_checksum_address(vote.signer),
                "block": vote.block_number,
                "address": to_checksum_address(vote.subject),
                "authorize": vote.action is VoteAction.NOMINATE,
            }
            for vote in sorted(snapshot.votes)
        ],
        "tally": {
            to_checksum_address(subject): {
                "authorize": tally.action is VoteAction.NOMINATE,
                "votes": tally.votes,
            }
            for subject, tally in snapshot.tallies.items()
        },
    }


def proof_view(
    chain: SwarmChain, header: BlockHeaderAPI, address: Address, slots: Sequence[int]
) -> Json:
    """An account and some of its storage, with Merkle proofs under the block's state root."""
    accounts = HexaryTrie(chain.store, header.state_root)
    found = accounts.get(keccak(address))
    account: Account = rlp.decode(found, sedes=Account) if found else Account()
    storage = HexaryTrie(chain.store, account.storage_root)
    return {
        "address": to_checksum_address(address),
        "balance": hex(account.balance),
        "nonce": hex(account.nonce),
        "codeHash": hexed(account.code_hash),
        "storageHash": hexed(account.storage_root),
        "accountProof": _proof(accounts, keccak(address)),
        "storageProof": [_slot_proof(storage, slot) for slot in slots],
    }


def _slot_proof(storage: HexaryTrie, slot: int) -> Json:
    key = keccak(slot.to_bytes(32, "big"))
    found = storage.get(key)
    value = rlp.decode(found, sedes=rlp.sedes.big_endian_int) if found else 0
    return {"key": hex(slot), "value": hex(value), "proof": _proof(storage, key)}


def _proof(trie: HexaryTrie, key: bytes) -> list[str]:
    """The nodes on the way to ``key``; short ones are part of the node above."""
    nodes = [rlp.encode(node) for node in trie.get_proof(key)]  # type: ignore[no-untyped-call]
    return [hexed(node) for place, node in enumerate(nodes) if place == 0 or len(node) >= HASHED]


def certificate_view(header: BlockHeaderAPI, votes: Sequence[Vote], genesis: bytes) -> Json:
    """The votes that made a block final; all of them are of one ballot."""
    return {
        "number": hex(header.block_number),
        "hash": hexed(header.hash),
        "ballot": hex(votes[0].accepted.ballot),
        "votes": [
            {
                "signer": to_checksum_address(vote.signer(genesis)),
                "signature": hexed(vote.signature),
            }
            for vote in votes
        ],
    }
