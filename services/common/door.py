"""The door of a TLS server: who comes in, and how many.

An open connection costs memory (asyncio's buffers for TLS) before anybody knows whose it is.
So there are limits overall, per address and per certificate. Where a limit is reached, whoever has
waited longest without shaking hands has to go; honest clients shake hands in milliseconds. Only
where all have shaken hands a new one is turned away.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

log = logging.getLogger("swarm.rest")

BACKLOG = 1024
"""Connections that the kernel holds for us."""
BREATH_S = 0.1
"""Pause after the system refused us a connection, e.g. because of too many open files."""
SSLProtocol.max_size = 32 << 10
"""Bytes that asyncio sets aside for each connection at once; its own 256 KiB would be 1 GB for a
flood of 4000 that come and go. Two TLS records fit."""
TELL_EVERY_S = 10.0
"""Seconds between two log lines about clients turned away."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients of a server may cost."""

    connections: int = 1024
    """Open connections."""
    per_address: int = 256
    """Open connections of one address (IPv6: /64); all nodes behind one NAT share it."""
    per_certificate: int = 256
    """Open connections of one certificate, and requests of it under way; SLs of a host share it."""
    without_certificate: int = 256
    """Open connections of all clients without a certificate, where those are let in at all: so
    that they cannot keep nodes out."""
    handshake_s: float = 10.0
    """Seconds for the TLS handshake."""
    request_s: float = 30.0
    """Seconds from a connection's start, or a request's first byte, to the request's end."""
    answer_s: float = 30.0
    """Seconds that a client may take nothing of an answer that waits for it."""
    idle_s: int = 75
    """Seconds that an idle connection is kept for the next request."""
    goodbye_s: float = 5.0
    """Seconds that a client has to answer TLS's goodbye."""
    head: int = 32 << 10
    """Bytes of a request's first line and headers."""


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place; the protocol takes it after the handshake, and leaves it."""

    address: str
    sock: socket.socket
    _door: "Door" = field(repr=False)
    certificate: str = ""
    """Fingerprint, once it shook hands."""
    left: bool = False

    def take(self, certificate: str) -> bool:
        """The connection shook hands; False where it may not stay."""
        return not self.left and self._door.seat(self, certificate)

    def leave(self) -> None:
        """The connection ended; more than once is harmless."""
        if not self.left:
            self.left = True
            self._door.left(self)


Make = Callable[[Place], asyncio.Protocol]


class Door:
    """Accepts connections; see the module.

    Args:
        context: of the server.
        make: makes a connection's protocol; it calls its place's ``take`` and ``leave``.
        limits: how many.
    """

    def __init__(self, context: ssl.SSLContext, make: Make, limits: Limits) -> None:
        self._context = context
        self._make = make
        self._limits = limits
        self._shaking: dict[Place, asyncio.Task[None]] = {}
        self._addresses: Counter[str] = Counter()
        self._certificates: Counter[str] = Counter()
        self._turned_away = 0
        self._told = float("-inf")

    async def run(self, sock: socket.socket) -> None:
        """Let clients in until cancelled; ``sock`` listens already."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    client, address = await loop.sock_accept(sock)
                except OSError as exc:
                    log.warning("cannot accept connections: %s", exc)
                    await asyncio.sleep(BREATH_S)
                else:
                    self._open(client, source_of(str(address[0])))
                    await asyncio.sleep(0)  # a flood of connections must not stop everything else
        finally:
            for place in list(self._shaking):
                self._show_out(place)
            if self._shaking:
                await asyncio.wait(self._shaking.values())

    def seat(self, place: Place, certificate: str) -> bool:
        """See :meth:`Place.take`."""
        limits = self._limits
        most = limits.per_certificate if certificate else limits.without_certificate
        if self._certificates[certificate] >= most:
            self._complain(
                f"certificate {certificate[:16]}..." if certificate else "no certificate"
            )
            return False
        place.certificate = certificate
        self._certificates[certificate] += 1
        self._shaking.pop(place, None)
        return True

    def left(self, place: Place) -> None:
        """See :meth:`Place.leave`."""
        _less(self._addresses, place.address)
        if place not in self._shaking:
            _less(self._certificates, place.certificate)

    def _open(self, client: socket.socket, address: str) -> None:
        if not self._has_room(address):
            client.close()
            self._complain(address)
            return
        with suppress(OSError):  # for answers that wait in the kernel's or asyncio's buffers
            client.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._limits.answer_s * 1000)
            )
        self._addresses[address] += 1
        place = Place(address, client, self)
        self._shaking[place] = asyncio.ensure_future(self._shake(place))

    def _has_room(self, address: str) -> bool:
        if self._addresses[address] >= self._limits.per_address:
            return self._make_room(address)
        return self._addresses.total() < self._limits.connections or self._make_room(None)

    def _make_room(self, address: str | None) -> bool:
        """Show out who has waited longest without shaking hands, if anybody does."""
        for place in self._shaking:
            if not place.left and address in (None, place.address):
                self._show_out(place)
                return True
        return False

    def _show_out(self, place: Place) -> None:
        with suppress(OSError):
            place.sock.shutdown(socket.SHUT_RDWR)  # asyncio sees the end and cleans up
        place.leave()

    async def _shake(self, place: Place) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make(place), place.sock, ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_s,
                ssl_shutdown_timeout=self._limits.goodbye_s,
            )  # fmt: skip
        except OSError as exc:
            log.debug("no handshake with %s: %s", place.address, exc)
        finally:
            if place in self._shaking:  # the handshake failed, or the client left before its end
                place.leave()
                del self._shaking[place]

    def _complain(self, whom: str) -> None:
        self._turned_away += 1
        now = asyncio.get_running_loop().time()
        if now - self._told >= TELL_EVERY_S:
            log.warning(
                "too many connections of %s: turned away, %d so far", whom, self._turned_away
            )
            self._told = now


def source_of(address: str) -> str:
    """What one owner of ``address`` is counted by: an IPv4 address, or the /64 of an IPv6 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
