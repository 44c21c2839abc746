"""One link to another SN: mutual TLS, role SN, HELLO in both directions, then messages."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from websockets.asyncio.connection import Connection

from services.common.clock import steady_time
from services.common.errors import ForbiddenError
from services.common.ids import NodeKind
from services.common.tls import Identity, PeerCertificate, present_of, read_certificate
from services.sn.adapters.p2p_messages import (
    MAX_MESSAGE,
    Hello,
    Message,
    decode,
    encode,
    proof_hash,
)

log = logging.getLogger("swarm.p2p")

HELLO_S = 10.0
"""Deadline for the other side's HELLO."""
PING_S, PONG_S = 5.0, 10.0
"""A link that answers no ping for this long is down."""
CLOSE_S = 1.0
SEND_S = 10.0
"""A link that takes nothing for this long is down."""
QUEUE, QUEUE_BYTES = 1024, 64 << 20
"""Messages, and bytes of messages, that may wait for a slow link before it is cut."""

CHECK_S = 5.0
"""Seconds between two looks at whether the SNs that are linked are still trusted."""
ONE_BY_ONE_S = 1.0
"""Seconds until the next such link is ended: the one before is back by then, where its SN has been
renewed, so that an SN that removes a CA does not lose the majority."""
REFUSED, DUPLICATE = 4003, 4001
"""Close codes."""
HANDOVER_S = 1.0
"""Seconds that a link stays open once another took its place: the other SN has to see that, too."""
CUT_S = 2.0
"""Seconds that such a link has to take a farewell."""


FRAMES: dict[str, Any] = {
    "compression": None,
    "max_size": MAX_MESSAGE,
    "ping_interval": PING_S,
    "ping_timeout": PONG_S,
    "close_timeout": CLOSE_S,
}
"""How WebSocket connections between SNs are made."""


def certificate_of(connection: Connection) -> PeerCertificate:
    """The other side's certificate.

    Raises:
        ForbiddenError: it has none, or its role is not SN.
    """
    certificate = read_certificate(der_of(connection))
    certificate.require(NodeKind.SN)
    return certificate


def der_of(connection: Connection) -> bytes:
    """The other side's certificate in DER form.

    Raises:
        ForbiddenError: it has none.
    """
    tls = connection.transport.get_extra_info("ssl_object")
    der: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
    if not der:
        raise ForbiddenError("an SN without a certificate")
    return der


def own_fingerprint(connection: Connection, otherwise: str) -> str:
    """Of the certificate that we showed on it: ours may have been renewed since, or just now."""
    tls = connection.transport.get_extra_info("ssl_object")
    present = present_of(tls) if tls is not None else None
    return present.fingerprint if present is not None else otherwise


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this SN shows on its links."""

    key: PrivateKey
    fingerprint: str
    endpoint: str
    seals: bool

    def on(self, connection: Connection) -> Self:
        """Those that count on a connection."""
        return replace(self, fingerprint=own_fingerprint(connection, self.fingerprint))

    def hello(self, genesis: bytes, final: int, other: PeerCertificate) -> Hello:
        """This SN's HELLO to ``other``."""
        digest = proof_hash(genesis, self.fingerprint, other.fingerprint)
        return Hello(
            genesis=genesis,
            address=self.key.public_key.to_canonical_address(),
            proof=self.key.sign_msg_hash(digest).to_bytes(),
            final=final,
            clock_ms=int(steady_time() * 1000),
            seals=self.seals,
            endpoint=self.endpoint,
        )

    def check(self, hello: Hello, other: PeerCertificate) -> None:
        """Check the proof in ``other``'s HELLO.

        Raises:
            ForbiddenError: the account is not its own.
        """
        digest = proof_hash(hello.genesis, other.fingerprint, self.fingerprint)
        try:
            signer = Signature(hello.proof).recover_public_key_from_msg_hash(digest)
        except (BadSignature, ValidationError, ValueError) as exc:
            raise ForbiddenError(f"{other.common_name} proves no account: {exc}") from exc
        if signer.to_canonical_address() != hello.address:
            raise ForbiddenError(f"{other.common_name} claims an account that is not its own")


@dataclass(frozen=True, slots=True)
class Peer:
    """Another SN that this one is linked to."""

    name: str
    """Common name of its certificate."""
    fingerprint: str
    """Of its certificate, 64 hex digits."""
    address: str
    """Its account, ``0x`` hex."""
    endpoint: str
    """``host:port`` that it listens on, empty where it does not."""


async def receive_hello(connection: Connection) -> Hello:
    """The other side's HELLO.

    Raises:
        ValidationError: it said something else, or nothing in time.
    """
    try:
        async with asyncio.timeout(HELLO_S):
            message = decode(await connection.recv())
    except TimeoutError as exc:
        raise ValidationError(f"no HELLO within {HELLO_S:.0f} s") from exc
    if not isinstance(message, Hello):
        raise ValidationError("did not begin with HELLO")
    return message


def require_same_chain(hello: Hello, genesis: bytes, name: str) -> None:
    """Check that another SN's chain is this one's.

    Raises:
        ForbiddenError: it has another genesis block.
    """
    if hello.genesis != genesis:
        raise ForbiddenError(
            f"{name} has another chain (another genesis block): it belongs to another swarm, or "
            "one of the two SNs lost its data folder and began anew. Only one SN may start with "
            "SN_I_AM_SENTINEL=true and an empty folder"
        )


class Link:
    """A live link, after both HELLOs."""

    def __init__(
        self, connection: Connection, certificate: PeerCertificate, hello: Hello, *, dialled: bool
    ) -> None:
        self.connection = connection
        self.certificate = certificate
        self.address = hello.address
        self.seals = hello.seals
        self.final = hello.final
        self.clock_offset = hello.clock_ms / 1000 - steady_time()
        """The other's clock minus this one's, seconds."""
        self.dialled = dialled
        """Whether this side opened it."""
        self.endpoint = self._endpoint(hello.endpoint)
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._queued = 0
        self._overflow = False

    def __str__(self) -> str:
        return f"{self.certificate.common_name} (0x{self.address.hex()[:8]})"

    async def retire(self, after_s: float) -> None:
        """Close it; another took its place."""
        await asyncio.sleep(after_s)
        await self.connection.close(DUPLICATE, "linked anew")

    def objection(self, identity: Identity) -> str | None:
        """Why the other SN's certificate is not trusted any more."""
        tls = self.connection.transport.get_extra_info("ssl_object")
        return identity.objection(tls) if tls is not None else None

    def _endpoint(self, said: str) -> str:
        if not said.startswith(":"):
            return said
        address = self.connection.remote_address
        host = str(address[0]) if address else ""
        return f"[{host}]{said}" if ":" in host else f"{host}{said}"

    def post(self, message: Message) -> None:
        """Send without waiting; a link that takes nothing for long is cut."""
        raw = encode(message)
        if self._queue.full() or self._queued + len(raw) > QUEUE_BYTES:
            if not self._overflow:  # a farewell may not get through either
                asyncio.get_running_loop().call_later(CUT_S, self.connection.transport.abort)
            self._overflow = True
            return
        self._queued += len(raw)
        self._queue.put_nowait(raw)

    async def write(self) -> None:
        """Send what is posted, until cancelled or the link is closed."""
        while not self._overflow:
            raw = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_S):
                    await self.connection.send(raw)
            except TimeoutError:  # pings wait behind it, so they do not notice
                self.connection.transport.abort()
                return
            self._queued -= len(raw)
        await self.connection.close(1008, "too slow")


def reason(text: str) -> str:
    """As much of it as a close frame takes: 123 bytes."""
    return text.encode("ascii", "replace").decode()[:123]


async def end_untrusted(
    identity: Identity, links: Mapping[bytes, Link], renewed: Callable[[], None],
    spawn: Callable[[Coroutine[Any, Any, object]], None],
) -> None:  # fmt: skip
    """End links to SNs whose certificate ended, or whose CA is not trusted any more; for ever.

    Args:
        identity: ours.
        links: the present ones.
        renewed: called when ours is another, before links end because of it.
        spawn: lets links be closed, which takes a moment.
    """
    seen = 0
    while True:
        await asyncio.sleep(CHECK_S)
        if identity.generation != seen:
            seen = identity.generation
            renewed()
            await asyncio.sleep(2 * CHECK_S)  # the other SNs do the same, not at the same moment
        for link in list(links.values()):
            if (why := link.objection(identity)) is not None:
                log.warning("link to %s ends: %s", link, why)
                spawn(link.connection.close(REFUSED, reason(why)))
                await asyncio.sleep(ONE_BY_ONE_S)
