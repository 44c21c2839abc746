"""What SNs exchange over a live link: transactions, blocks, endpoints, and what one lacks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_decisions import Decisions
from services.sn.adapters.evm_node import EvmNode
from services.sn.adapters.evm_outcome import Outcome, Proposal
from services.sn.adapters.evm_votes import decode_votes
from services.sn.adapters.p2p_link import Link
from services.sn.adapters.p2p_messages import (
    MAX_BLOCKS_BYTES,
    MAX_PEERS,
    Items,
    Kind,
    decode,
    is_endpoint,
    items_of,
    pack,
    unpack,
)
from services.sn.adapters.p2p_sync import blocks_after, locator
from services.sn.core.agreement import Accepted

log = logging.getLogger("swarm.p2p")

SYNC_S = 20.0
"""A linked SN that is ahead but sends no blocks for this long is waited for no more."""
BAD_MESSAGE = 1002
"""Close code."""
BLOCK_ITEMS, PROMISE_ITEMS = 3, 4
"""Items of a BLOCK, and of a PROMISE by an SN that has accepted a block."""

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
        synced: set once this SN has what a linked one had when they were linked.
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
        self._asked_at: dict[Link, int] = {}
        """Number of the final block when each link was last asked."""
        self._handlers = {
            Kind.TXS: self._on_transactions,
            Kind.BLOCK: self._on_block,
            Kind.SYNC: self._on_sync,
            Kind.BLOCKS: self._on_blocks,
            Kind.PEERS: self._on_peers,
            Kind.VOTES: self._on_votes,
            Kind.PREPARE: self._on_prepare,
            Kind.PROMISE: self._on_promise,
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
            except ChainUnavailableError as exc:
                log.error("message from %s not heeded: %s", link, exc)  # noqa: TRY400 - not a bug
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
        proposal, final, pending = await self.node.do(_offer, self.node)
        if proposal is not None:
            link.post(block_message(proposal))
        for some in _in_parts(pending):
            link.post(Items(Kind.TXS, some))
        if link.final > final:
            await self._ask(link)
        else:
            self._look_whether_synced(link)

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

    async def _on_block(self, link: Link, items: tuple[bytes, ...]) -> None:
        if len(items) != BLOCK_ITEMS:
            raise ValidationError(f"a BLOCK of {len(items)} items")
        proposal = Proposal(*items)
        if (await self._took(link, self.node.take(proposal))).is_new:
            self._cast(block_message(proposal), but=link)

    async def _on_votes(self, link: Link, items: tuple[bytes, ...]) -> None:
        if len(items) != 1:
            raise ValidationError(f"VOTES of {len(items)} items")
        await self._took(link, self.node.hear(decode_votes(items[0])))

    async def _on_prepare(self, link: Link, items: tuple[bytes, ...]) -> None:
        number, ballot = _numbers(items, 2)
        accepted, proposal = await self.node.do(
            _promise, self.node.decisions, link.address, number, ballot
        )
        if proposal is not None:  # what was accepted, or what the other SN lacks
            link.post(block_message(proposal))
        elif accepted is False and number > self.node.final_number + 1:
            await self._ask(link)
        if accepted is True:
            link.post(Items(Kind.PROMISE, pack(number, ballot)))
        elif accepted:
            said = (*pack(number, ballot, accepted.ballot), accepted.block)
            link.post(Items(Kind.PROMISE, said))

    async def _on_promise(self, link: Link, items: tuple[bytes, ...]) -> None:
        accepted = None
        if len(items) not in (2, PROMISE_ITEMS):
            raise ValidationError(f"a PROMISE of {len(items)} items")
        if len(items) == PROMISE_ITEMS:
            accepted = Accepted(_numbers(items[2:3], 1)[0], items[3])
        number, ballot = _numbers(items[:2], 2)
        await self.node.promised(link.address, number, ballot, accepted)

    async def _on_sync(self, link: Link, hashes: tuple[bytes, ...]) -> None:
        blocks = await self.node.do(blocks_after, self.node.decisions, self.node.chain, hashes)
        link.post(Items(Kind.BLOCKS, tuple(blocks)))

    async def _on_blocks(self, link: Link, items: tuple[bytes, ...]) -> None:
        if link not in self._syncing:
            return
        for raw, votes in zip(items[::2], items[1::2], strict=False):
            outcome = await self._take(link, self.node.take(Proposal(raw, b"", votes)))
            lacks_votes = outcome.is_new and not outcome.final
            if outcome.failure is not None or outcome.behind or lacks_votes:
                self._sync_over(link)
                return
        if self.node.final_number > self._asked_at.get(link, -1):
            await self._ask(link)
        else:
            self._sync_over(link)

    async def _on_peers(self, link: Link, items: tuple[bytes, ...]) -> None:
        texts = [item.decode("ascii", "replace") for item in items[:MAX_PEERS]]
        await self._learn(e for e in texts if is_endpoint(e) and not e.startswith(":"))

    async def _took(self, link: Link, taking: Awaitable[Outcome]) -> Outcome:
        """Take something, and ask the link for what turns out to be missing."""
        outcome = await self._take(link, taking)
        if outcome.behind and link not in self._syncing:
            await self._ask(link)
        return outcome

    async def _take(self, link: Link, taking: Awaitable[Outcome]) -> Outcome:
        outcome = await taking
        self._look_whether_synced(link)
        match outcome.failure:
            case None:
                pass
            case ChainUnavailableError():
                log.error("block from %s not stored: %s", link, outcome.failure)
            case _:
                log.warning("block from %s refused: %s", link, outcome.failure)
        return outcome

    def _look_whether_synced(self, link: Link) -> None:
        if self.node.final_number >= link.final:
            self._synced.set()

    # --- sync -----------------------------------------------------------------------------

    async def _ask(self, link: Link) -> None:
        """Ask for what follows this SN's chain on the other's."""
        going_on = self._syncing.get(link)
        if going_on is not None:
            going_on.cancel()
        loop = asyncio.get_running_loop()
        self._syncing[link] = loop.call_later(SYNC_S, self._sync_over, link)
        self._asked_at[link] = self.node.final_number
        self.node.catch_up(True)
        link.post(Items(Kind.SYNC, tuple(await self.node.do(_locator, self.node))))

    def _sync_over(self, link: Link) -> None:
        timer = self._syncing.pop(link, None)
        if timer is None:
            return
        timer.cancel()
        self._asked_at.pop(link, None)
        self.node.catch_up(bool(self._syncing))


def _in_parts(raws: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Transactions in messages that are not too long."""
    some: list[bytes] = []
    for raw in raws:
        if some and sum(map(len, some)) + len(raw) > MAX_BLOCKS_BYTES:
            yield tuple(some)
            some = []
        some.append(raw)
    if some:
        yield tuple(some)


def block_message(proposal: Proposal) -> Items:
    """BLOCK."""
    return Items(Kind.BLOCK, (proposal.block, proposal.parent_certificate, proposal.votes))


def _numbers(items: tuple[bytes, ...], count: int) -> list[int]:
    if len(items) != count:
        raise ValidationError(f"{len(items)} items, not {count}")
    return unpack(items)


def _offer(node: EvmNode) -> tuple[Proposal | None, int, list[bytes]]:
    """The head with its votes, the number of the final block, and the pending transactions."""
    pending = [each.raw for each in node.pool]
    return node.decisions.proposal(), node.decisions.final.block_number, pending


def _locator(node: EvmNode) -> list[bytes]:
    return locator(node.chain, node.decisions.final.block_number)


def _promise(
    decisions: Decisions, by: bytes, number: int, ballot: int
) -> tuple[Accepted | bool, Proposal | None]:
    """The promise, and the block that the other SN needs for it or lacks."""
    accepted = decisions.on_prepare(by, number, ballot)
    lacks = number < decisions.open.number
    return accepted, decisions.proposal() if isinstance(accepted, Accepted) or lacks else None
