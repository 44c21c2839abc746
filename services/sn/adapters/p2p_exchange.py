"""What SNs exchange over a live link: transactions, blocks, endpoints, and what one lacks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_node import EvmNode, Imported
from services.sn.adapters.p2p_link import Link
from services.sn.adapters.p2p_messages import (
    MAX_PEERS,
    Items,
    Kind,
    decode,
    is_endpoint,
    items_of,
)
from services.sn.adapters.p2p_sync import blocks_after, head_block, locator

log = logging.getLogger("swarm.p2p")

SYNC_S = 20.0
"""A linked SN that is ahead but sends no blocks for this long is waited for no more."""
BAD_MESSAGE = 1002
"""Close code."""

Learn = Callable[[Iterable[str]], Awaitable[None]]


class Cast(Protocol):
    """Posts a message to all links but one."""

    def __call__(self, message: Items, but: Link | None = None) -> None:
        """See the class."""


class Exchange:
    """One node's side of all links.

    Args:
        node: of this SN.
        cast: posts to all links.
        learn: told of the endpoints of other SNs.
        others: the links beside a given one.
        synced: set once a linked SN has nothing that this one lacks.
    """

    def __init__(
        self,
        node: EvmNode,
        cast: Cast,
        learn: Learn,
        others: Callable[[Link], list[Link]],
        synced: asyncio.Event,
    ) -> None:
        self.node = node
        self._cast = cast
        self._learn = learn
        self._others = others
        self._synced = synced
        self._syncing: dict[Link, asyncio.TimerHandle] = {}
        self._handlers = {
            Kind.TXS: self._on_transactions,
            Kind.BLOCK: self._on_block,
            Kind.SYNC: self._on_sync,
            Kind.BLOCKS: self._on_blocks,
            Kind.PEERS: self._on_peers,
        }

    async def serve(self, link: Link) -> None:
        """Talk until the link ends.

        Raises:
            ConnectionClosed: it broke.
        """
        await self._welcome(link)
        async for raw in link.connection:
            try:
                message = items_of(decode(raw))
                await self._handlers[message.kind](link, message.items)
            except ValidationError as exc:
                log.warning("link to %s cut: %s", link, exc)
                await link.connection.close(BAD_MESSAGE, str(exc)[:100])
                return

    def forget(self, link: Link) -> None:
        """Expect nothing more from a link."""
        self._sync_over(link)

    async def _welcome(self, link: Link) -> None:
        """Tell a new link what there is, and ask for what it has."""
        known = tuple(each.endpoint.encode() for each in self._others(link) if each.endpoint)
        link.post(Items(Kind.PEERS, known))
        if link.endpoint:
            self._cast(Items(Kind.PEERS, (link.endpoint.encode(),)), but=link)
            await self._learn([link.endpoint])
        head, weight, pending = await self.node.do(_offer, self.node)
        if head is not None:
            link.post(Items(Kind.BLOCK, (head,)))
        if pending:
            link.post(Items(Kind.TXS, tuple(pending)))
        if link.weight > weight:
            await self._ask(link)
        elif not self._syncing:
            self._synced.set()

    # --- messages -------------------------------------------------------------------------

    async def _on_transactions(self, link: Link, raws: tuple[bytes, ...]) -> None:
        new = []
        for raw in raws:
            try:
                if await self.node.admit(raw):
                    new.append(raw)
            except ValidationError as exc:  # mined meanwhile, usually
                log.debug("transaction from %s not taken: %s", link, exc)
        if new:
            self._cast(Items(Kind.TXS, tuple(new)), but=link)

    async def _on_block(self, link: Link, raws: tuple[bytes, ...]) -> None:
        for raw in raws:
            outcome = await self._import(link, raw)
            if outcome is Imported.NEW:
                self._cast(Items(Kind.BLOCK, (raw,)), but=link)
            elif outcome is Imported.ORPHAN and link not in self._syncing:
                await self._ask(link)

    async def _on_sync(self, link: Link, hashes: tuple[bytes, ...]) -> None:
        blocks = await self.node.do(blocks_after, self.node.chain, hashes)
        link.post(Items(Kind.BLOCKS, tuple(blocks)))

    async def _on_blocks(self, link: Link, raws: tuple[bytes, ...]) -> None:
        if link not in self._syncing:
            return
        for raw in raws:
            outcome = await self._import(link, raw)
            if outcome in (None, Imported.ORPHAN):
                self._sync_over(link)
                return
        if raws:
            await self._ask(link)
            return
        head, _, _ = await self.node.do(_offer, self.node)
        if head is not None:
            self._cast(Items(Kind.BLOCK, (head,)), but=link)
        self._sync_over(link)
        self._synced.set()

    async def _on_peers(self, link: Link, items: tuple[bytes, ...]) -> None:
        texts = [item.decode("ascii", "replace") for item in items[:MAX_PEERS]]
        await self._learn(e for e in texts if is_endpoint(e) and not e.startswith(":"))

    async def _import(self, link: Link, raw: bytes) -> Imported | None:
        """Take a block; None where it is bad or cannot be stored."""
        try:
            outcome, block_hash = await self.node.import_raw(raw)
        except ValidationError as exc:
            log.warning("block from %s refused: %s", link, exc)
            return None
        except ChainUnavailableError as exc:
            log.error("block from %s not stored: %s", link, exc)  # noqa: TRY400 - not a bug
            return None
        if outcome is not Imported.ORPHAN:
            link.last_hash = block_hash
        return outcome

    # --- sync -----------------------------------------------------------------------------

    async def _ask(self, link: Link) -> None:
        """Ask for what follows this SN's chain on the other's."""
        going_on = self._syncing.get(link)
        if going_on is not None:
            going_on.cancel()
        last = link.last_hash if going_on is not None else b""
        loop = asyncio.get_running_loop()
        self._syncing[link] = loop.call_later(SYNC_S, self._sync_over, link)
        self.node.catching_up = True
        hashes = await self.node.do(locator, self.node.chain, last)
        link.post(Items(Kind.SYNC, tuple(hashes)))

    def _sync_over(self, link: Link) -> None:
        timer = self._syncing.pop(link, None)
        if timer is None:
            return
        timer.cancel()
        self.node.catching_up = bool(self._syncing)
        self.node.wake()


def _offer(node: EvmNode) -> tuple[bytes | None, int, list[bytes]]:
    """Head block, weight and pending transactions."""
    pending = [each.raw for each in node.pool]
    return head_block(node.chain), node.chain.weight(), pending
