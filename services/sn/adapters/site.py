"""Where a swarm is on an Ethereum chain that serves others, too, and the data folder's memory.

On a chain of our own the genesis block says who deployed the system contracts, and they are that
account's first transactions. On an external chain the sentinel decides it, remembers it before it
deploys anything, and tells the other SNs.
"""

import json
import secrets
from pathlib import Path
from typing import Annotated

import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import ConfigError
from services.common.whole_file import write_whole

MEMORY = "external-chain.json"
LARGEST = (1 << 64) - 1

Account = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
Number = Annotated[int, Field(ge=0, le=LARGEST)]


class Site(BaseModel):
    """Which chain, and which contracts on it."""

    model_config = ConfigDict(frozen=True)

    chain_id: Number
    genesis: str = Field(pattern="^[0-9a-f]{64}$")
    """Hash of block 0."""
    deployer: Account
    """The sentinel's account."""
    nonce: Number
    """Number of its transaction that deploys the SwarmRegistry; NodeRegistry's is the next."""
    first_block: Number
    """The chain's head when this was decided; no earlier block matters."""

    def addresses(self) -> tuple[str, str]:
        """Of SwarmRegistry and NodeRegistry."""
        return deployed_at(self.deployer, self.nonce), deployed_at(self.deployer, self.nonce + 1)


class Memory(BaseModel):
    """What the data folder remembers of an external chain."""

    model_config = ConfigDict(frozen=True)

    origin: str
    """Random text; the SN's uid is made from it."""
    site: Site | None = None
    deployed: bool = False
    """Whether the contracts are known to be there; until then the site is a plan."""


def deployed_at(account: str, nonce: int) -> str:
    """Address of the contract that an account's transaction number ``nonce`` deploys."""
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(account[2:]), nonce]))[12:])


def recall(folder: Path) -> Memory:
    """What the folder remembers, or a new memory.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / MEMORY
    try:
        if not path.exists():
            return Memory(origin=secrets.token_hex(16))
        return Memory.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise ConfigError(
            f"cannot use {path}: {exc}. Restore it from a copy, or, if other SNs are in the swarm, "
            "remove it and name one of them (SENTINEL_NODE_IP): it knows the same"
        ) from exc


def remember(folder: Path, memory: Memory) -> None:
    """Keep the memory, whole and durably, before anything is done that follows from it.

    Raises:
        ConfigError: it cannot be written.
    """
    path = folder / MEMORY
    try:
        write_whole(path, json.dumps(memory.model_dump(), indent=1).encode(), 0o644)
    except OSError as exc:
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc
