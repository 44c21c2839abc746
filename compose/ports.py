"""Choosing TCP ports on loopback."""

import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from compose.plan import LOOPBACK, Ports
from services.common.errors import ConfigError

FREE_CHOICE = range(20_000, 32_000)
"""Ports to choose from: below those that systems give to outgoing connections, any of which could
take a chosen port in the moment before its service listens."""
TRIES = 200


def choose(
    nodes: int, *, license_port: int = 0, sn_p2p: int = 0, sn_api: int = 0, sl: Sequence[int] = ()
) -> Ports:
    """Ports for a swarm of ``nodes`` pairs; 0, or none given, means any free one.

    All are held open together until the last is chosen, so that no two are the same.

    Raises:
        ConfigError: a given port is taken or no port number.
    """
    if sl and len(sl) != nodes:
        raise ConfigError(f"{len(sl)} SL ports for {nodes} nodes: give one for each")
    with ExitStack() as held:
        wanted = [
            (license_port, "the license server"),
            (sn_p2p, "the SN's p2p"),
            (sn_api, "the SN's API"),
            *((port, f"sl-{i}") for i, port in enumerate(sl or [0] * nodes, start=1)),
        ]
        got = [_bind(held, port, what) for port, what in wanted]
    return Ports(got[0], got[1], got[2], tuple(got[3:]))


def _bind(held: ExitStack, port: int, what: str) -> int:
    if not port:
        return _bind_any(held, what)
    try:
        _listen(held, port)
    except (OSError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "a port is from 1 to 65535"
        raise ConfigError(
            f"port {port} for {what} cannot be used ({reason}): stop what uses it or give another"
        ) from exc
    return port


def _bind_any(held: ExitStack, what: str) -> int:
    dice = random.SystemRandom()
    for _ in range(TRIES):
        port = dice.choice(FREE_CHOICE)
        try:
            _listen(held, port)
        except OSError:
            continue
        return port
    raise ConfigError(f"no free port for {what} from {FREE_CHOICE[0]} to {FREE_CHOICE[-1]}")


def _listen(held: ExitStack, port: int) -> None:
    sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services do
    sock.bind((LOOPBACK, port))
    sock.listen(1)
