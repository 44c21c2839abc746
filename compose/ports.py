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
    nodes: int, sns: int = 1, *, license_port: int = 0, sn_p2p: Sequence[int] = (),
    sn_api: Sequence[int] = (), sl: Sequence[int] = (),
) -> Ports:  # fmt: skip
    """Ports for a swarm of ``nodes`` pairs and ``sns`` SNs; 0, or none given, means any free one.

    All are held open together until the last is chosen, so that no two are the same.

    Raises:
        ConfigError: a given port is taken or no port number, or not every node got one.
    """
    for option, given, count in (
        ("--sn-p2p-port", sn_p2p, sns),
        ("--sn-api-port", sn_api, sns),
        ("--sl-port", sl, nodes),
    ):
        if given and len(given) != count:
            what = "SN" if option.startswith("--sn") else "SL"
            raise ConfigError(f"{len(given)} {option} for {count} {what}s: give one for each")
    with ExitStack() as held:

        def bind_all(ports: Sequence[int], count: int, what: str) -> tuple[int, ...]:
            numbered = enumerate(ports or [0] * count, start=1)
            return tuple(_bind(held, port, what.format(i)) for i, port in numbered)

        return Ports(
            _bind(held, license_port, "the license server"),
            bind_all(sn_p2p, sns, "the p2p of sn-{}"),
            bind_all(sn_api, sns, "the API of sn-{}"),
            bind_all(sl, nodes, "sl-{}"),
        )


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
