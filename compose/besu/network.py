"""What a network consists of: its validators, where each one is, who uses it. Pure."""

import ipaddress
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from compose.besu.keys import Entropy, Key
from services.common.errors import ConfigError

MIN_VALIDATORS = 4
"""The fewest among which one may fail in any way, lie included."""
MAX_VALIDATORS = 32
"""Our choice: every validator talks to every other one."""
CHAIN_IDS = range(1, 2**31)
"""Our choice: what every tool takes for an ordinary number."""
BLOCK_SECONDS = range(1, 61)
FIRST_HOST = 11
"""Number of the first validator's address in the subnet; the engine takes low ones itself."""
P2P_PORT = 30303
RPC_PORT = 8545


@dataclass(frozen=True, slots=True)
class Options:
    """What a network may differ in."""

    validators: int = MIN_VALIDATORS
    chain_id: int = 0
    """0: one at random, so that no transaction of one swarm is valid in another."""
    block_seconds: int = 1
    """Time between blocks. A round of training waits for about five."""
    subnet: str = "172.30.87.0/24"
    """Network of the validators' containers; must be free on the host."""
    rpc_port: int = 18545
    """Port on 127.0.0.1 for the first validator's JSON-RPC where it is published; then upwards."""


@dataclass(frozen=True, slots=True)
class Validator:
    """One Besu node."""

    index: int
    """From 1."""
    key: Key
    address: str
    """IP address in the subnet."""

    @property
    def name(self) -> str:
        """Service, host and folder name."""
        return f"besu-{self.index}"

    @property
    def enode(self) -> str:
        """URL for the other nodes. An IP address: names in enode URLs are experimental in Besu."""
        return self.key.enode(self.address, P2P_PORT)


@dataclass(frozen=True, slots=True)
class Network:
    """Everything that the files are made from."""

    options: Options
    chain_id: int
    validators: tuple[Validator, ...]
    sns: tuple[Key, ...]
    """Account of each SN, one SN for each validator."""

    @classmethod
    def make(cls, options: Options, entropy: Entropy = secrets.token_bytes) -> "Network":
        """Make keys for a network.

        Args:
            options: of the network.
            entropy: source of all that is random; equal bytes give an equal network.

        Raises:
            ConfigError: an option is out of its bounds.
        """
        addresses = _addresses(options)
        chain_id = options.chain_id or 1 + int.from_bytes(entropy(8)) % (CHAIN_IDS.stop - 1)
        validators = tuple(
            Validator(index, Key.make(entropy), address)
            for index, address in enumerate(addresses, start=1)
        )
        return cls(options, chain_id, validators, tuple(Key.make(entropy) for _ in validators))

    @property
    def quorum(self) -> int:
        """How many validators must sign a block: two thirds, rounded up."""
        return math.ceil(2 * len(self.validators) / 3)


def _addresses(options: Options) -> Sequence[str]:
    """An address for each validator; all options are checked here."""
    _within("--validators", options.validators, range(MIN_VALIDATORS, MAX_VALIDATORS + 1))
    if options.chain_id:
        _within("--chain-id", options.chain_id, CHAIN_IDS)
    _within("--block-seconds", options.block_seconds, BLOCK_SECONDS)
    _within("--rpc-port", options.rpc_port, range(1, 65537 - options.validators))
    try:
        subnet = ipaddress.IPv4Network(options.subnet)
    except ValueError as exc:
        raise ConfigError(f"--subnet {options.subnet}: {exc}") from exc
    stop = FIRST_HOST - 1 + options.validators
    found = [str(host) for host in islice(subnet.hosts(), FIRST_HOST - 1, stop)]
    if len(found) < options.validators:
        raise ConfigError(f"--subnet {options.subnet} is too small for {options.validators}")
    return found


def _within(name: str, value: int, bounds: range) -> None:
    if value not in bounds:
        raise ConfigError(f"{name} {value}: from {bounds.start} to {bounds.stop - 1}")
