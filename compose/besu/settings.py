"""What Besu is told: ``config.toml``, static nodes, who may connect. Pure.

Source of each option: Besu documentation, "Configuration options" and "Private network
configuration options". Paths that are not named here stay at their defaults in the data folder:
``key``, ``static-nodes.json``, ``permissions_config.toml``.
"""

import json

from compose.besu.network import P2P_PORT, RPC_PORT, Network

Value = bool | int | float | str | list[str]

CONFIG_FOLDER = "/etc/besu"
"""In a container: what all validators share, read-only."""
DATA_FOLDER = "/var/lib/besu"
"""In a container: key and database. Not /opt/besu: a volume there keeps the image from starting."""
APIS = ["ETH", "NET", "WEB3"]
"""An SN calls ETH and WEB3. Not QBFT: who reached it could vote on validators."""
STATE_BLOCKS = 2_048
"""How many blocks back state can be read. An SN asks why a transaction was refused a block or two
after it; this leaves it half an hour."""
LOG_BLOCKS = 5_000
"""Most blocks that one request for logs may span; an SN asks for 2,000."""

_SECTIONS: dict[str, dict[str, Value]] = {
    "Chain. FULL executes every block, so that all receipts and logs are kept.": {
        "genesis-file": f"{CONFIG_FOLDER}/genesis.json",
        "data-path": DATA_FOLDER,
        "sync-mode": "FULL",
        "sync-min-peers": 1,
        "data-storage-format": "BONSAI",
        "bonsai-historical-block-limit": STATE_BLOCKS,
        "bonsai-limit-trie-logs-enabled": False,
    },
    "Links. Only the validators of this network, which are all in static-nodes.json.": {
        "p2p-port": str(P2P_PORT),
        "discovery-enabled": False,
        "permissions-nodes-config-file-enabled": True,
        "remote-connections-limit-enabled": False,
    },
    "No gas fees. Every node must say so, or it drops the transactions in silence.": {
        "min-gas-price": 0,
        "tx-pool-min-gas-price": "0",
    },
    "Pending transactions. By default one account gets a thousandth of the pool.": {
        "tx-pool": "sequenced",
        "tx-pool-limit-by-account-percentage": 1.0,
        "tx-pool-no-local-priority": True,
    },
    "JSON-RPC, for SNs. Refusals of our contracts are in the receipts.": {
        "rpc-http-enabled": True,
        "rpc-http-host": "0.0.0.0",  # noqa: S104 - in a container, on a network of its own
        "rpc-http-port": str(RPC_PORT),
        "rpc-http-api": APIS,
        "rpc-max-logs-range": LOG_BLOCKS,
        "revert-reason-enabled": True,
    },
}


def config_toml(network: Network) -> str:
    """The settings that all validators share."""
    lines = ["# Besu, for every validator. Made by python -m compose.besu; see docs/besu.md."]
    for title, options in _SECTIONS.items():
        lines += ["", f"# {title}", *(_line(name, value) for name, value in options.items())]
    hosts = ["localhost", "127.0.0.1", *(each.name for each in network.validators)]
    lines += [
        "# Names by which clients call the nodes; not a protection.",
        _line("host-allowlist", hosts),
    ]
    return "\n".join(lines) + "\n"


def static_nodes(network: Network) -> str:
    """Whom every validator links to."""
    return json.dumps([each.enode for each in network.validators], indent=1) + "\n"


def permissions_toml(network: Network) -> str:
    """Whom every validator lets in."""
    return _line("nodes-allowlist", [each.enode for each in network.validators]) + "\n"


def _line(name: str, value: Value) -> str:
    return f"{name}={json.dumps(value, separators=(',', ':'))}"  # what we write is TOML as well
