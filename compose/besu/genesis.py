"""The genesis block of a QBFT chain without gas fees. Pure.

Sources: Besu documentation, "Configure QBFT consensus", "Configure free gas networks", "Genesis
file items". All nodes need the same file; changing it afterwards makes another chain.
"""

from collections.abc import Iterable
from typing import Any

import rlp

from compose.besu.network import Network

VANITY = bytes(32)
MIX_HASH = "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365"
"""Marks a block of the Istanbul family ("practical byzantine fault tolerance")."""
GAS_LIMIT = 0x1FFFFFFFFFFFFF
"""Of a block: out of the way. One of our transactions may take 15,000,000."""
EPOCH = 30_000
"""Blocks after which pending votes on validators lapse; Besu's own example value."""
ZERO_HASH = f"0x{bytes(32).hex()}"


def genesis(network: Network) -> dict[str, Any]:
    """The content of ``genesis.json``."""
    period = network.options.block_seconds
    return {
        "config": {
            "chainId": network.chain_id,
            # All opcodes of our contracts are London's. Later forks bring BFT chains nothing but
            # fields for withdrawals, over which Besu's QBFT stumbled in several releases.
            "londonBlock": 0,
            # Without it London would charge a base fee, and accounts would need a balance.
            "zeroBaseFee": True,
            "qbft": {
                "blockperiodseconds": period,
                "epochlength": EPOCH,
                "requesttimeoutseconds": 2 * period,
            },
        },
        "nonce": "0x0",
        "timestamp": "0x0",
        "extraData": extra_data(each.key.account for each in network.validators),
        "gasLimit": hex(GAS_LIMIT),
        "difficulty": "0x1",
        "mixHash": MIX_HASH,
        "coinbase": f"0x{bytes(20).hex()}",
        # Nobody owns anything: gas is free.
        "alloc": {},
        "number": "0x0",
        "gasUsed": "0x0",
        "parentHash": ZERO_HASH,
    }


def extra_data(validators: Iterable[bytes]) -> str:
    """RLP of vanity, validators in ascending order, no vote, round 0, no seals; as hex."""
    return f"0x{rlp.encode([VANITY, sorted(validators), [], b'', []]).hex()}"
