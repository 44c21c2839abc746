"""Any Ethereum client as the chain under an SN, by JSON-RPC over HTTP (``SN_CHAIN=rpc``).

The client belongs to somebody else: it may be away, come back, lag behind, or be another one than
yesterday's. This module waits for it, says so, and refuses a chain that is not the swarm's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from services.common.errors import ChainUnavailableError, ConfigError, RemoteError
from services.common.tls import Identity
from services.sn.adapters import admission
from services.sn.adapters.account import account_from, account_of
from services.sn.adapters.deployment import Deployment, require_contracts
from services.sn.adapters.evm_store import DATABASE, KEY, lock_folder
from services.sn.adapters.json_rpc import METHOD_NOT_FOUND, READ_METHODS, SERVER_ERROR
from services.sn.adapters.p2p_link import Peer
from services.sn.adapters.requests import ask, plain_hex, plain_int
from services.sn.adapters.rpc_client import (
    Facts,
    facts_of,
    require_free_gas,
    require_same_chain,
)
from services.sn.adapters.rpc_provider import NotEthereumError, RpcProvider
from services.sn.adapters.site import Site, recall, remember

log = logging.getLogger("swarm.chain")

PATIENCE = 600.0
"""Seconds that a starting SN waits for its client, also while that catches up with the chain."""
RETRY_S = 1.0
TELL_EVERY = 10.0
"""Seconds between two log lines about the same trouble."""
POLL_S, QUICK_POLL_S = 0.25, 0.02
"""Pauses between two looks at the head: at rest, and just after we sent something."""
SLOWER = 1.5
ADMISSION_S = 2.0
"""Pause between two requests to be let write."""

T = TypeVar("T")
Learn = Callable[[], Awaitable[Site]]


class RpcChain:
    """An Ethereum client and this SN's account on its chain. Use :meth:`open`."""

    def __init__(
        self,
        folder: Path,
        lock: IO[str],
        provider: RpcProvider,
        identity: Identity,
        key_file: Path | None,
    ) -> None:
        self.memory = recall(folder)
        self.account = (
            account_from(key_file)
            if key_file is not None
            else account_of(folder / KEY, may_make=self.memory.site is None)
        )
        """This SN's signing key."""
        self.provider = provider
        """Answers JSON-RPC."""
        self.ready = asyncio.Event()
        """Set once the client is there and the swarm's contracts are on its chain."""
        self.final = "latest"
        """JSON-RPC's tag of the newest block that counts."""
        self.orderly = False
        """Requests over several connections may overtake each other."""
        self.genesis = ""
        """The chain is not our own; ``site`` tells it from others."""
        self._folder = folder
        self._lock = lock
        self._identity = identity
        self._away_since: float | None = None
        self._told = float("-inf")
        self._problem = "not asked yet"
        self._head = b""
        self._moved = asyncio.Event()
        self._pause = POLL_S

    @classmethod
    async def open(
        cls,
        folder: Path,
        url: str,
        *,
        identity: Identity,
        key_file: Path | None = None,
        learn: Learn | None = None,
    ) -> "RpcChain":
        """Take the data folder; the client is asked in :meth:`run`.

        Args:
            folder: data folder of this SN alone.
            url: of the client, with user and password where it wants them.
            identity: of this SN, to show to the others.
            key_file: the account's key, where it is not kept in the folder.
            learn: asks another SN where the swarm is, if the folder does not know; None: this is
                the sentinel, which decides it.

        Raises:
            ConfigError: folder, URL or key cannot be used.
        """
        provider = RpcProvider(url)
        lock = lock_folder(folder)
        try:
            _refuse_embedded(folder)
            self = cls(folder, lock, provider, identity, key_file)
            remember(folder, self.memory)
            if self.memory.site is None and learn is not None:
                told = {"site": await learn(), "deployed": True}
                self.memory = self.memory.model_copy(update=told)  # kept once it proved right
        except BaseException:
            lock.close()
            raise
        return self

    # --- running --------------------------------------------------------------------------

    async def run(self) -> None:
        """Find the contracts (the sentinel: deploy them), then follow the head until cancelled.

        Raises:
            ConfigError: the client does not fit, or its chain is not the swarm's.
            RemoteError: it did not come up in time.
        """
        await self._patiently(self._check_client)
        if not self.memory.deployed:
            await self._deploy()
        await self._patiently(self._check_site)
        log.info(
            "chain %d by the Ethereum client at %s, account %s",
            self.chain_id, self.provider.name, self.account.address,
        )  # fmt: skip
        await self._patiently(self._look)
        self.ready.set()
        while True:
            await self._wait_a_little()
            try:
                if self._away_since is not None:
                    await self._check_client()
                    await self._check_site()
                await self._look()
            except ChainUnavailableError as exc:
                self._complain(exc)
            else:
                self._answers()

    async def close(self) -> None:
        """Give the folder back; harmless to repeat. Cancel :meth:`run` first."""
        await self.provider.disconnect()
        self._lock.close()

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while True:
            try:
                result = await attempt()
            except ChainUnavailableError as exc:
                if loop.time() >= give_up:
                    raise RemoteError(f"{exc}; gave up after {PATIENCE:.0f} s") from exc
                self._complain(exc)
                await asyncio.sleep(RETRY_S)
            else:
                self._answers()
                return result

    def _complain(self, exc: ChainUnavailableError) -> None:
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since, self._told = now, float("-inf")
        self._problem = str(exc)
        if now - self._told >= TELL_EVERY:
            self._told = now
            log.warning("%s (for %.0f s now). Trying again", exc, now - self._away_since)

    def _answers(self) -> None:
        self._problem = ""
        if self._away_since is not None:
            away = asyncio.get_running_loop().time() - self._away_since
            self._away_since = None
            log.warning(
                "the Ethereum client at %s answers again, after %.0f s", self.provider.name, away
            )

    # --- what the client must be ----------------------------------------------------------

    async def _check_client(self) -> None:
        """See that the client fits and is on the chain that we know.

        Raises:
            ConfigError: it does not, or is not.
            ChainUnavailableError: it does not answer.
        """
        try:
            facts = await facts_of(self.provider, self.final)
        except NotEthereumError as exc:
            if self.ready.is_set():  # it was one before: it starts, or a proxy answers for it
                raise
            raise ConfigError(str(exc)) from exc
        require_free_gas(facts)
        if not self.memory.deployed and not self._has_plan():
            await self._plan(facts)
        require_same_chain(facts, self._site())

    async def _check_site(self) -> None:
        """See that the contracts are on the chain.

        Raises:
            ConfigError: others are.
            ChainUnavailableError: they are not there, or not yet.
        """
        await require_contracts(self.provider, self._site(), self.provider.name)
        self._keep(deployed=True)

    # --- the sentinel's part --------------------------------------------------------------

    def _has_plan(self) -> bool:
        """Whether it is decided where the contracts will be, for the account that we have now."""
        site = self.memory.site
        return site is not None and site.deployer == self.account.address

    async def _plan(self, facts: Facts) -> None:
        """Decide where the contracts will be, and remember it before anything is sent."""
        account = self.account.address
        nonce = await ask(self.provider, "eth_getTransactionCount", account, "pending")
        site = Site(
            chain_id=facts.chain_id, genesis=facts.genesis, deployer=account,
            nonce=plain_int(nonce), first_block=facts.head,
        )  # fmt: skip
        self._keep(site=site, deployed=False)

    async def _deploy(self) -> None:
        """Deploy by the plan; by a new one where other transactions took its numbers."""
        while not await self._patiently(Deployment(self, self._site()).go_on):
            log.warning("another program used the account's numbers: deploying again")
            self._keep(site=None)
            await self._patiently(self._check_client)

    def _keep(self, **changes: Site | bool | None) -> None:
        self.memory = self.memory.model_copy(update=changes)
        remember(self._folder, self.memory)

    # --- following the head ---------------------------------------------------------------

    async def _look(self) -> None:
        found = await ask(self.provider, "eth_getBlockByNumber", self.final, False)
        if found is None:
            raise ChainUnavailableError(
                f"the Ethereum client at {self.provider.name} has no block yet"
            )
        head = bytes.fromhex(plain_hex(found["hash"]))
        if head != self._head:
            self._head = head
            self._moved.set()
            self._moved = asyncio.Event()

    async def _wait_a_little(self) -> None:
        """Look often for a moment after we sent something: some chains seal at once."""
        try:
            async with asyncio.timeout(self._pause):
                await self.provider.sending.wait()
        except TimeoutError:
            self._pause = min(self._pause * SLOWER, POLL_S)
            return
        self.provider.sending.clear()
        self._pause = QUICK_POLL_S
        await asyncio.sleep(QUICK_POLL_S)

    async def wait_for_head(self, after: bytes) -> bytes:
        """The head's hash once it differs from ``after`` (``b""``: at once)."""
        if after != self._head != b"":
            await self._look()  # what we saw last may be older than what the caller knows
        while self._head in (b"", after):
            await self._moved.wait()
        return self._head

    # --- for the SN -----------------------------------------------------------------------

    def _site(self) -> Site:
        if self.memory.site is None:
            raise ChainUnavailableError(f"no chain yet: {self._problem}")
        return self.memory.site

    @property
    def site(self) -> Site | None:
        """Where the swarm is."""
        return self.memory.site

    @property
    def origin(self) -> str:
        """What the SN's uid is made from; not the account, which several SNs may share."""
        return self.memory.origin

    @property
    def chain_id(self) -> int:
        """Of the client's chain.

        Raises:
            ChainUnavailableError: not known yet; wait for ``ready``. So do the next three.
        """
        return self._site().chain_id

    @property
    def genesis_signer(self) -> str:
        """Account of the sentinel, deployer of the system contracts."""
        return self._site().deployer

    @property
    def first_nonce(self) -> int:
        """Number of the transaction that deploys the first of them."""
        return self._site().nonce

    @property
    def first_block(self) -> int:
        """No earlier block holds anything of this swarm."""
        return self._site().first_block

    async def introduce(self, sns: Callable[[], list[str]]) -> None:
        """Ask the SNs at these API endpoints, one after another, to let this one write."""
        shown = admission.prove(self.account, self._site(), self._identity.certificate.fingerprint)
        told = ""
        while True:
            for sn in sns():
                try:
                    await admission.ask(self._identity, sn, shown)
                except RemoteError as exc:
                    if str(exc) != told:
                        log.warning("not let write: %s", exc)
                    told = str(exc)
            await asyncio.sleep(ADMISSION_S)

    def peers(self) -> list[Peer]:
        """SNs on an external chain have no links to each other."""
        return []

    def p2p(self) -> list[str]:
        """Nor addresses for them."""
        return []

    @property
    def cut_off(self) -> bool:
        """Whether the client does not answer."""
        return self._away_since is not None

    def status(self) -> str:
        """What the chain does or waits for, in words."""
        return self._problem or f"following the Ethereum client at {self.provider.name}"

    async def rpc(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """A JSON-RPC answer without its id; only for methods that change nothing."""
        if method not in READ_METHODS:
            message = f"the method {method} does not exist or is not available here"
            return {"jsonrpc": "2.0", "error": {"code": METHOD_NOT_FOUND, "message": message}}
        try:
            answer = dict(await self.provider.make_request(method, params))
        except ChainUnavailableError as exc:
            return {"jsonrpc": "2.0", "error": {"code": SERVER_ERROR, "message": str(exc)}}
        return {name: answer[name] for name in ("jsonrpc", "result", "error") if name in answer}


def _refuse_embedded(folder: Path) -> None:
    if (folder / DATABASE).exists():
        raise ConfigError(
            f"{folder} holds an embedded chain: unset SN_CHAIN to go on with it, or name an empty "
            "folder (SN_DATA_DIR) for an SN on an external chain"
        )
