"""What one SN lacks of another's chain: locators and the blocks that follow them.

A locator lists hashes of one's own chain, newest first and ever sparser. Whoever gets it finds the
newest block that both have and sends the final ones that follow, with their certificates: the same
question serves a first sync and catching up. Runs on the chain's thread.
"""

from collections.abc import Sequence

import rlp
from eth.exceptions import HeaderNotFound
from eth_typing import BlockNumber, Hash32

from services.sn.adapters.evm_chain import SwarmChain
from services.sn.adapters.evm_decisions import Decisions
from services.sn.adapters.evm_votes import encode_votes
from services.sn.adapters.p2p_messages import MAX_BLOCKS, MAX_BLOCKS_BYTES

DENSE = 8
"""How many of the newest blocks a locator lists one by one."""


def locator(chain: SwarmChain, final: int) -> list[bytes]:
    """Where this chain stands.

    Args:
        chain: this SN's.
        final: number of its newest final block.
    """
    hashes: list[bytes] = []
    number, step = final, 1
    while number > 0:
        hashes.append(chain.get_canonical_block_hash(BlockNumber(number)))
        if len(hashes) > DENSE:
            step *= 2
        number -= step
    hashes.append(chain.get_canonical_block_hash(BlockNumber(0)))
    return hashes


def blocks_after(decisions: Decisions, chain: SwarmChain, hashes: Sequence[bytes]) -> list[bytes]:
    """The final blocks that follow the first of ``hashes`` that is canonical here.

    Returns:
        Block (RLP), its certificate, the next block, and so on.
    """
    found: list[bytes] = []
    size = 0
    for number in range(_common(chain, hashes) + 1, decisions.final.block_number + 1):
        raw = rlp.encode(chain.get_canonical_block_by_number(BlockNumber(number)))
        votes = encode_votes(decisions.certificate(number))
        found += [raw, votes]
        size += len(raw) + len(votes)
        if len(found) >= 2 * MAX_BLOCKS or size >= MAX_BLOCKS_BYTES:
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
