"""Make a network of Hyperledger Besu validators (QBFT, gas free) that SNs can use as their chain.

    python -m compose.besu DIR                         four validators, a new chain
    python -m compose.besu DIR --validators 7          goes on without two of them

DIR must be new or empty. It gets compose files, genesis block, settings and keys; start it with
`docker compose up -d` in DIR. It holds private keys: keep it out of every repository. docs/besu.md
says how SNs use it, how it grows, and what of it was never tried.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compose.besu import folder
from compose.besu.network import Network, Options
from services.common.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (0, or 2: nothing was written)."""
    given = _parser().parse_args(arguments)
    options = Options(
        given.validators, given.chain_id, given.block_seconds, given.subnet, given.rpc_port
    )  # fmt: skip
    try:
        network = Network.make(options)
        folder.write(network, given.folder)
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"chain {network.chain_id}, blocks every {options.block_seconds} s")
    for validator in network.validators:
        print(f"{validator.name}  {validator.address}  {validator.key.address}")
    print(f"keys are in {given.folder}: keep it private")
    print(f"next: cd {given.folder} && docker compose up -d")
    return 0


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m compose.besu", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )  # fmt: skip
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="new or empty folder")
    add("--validators", type=int, default=default.validators, help="4 (default) to 32")
    add("--chain-id", type=int, default=default.chain_id, help="default: a random one")
    add(
        "--block-seconds", type=int, default=default.block_seconds,
        help="time between blocks (default 1)",
    )  # fmt: skip
    add("--subnet", default=default.subnet, help=f"of the containers (default {default.subnet})")
    add(
        "--rpc-port", type=int, default=default.rpc_port,
        help=f"first of the ports on 127.0.0.1 in compose.rpc.yaml (default {default.rpc_port})",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
