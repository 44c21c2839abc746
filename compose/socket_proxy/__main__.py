"""``python -m compose.socket_proxy --listen SOCKET --root FOLDER``."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from compose.socket_proxy.daemon import Daemon
from compose.socket_proxy.gate import Gate
from compose.socket_proxy.roots import Roots
from compose.socket_proxy.seal import Seal, read_key
from compose.socket_proxy.server import Server
from services.common import logs, process
from services.common.errors import ConfigError

log = logging.getLogger("swarm.socket-proxy")


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m compose.socket_proxy",
        description="Gives a SWOP the part of the Docker socket that it needs.",
    )
    parser.add_argument("--listen", type=Path, required=True, help="socket to make, for SWOP")
    parser.add_argument(
        "--upstream", type=Path, default=Path("/var/run/docker.sock"), help="Docker's socket"
    )
    parser.add_argument(
        "--root", type=Path, action="append", default=[],
        help="folder that containers may mount, with all below it; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--volume", action="append", default=[],
        help="volume made by others that containers may mount, e.g. sl-cli-lib; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--inspect", action="append", default=[],
        help="container that may be looked at besides SWOP's own work: SWOP itself",
    )  # fmt: skip
    parser.add_argument("--group", type=int, help="group id that may use the socket")
    parser.add_argument(
        "--key", type=Path, default=Path("/var/lib/swarm-socket-proxy/key"),
        help="file with the secret that marks what SWOP made; is made when missing",
    )  # fmt: skip
    return parser.parse_args(given)


async def serve(options: argparse.Namespace) -> None:
    """Listen until cancelled.

    Raises:
        ConfigError: an option is wrong.
    """
    try:
        roots = Roots(options.root)
        seal = Seal(read_key(options.key))
        daemon = Daemon(options.upstream)
        gate = Gate(daemon, seal, roots, frozenset(options.volume), frozenset(options.inspect))
        server = Server(gate, daemon)
        async with server.listening(options.listen, 0o660, options.group):
            log.info("Docker socket proxy listening on %s for %s", options.listen, options.upstream)
            await asyncio.Event().wait()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot start: {error}") from error


if __name__ == "__main__":
    logs.configure()
    process.run("socket proxy", lambda: serve(arguments(sys.argv[1:])))
