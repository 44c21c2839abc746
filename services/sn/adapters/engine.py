"""What an SN needs of the chain under it; fulfilled by the embedded chain and by external clients.

:class:`Engine` is what reading and writing the chain needs, :class:`SwarmEngine` what the SN as a
whole needs on top.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from services.sn.adapters.account import SwarmAccount
from services.sn.adapters.p2p_link import Peer
from services.sn.adapters.site import Site


class Provider(Protocol):
    """Answers JSON-RPC; web3's providers are of this form."""

    async def make_request(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]:
        """An answer with ``result`` or ``error``.

        Raises:
            ChainUnavailableError: nobody answers.
        """
        ...


class Engine(Protocol):
    """A chain that answers JSON-RPC, and one account on it."""

    @property
    def provider(self) -> Provider:
        """Answers JSON-RPC."""
        ...

    @property
    def account(self) -> SwarmAccount:
        """This SN's signing key."""
        ...

    @property
    def chain_id(self) -> int:
        """Goes into every transaction."""
        ...

    @property
    def genesis_signer(self) -> str:
        """Account that deploys the system contracts."""
        ...

    @property
    def first_nonce(self) -> int:
        """Number of the transaction that deploys the first of them; the second follows it."""
        ...

    @property
    def first_block(self) -> int:
        """No earlier block holds anything of this swarm."""
        ...

    @property
    def final(self) -> str:
        """JSON-RPC's tag of the newest block that counts, e.g. ``latest``."""
        ...

    @property
    def orderly(self) -> bool:
        """Whether requests are served in the order in which they are made."""
        ...

    async def wait_for_head(self, after: bytes) -> bytes:
        """The hash of the newest block that counts, once it differs from ``after``."""
        ...

    @property
    def cut_off(self) -> bool:
        """Whether no write can get into the chain here, as far as is known."""
        ...

    def status(self) -> str:
        """What it does or waits for, in words."""
        ...


class SwarmEngine(Engine, Protocol):
    """The engine of a whole SN."""

    @property
    def ready(self) -> asyncio.Event:
        """Set once there is a chain to read."""
        ...

    @property
    def origin(self) -> str:
        """What this SN's uid is made from: unlike any other SN's, the same after a restart."""
        ...

    @property
    def genesis(self) -> str:
        """Hash of block 0, ``0x`` hex, of a chain of our own; empty on an external one."""
        ...

    @property
    def site(self) -> Site | None:
        """Where the swarm is on an external chain, once ``ready``; None: the chain is our own."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    async def close(self) -> None:
        """Give the data folder back; harmless to repeat. Cancel :meth:`run` first."""
        ...

    async def introduce(self, sns: Callable[[], list[str]]) -> None:
        """Have the SNs at these API endpoints let this one write; repeats until cancelled."""
        ...

    def peers(self) -> list[Peer]:
        """The other SNs that this one has a live link to."""
        ...

    def p2p(self) -> list[str]:
        """``host:port`` of SNs to link to, this one first; none where SNs have no links."""
        ...

    async def rpc(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """A JSON-RPC answer without its id; only for methods that change nothing."""
        ...
