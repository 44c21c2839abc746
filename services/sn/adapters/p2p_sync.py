"""What one SN lacks of another's chain: locators and the blocks that follow them.

A locator lists hashes of one's own chain, newest first and ever sparser. Whoever gets it finds the
newest block that both have and sends what follows: the same question serves a first sync, catching
up, and a fork. Runs on the chain's thread.
"""

from collections.abc import Sequence

import rlp
from eth.exceptions import HeaderNotFound
from eth_typing import BlockNumber, Hash32

from services.sn.adapters.evm_chain import SwarmChain
from services.sn.adapters.p2p_messages import MAX_BLOCKS, MAX_BLOCKS_BYTES

DENSE = 8
"""How many of the newest blocks a locator lists one by one."""


def locator(chain: SwarmChain, last: bytes = b"") -> list[bytes]:
    """Where this chain stands.

    Args:
        chain: this SN's.
        last: newest block got in a sync in progress, canonical here or not.
    """
    hashes: list[bytes] = [last] if last else []
    number, step = int(chain.head.block_number), 1
    while number > 0:
        hashes.append(chain.get_canonical_block_hash(BlockNumber(number)))
        if len(hashes) > DENSE:
            step *= 2
        number -= step
    hashes.append(chain.get_canonical_block_hash(BlockNumber(0)))
    return hashes


def blocks_after(chain: SwarmChain, hashes: Sequence[bytes]) -> list[bytes]:
    """The canonical blocks (RLP) that follow the first of ``hashes`` that is canonical here."""
    head = chain.head.block_number
    found: list[bytes] = []
    size = 0
    for number in range(_common(chain, hashes) + 1, head + 1):
        raw = rlp.encode(chain.get_canonical_block_by_number(BlockNumber(number)))
        found.append(raw)
        size += len(raw)
        if len(found) >= MAX_BLOCKS or size >= MAX_BLOCKS_BYTES:
            break
    return found


def _common(chain: SwarmChain, hashes: Sequence[bytes]) -> int:
    for block_hash in hashes:
        if len(block_hash) != 32:
            continue
        try:
            number = chain.get_block_header_by_hash(Hash32(block_hash)).block_number
            if chain.get_canonical_block_hash(number) == block_hash:
                return number
        except HeaderNotFound:
            continue
    return 0


def head_block(chain: SwarmChain) -> bytes | None:
    """The newest block (RLP), or None where there is only the genesis block."""
    header = chain.head
    return None if header.block_number == 0 else rlp.encode(chain.get_block_by_header(header))
