"""The SN's links to all other SNs (30303): who is there, and one live link to each.

Every SN dials those that it is told to join and those that it hears of, until all are linked to
all. Of two links between the same SNs the one that the lower account dialled stays.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import rlp
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, BlockNumber
from eth_utils.exceptions import ValidationError
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from services.common.errors import ForbiddenError
from services.common.tls import Identity
from services.sn.adapters.evm_node import EvmNode
from services.sn.adapters.evm_outcome import Proposal
from services.sn.adapters.evm_votes import Vote, encode_votes
from services.sn.adapters.p2p_exchange import Exchange, block_message
from services.sn.adapters.p2p_holders import Holders
from services.sn.adapters.p2p_link import (
    DUPLICATE,
    FRAMES,
    HANDOVER_S,
    REFUSED,
    Credentials,
    Link,
    Peer,
    certificate_of,
    der_of,
    end_untrusted,
    reason,
    receive_hello,
    require_same_chain,
)
from services.sn.adapters.p2p_messages import (
    MAX_PEERS,
    Items,
    Kind,
    encode,
    pack,
)
from services.sn.core.turns import clock_offset

log = logging.getLogger("swarm.p2p")

CONNECT_S = 5.0
REDIAL_S, REDIAL_MAX_S = 0.5, 5.0
TRIES = 10
"""How often an endpoint that only others named is dialled in vain before it is forgotten: an SN
that names strangers must not make all dial them for ever. It takes about 40 s."""
MAX_NAMED = 16
"""How many such endpoints are dialled at the same time."""
MAX_ACCEPTED = 2 * MAX_PEERS
"""Connections from others, links or on the way to be one."""


class P2P:
    """See the module. One per SN; :meth:`run` needs the node."""

    def __init__(
        self,
        *,
        identity: Identity,
        key: PrivateKey,
        sock: socket.socket | None,
        join: Sequence[str],
        announce: str,
        mine: bool,
    ) -> None:
        port = sock.getsockname()[1] if sock is not None else 0
        endpoint = announce or (f":{port}" if port else "")
        self.synced = asyncio.Event()
        """Set once this SN has what a linked one had when they were linked."""
        self._identity = identity
        self._credentials = Credentials(key, identity.certificate.fingerprint, endpoint, mine)
        self._me = key.public_key.to_canonical_address()
        self._sock = sock
        self._join = tuple(join)
        self._known: tuple[str, ...] = ()
        self._stored: list[str] = []
        self._links: dict[bytes, Link] = {}
        self._changed = asyncio.Event()
        self._owners: dict[str, bytes] = {}
        self._holders = Holders(identity, self._me)
        self._homes: dict[bytes, str] = {}
        """Where accounts that were linked say they listen: one endpoint each, dialled for ever."""
        self._dialling: set[str] = set()
        self._accepted = 0
        self._complaints: dict[str, str] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._exchange: Exchange | None = None

    # --- for the chain --------------------------------------------------------------------

    @property
    def expects_others(self) -> bool:
        """Whether this SN knows of others that it may lag behind."""
        return bool(self._join or self._known)

    def peers(self) -> list[Peer]:
        """The SNs that this one is linked to."""
        return [
            Peer(
                link.certificate.common_name,
                link.certificate.fingerprint,
                f"0x{link.address.hex()}",
                link.endpoint,
            )
            for link in self._links.values()
        ]

    def transactions(self, raws: list[bytes]) -> None:
        """Pass transactions on to all."""
        self._cast(Items(Kind.TXS, tuple(raws)))

    def proposal(self, proposal: Proposal) -> None:
        """Propose a block to all."""
        self._cast(block_message(proposal))

    def votes(self, votes: Sequence[Vote]) -> None:
        """Tell all of votes."""
        self._cast(Items(Kind.VOTES, (encode_votes(votes),)))

    def prepare(self, number: int, ballot: int) -> None:
        """Ask all for promises."""
        self._cast(Items(Kind.PREPARE, pack(number, ballot)))

    def _others(self, link: Link) -> list[Link]:
        return [each for each in self._links.values() if each is not link]

    def _cast(self, message: Items, but: Link | None = None) -> None:
        for link in self._links.values():
            if link is not but:
                link.post(message)

    async def attach(self, node: EvmNode) -> None:
        """Serve this node; recall the SNs that it was linked to before it was restarted."""
        self._exchange = Exchange(node, self._cast, self._learn, self._others, self.synced)
        node.gossip = self
        stored = await node.do(node.chain.store.meta, "endpoints")
        self._known = tuple(json.loads(stored)) if stored else ()
        self._holders.load(await node.do(node.chain.store.meta, "holders"))

    async def run(self) -> None:
        """Keep all links until cancelled; after :meth:`attach`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for endpoint in (*self._join, *self._known):
                self._dial_later(endpoint)
            tasks.create_task(
                end_untrusted(self._identity, self._links, self._renewed, self._spawn)
            )
            if self._sock is not None:
                tasks.create_task(self._listen(self._sock))

    def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            self._sock.close()

    @property
    def _talks(self) -> Exchange:
        assert self._exchange is not None, "links exist only while run() runs"
        return self._exchange

    @property
    def _node(self) -> EvmNode:
        return self._talks.node

    # --- links ----------------------------------------------------------------------------

    async def fetch_genesis(self) -> bytes:
        """The genesis header of the first SN to join that answers; waits for one."""
        pause = REDIAL_S
        while True:
            for endpoint in self._join:
                try:
                    async with self._connect(endpoint) as connection:
                        certificate = certificate_of(connection)
                        hello = await receive_hello(connection)
                        self._credentials.on(connection).check(hello, certificate)
                        log.info("joining the chain of %s at %s", certificate.common_name, endpoint)
                        return hello.genesis
                except (OSError, TimeoutError, WebSocketException, ValidationError) as exc:
                    self._complain(endpoint, exc)
                except ForbiddenError as exc:
                    self._complain(endpoint, exc)
            await asyncio.sleep(pause)
            pause = min(pause * 2, REDIAL_MAX_S)

    def _connect(self, endpoint: str) -> connect:
        return connect(
            f"wss://{endpoint}",
            ssl=self._identity.client_context(),
            proxy=None,
            open_timeout=CONNECT_S,
            **FRAMES,
        )

    async def _listen(self, sock: socket.socket) -> None:
        context = self._identity.server_context()
        async with serve(
            self._accept, sock=sock, ssl=context, open_timeout=CONNECT_S, **FRAMES
        ) as server:
            await server.serve_forever()

    async def _accept(self, connection: Connection) -> None:
        if self._accepted >= MAX_ACCEPTED:
            await connection.close(REFUSED, "too many SNs")
            return
        self._accepted += 1
        try:
            await self._talk(connection, None)
        finally:
            self._accepted -= 1

    def _dial_later(self, endpoint: str) -> None:
        if endpoint in self._dialling or len(self._dialling) >= MAX_PEERS:
            return
        if not self._is_kept(endpoint) and self._named() >= MAX_NAMED:
            return
        self._dialling.add(endpoint)
        self._spawn(self._keep_dialling(endpoint))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            assert self._tasks is not None
            self._tasks.create_task(work)
        except RuntimeError:  # run() is ending
            work.close()

    def _is_kept(self, endpoint: str) -> bool:
        """Whether an endpoint is dialled for ever.

        Those known from before the start only until there is a link: then others tell who is there.
        """
        known = () if self._links else self._known
        return endpoint in {*self._join, *known, *self._homes.values()}

    def _named(self) -> int:
        return sum(not self._is_kept(endpoint) for endpoint in self._dialling)

    def _forget(self, endpoint: str) -> None:
        self._dialling.discard(endpoint)
        self._complaints.pop(endpoint, None)
        self._owners.pop(endpoint, None)

    async def _keep_dialling(self, endpoint: str) -> None:
        pause, tries = REDIAL_S, 0
        while self._owners.get(endpoint) != self._me:
            if tries >= TRIES and not self._is_kept(endpoint):
                self._forget(endpoint)
                return
            tries += 1
            if self._owners.get(endpoint) in self._links:
                await self._changed.wait()
                continue
            if await self._dial(endpoint):
                pause, tries = REDIAL_S, 0
            await asyncio.sleep(pause)
            pause = min(pause * 2, REDIAL_MAX_S)

    async def _dial(self, endpoint: str) -> bool:
        """One connection to another SN, until it ends; whether it became a link."""
        try:
            async with self._connect(endpoint) as connection:
                return await self._talk(connection, endpoint)
        except (OSError, TimeoutError, WebSocketException) as exc:
            self._complain(endpoint, exc)
        except Exception as exc:
            log.exception("the link to %s broke: this is a bug", endpoint)
            self._complain(endpoint, exc)
        return False

    def _renewed(self) -> None:
        """Our identity is another: show it, and check the others', before old links must end."""
        self._holders.renewed()
        for link in self._links.values():
            if link.dialled and link.endpoint:
                self._spawn(self._dial(link.endpoint))  # takes the old one's place

    def _complain(self, endpoint: str, exc: Exception) -> None:
        reason = str(exc) or type(exc).__name__
        if self._complaints.get(endpoint) != reason:
            self._complaints[endpoint] = reason
            log.warning("no link to the SN at %s: %s; trying on", endpoint, reason)

    async def _talk(self, connection: Connection, endpoint: str | None) -> bool:
        """Serve one connection until it ends; whether it became a link."""
        where = endpoint or str(connection.remote_address[0])
        try:
            link = await self._greet(connection, endpoint)
        except (ValidationError, ForbiddenError) as exc:
            self._complain(where, exc)
            await connection.close(REFUSED, reason(str(exc)))
            return False
        except ConnectionClosed as exc:
            if endpoint is not None:  # who only asked for the genesis header leaves like this
                self._complain(where, exc)
            return False
        if not self._enter(link):
            await connection.close(DUPLICATE, "linked already")
            return False
        writer = asyncio.ensure_future(self._write(link))
        try:
            await self._talks.serve(link)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            self._leave(link)
        return True

    async def _write(self, link: Link) -> None:
        try:
            await link.write()
        except ConnectionClosed:
            return

    async def _greet(self, connection: Connection, endpoint: str | None) -> Link:
        certificate = certificate_of(connection)
        theirs = await receive_hello(connection) if endpoint is not None else None
        genesis, final = await self._node.do(_standing, self._node)
        mine = self._credentials.on(connection)
        await connection.send(encode(mine.hello(genesis, final, certificate)))
        if theirs is None:
            theirs = await receive_hello(connection)
        mine.check(theirs, certificate)
        if endpoint is not None:
            self._owners[endpoint] = theirs.address
        require_same_chain(theirs, genesis, certificate.common_name)
        if theirs.address == self._me:
            raise ForbiddenError("that is this SN itself, or a copy of its data folder")
        if len(self._links) >= MAX_PEERS and theirs.address not in self._links:
            raise ForbiddenError("too many SNs")
        if self._holders.remember(theirs.address, der_of(connection)):
            store, text = self._node.chain.store, self._holders.as_text()
            await self._node.do(store.set_meta, "holders", text)
        return Link(connection, certificate, theirs, dialled=endpoint is not None)

    def _enter(self, link: Link) -> bool:
        old = self._links.get(link.address)
        if old is not None:
            preferred = link.dialled == (self._me < link.address)
            if old.dialled != link.dialled and not preferred:
                return False
            self._spawn(old.retire(HANDOVER_S if old.dialled == link.dialled else 0.0))
        self._links[link.address] = link
        self._complaints.pop(link.endpoint, None)
        if link.endpoint:
            self._owners[link.endpoint] = link.address
            self._homes[link.address] = link.endpoint
            if len(self._homes) > MAX_PEERS:
                del self._homes[next(iter(self._homes))]
        log.info("linked to %s, %d links", link, len(self._links))
        self._update()
        return True

    def _leave(self, link: Link) -> None:
        self._talks.forget(link)
        if self._links.get(link.address) is link:
            del self._links[link.address]
            log.warning("link to %s is down, %d links left", link, len(self._links))
            self._update()

    def _update(self) -> None:
        links = self._links.values()
        node = self._node
        node.clock_offset = clock_offset(link.clock_offset for link in links)
        node.set_links(
            [Address(link.address) for link in links],
            [Address(link.address) for link in links if link.seals],
            self._holders.known,
        )
        self._changed.set()
        self._changed = asyncio.Event()

    async def _learn(self, endpoints: Iterable[str]) -> None:
        for endpoint in endpoints:
            self._dial_later(endpoint)
        known = sorted(filter(self._is_kept, self._dialling))
        if known != self._stored:
            self._stored = known
            text = json.dumps(known).encode()
            await self._node.do(self._node.chain.store.set_meta, "endpoints", text)


def _standing(node: EvmNode) -> tuple[bytes, int]:
    genesis = node.chain.get_canonical_block_header_by_number(BlockNumber(0))
    return rlp.encode(genesis), node.decisions.final.block_number
