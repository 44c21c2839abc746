"""The Ethereum engine inside an SN: the chain on disk, its node, its links, its JSON-RPC.

``open`` takes the data folder, ``run`` seals blocks and talks to the other SNs, ``close`` leaves
the folder whole; a killed process loses no block either.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_typing import Address, ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError, ConfigError, ForbiddenError
from services.common.tls import Identity
from services.sn.adapters.account import SwarmAccount, account_of
from services.sn.adapters.evm_chain import SwarmChain, create, install, load
from services.sn.adapters.evm_decisions import Decisions
from services.sn.adapters.evm_node import EvmNode
from services.sn.adapters.evm_ports import ChainThread
from services.sn.adapters.evm_store import KEY, Store
from services.sn.adapters.json_params import from_outside
from services.sn.adapters.json_rpc import METHOD_NOT_FOUND, READ_METHODS, JsonRpc, number
from services.sn.adapters.p2p import P2P
from services.sn.adapters.p2p_link import Peer
from services.sn.adapters.provider import EmbeddedProvider

log = logging.getLogger("swarm.chain")

OUTSIDE_GAS = 3_000_000
"""Most gas for an ``eth_call`` from outside; more than any view of our contracts needs."""
ALONE_S = 5.0
"""After a restart: how long to look for other SNs before serving what is on disk."""


class EmbeddedChain:
    """One SN's chain. Use :meth:`open`."""

    def __init__(
        self, store: Store, thread: ChainThread, account: SwarmAccount, node: EvmNode | None
    ) -> None:
        self.account = account
        """This SN's signing key."""
        self.ready = asyncio.Event()
        """Set once there is a head and, when joining, the other SNs' blocks are here."""
        self.provider = EmbeddedProvider(self._dispatch)
        """For ``AsyncWeb3``; calls wait for nothing and fail while there is no chain yet."""
        self.final = "finalized"
        """JSON-RPC's tag of the newest block that counts."""
        self.orderly = True
        """The chain's thread works off requests one after another."""
        self.first_nonce = self.first_block = 0
        """The system contracts are the genesis signer's first two transactions."""
        self.genesis = ""
        """Hash of block 0, ``0x`` hex; empty until there is a chain."""
        self.site = None
        """The chain is the swarm's own."""
        self.origin = account.address.lower()
        self._store = store
        self._thread = thread
        self._node = node
        self._rpc = JsonRpc(node) if node is not None else None
        self._p2p: P2P | None = None
        self._mine = True
        self._announce = ""
        self._closed = False

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        sentinel: bool,
        identity: Identity,
        p2p_sock: socket.socket | None,
        join: Sequence[str],
        mine: bool,
        announce: str = "",
    ) -> "EmbeddedChain":
        """Take the data folder and load the chain; a sentinel makes one in an empty folder.

        Args:
            folder: data folder of this SN alone.
            sentinel: whether to make the genesis block where the folder holds no chain. A chain
                that is there is always kept.
            identity: of this SN, for the links to others.
            p2p_sock: bound and listening, for links from other SNs; None: dial only.
            join: ``host:port`` of SNs to link to. An SN without a chain takes the chain of the
                first one that answers: that one is trusted, as its certificate must carry the
                role SN and a trusted CA's signature; chain id and genesis come from it.
            mine: whether to seal blocks (and to be voted in as a signer); a sentinel always does.
            announce: ``host:port`` under which other SNs reach this one; where empty they use
                the address that they see and the port of ``p2p_sock``.

        Raises:
            ConfigError: the folder cannot be used, is damaged, foreign or in use; or there is no
                chain and nobody to get it from.
        """
        thread = ChainThread()
        try:
            store, chain, account = await thread(_load, folder, sentinel, bool(join))
        except BaseException:
            thread.stop()
            raise
        self = cls(store, thread, account, None)
        self._mine = mine or sentinel
        self._announce = announce
        try:
            self._p2p = P2P(
                identity=identity,
                key=account.key,
                sock=p2p_sock,
                join=join,
                announce=announce,
                mine=self._mine,
            )
            if chain is not None:
                await self._begin(chain)
        except BaseException:
            await self.close()
            raise
        return self

    async def _begin(self, chain: SwarmChain) -> None:
        key = self.account.key
        decisions = await self._thread(Decisions, chain, key)
        self.genesis = f"0x{(await self._thread(lambda: chain.genesis_hash)).hex()}"
        final = decisions.final
        self._node = EvmNode(decisions, final, chain, key, self._thread, mine=self._mine)
        self._rpc = JsonRpc(self._node)
        log.info("chain %d: final is block %d", chain.chain_id, final.block_number)

    # --- running --------------------------------------------------------------------------

    async def run(self) -> None:
        """Seal blocks and talk to the other SNs until cancelled."""
        assert self._p2p is not None
        fresh = self._node is None
        if fresh:
            await self._begin(await self._fetch_chain(self._p2p))
        node = self._started()
        await self._p2p.attach(node)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._p2p.run())
            group.create_task(node.run())
            group.create_task(self._watch_ready(self._p2p, fresh=fresh))

    async def _fetch_chain(self, p2p: P2P) -> SwarmChain:
        """The chain of the first SN that answers, as far as its genesis block."""
        raw = await p2p.fetch_genesis()
        try:
            return await self._thread(install, self._store, raw)
        except ValidationError as exc:
            raise ForbiddenError(f"the SN to join runs another chain software: {exc}") from exc

    async def _watch_ready(self, p2p: P2P, *, fresh: bool) -> None:
        if p2p.expects_others:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if fresh else ALONE_S):
                    await p2p.synced.wait()
        self.ready.set()

    async def close(self) -> None:
        """Give the folder back; harmless to repeat. Cancel :meth:`run` first."""
        if self._closed:
            return
        self._closed = True
        if self._p2p is not None:
            self._p2p.close()
        if self._node is not None:
            with contextlib.suppress(ChainUnavailableError):  # the disk is full: ask others later
                await self._thread(self._node.decisions.close)
        await self._thread(self._store.close)
        self._thread.stop()

    # --- for the SN -----------------------------------------------------------------------

    def _started(self) -> EvmNode:
        if self._node is None:
            raise ChainUnavailableError("no chain yet: waiting for the SN to join")
        return self._node

    @property
    def chain_id(self) -> int:
        """Random number of this swarm's chain.

        Raises:
            ChainUnavailableError: an SN that joins has no chain yet; wait for ``ready``.
        """
        return self._started().chain.chain_id

    @property
    def genesis_signer(self) -> ChecksumAddress:
        """Account of the sentinel that made the chain, deployer of the system contracts.

        Raises:
            ChainUnavailableError: an SN that joins has no chain yet; wait for ``ready``.
        """
        return to_checksum_address(self._started().chain.genesis_signer)

    @property
    def head(self) -> bytes:
        """Hash of the newest final block."""
        return self._started().final_hash

    async def wait_for_head(self, after: bytes) -> bytes:
        """The newest final block's hash once it differs from ``after`` (``b""``: at once)."""
        return await self._started().wait_for_final(after)

    def peers(self) -> list[Peer]:
        """The other SNs that this one has a live link to."""
        return [] if self._p2p is None else self._p2p.peers()

    def p2p(self) -> list[str]:
        """``host:port`` of SNs to link to, this one first."""
        return [self._announce, *sorted(peer.endpoint for peer in self.peers() if peer.endpoint)]

    async def introduce(self, sns: Callable[[], list[str]]) -> None:
        """Nothing to do: SNs prove their accounts on their links."""

    @property
    def cut_off(self) -> bool:
        """Whether this SN is not linked to a quorum of the signers."""
        return self._node is None or self._node.cut_off

    def status(self) -> str:
        """What the chain does or waits for, in words, e.g. ``sealing``."""
        return "waiting for the SN to join" if self._node is None else self._node.status

    async def rpc(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """A JSON-RPC answer without its id; only for methods that change nothing."""
        if method not in READ_METHODS:
            message = f"the method {method} does not exist or is not available here"
            return {"jsonrpc": "2.0", "error": {"code": METHOD_NOT_FOUND, "message": message}}
        return await self._dispatch(method, _frugal(method, from_outside(method, params)))

    async def _dispatch(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        self._started()
        assert self._rpc is not None
        return await self._rpc(method, params)


def _frugal(method: str, params: Sequence[Any]) -> Sequence[Any]:
    """The parameters of a call from outside, its gas limited: it runs on the chain's thread."""
    if method not in ("eth_call", "eth_estimateGas") or not params:
        return params
    call, *rest = params
    if not isinstance(call, Mapping):
        return params
    try:
        gas = min(number(call.get("gas") or OUTSIDE_GAS), OUTSIDE_GAS)
    except (TypeError, ValueError):
        return params  # the method itself says what is wrong
    return [{**call, "gas": hex(gas)}, *rest]


def _load(
    folder: Path, sentinel: bool, joins: bool
) -> tuple[Store, SwarmChain | None, SwarmAccount]:
    store = Store.open(folder)
    try:
        chain = load(store)
        if chain is None:
            _require_source(folder, sentinel or joins)
        account = account_of(folder / KEY, may_make=chain is None)
        if chain is None and sentinel:
            signer = Address(account.key.public_key.to_canonical_address())
            chain = create(store, signer)
    except BaseException:
        store.close()
        raise
    return store, chain, account


def _require_source(folder: Path, known: bool) -> None:
    if not known:
        raise ConfigError(
            f"{folder} holds no chain and no SN to join is named: set SENTINEL_NODE_IP, or "
            "SN_I_AM_SENTINEL=true on the one SN that starts first"
        )
