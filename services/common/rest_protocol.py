"""HTTP over mutual TLS as our servers speak it: uvicorn's protocol, the client's certificate in
the scope, and an end to clients that are slow, talk too much or do not listen."""  # noqa: D205, D209

import asyncio
import logging
from datetime import UTC, datetime
from typing import cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.common.door import Limits, Place
from services.common.tls import Identity, present_of, read_certificate

log = logging.getLogger("swarm.rest")


class _RefusedError(Exception):
    """Ends the parsing of a request; uvicorn answers 400 and closes."""


class TlsProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        config: of uvicorn's server.
        state: of uvicorn's server.
        place: the connection's.
        limits: of the server.
        identity: ours; who is not trusted any more is cut off at its next request.
    """

    def __init__(
        self, config: Config, state: ServerState, place: Place, limits: Limits,
        identity: Identity | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, state, {})
        self._identity = identity
        self._trusted = -1
        """Generation of our identity that trusts the client, for sure until it expires."""
        self._place = place
        self._limits = limits
        self._head = 0
        self._arrived = 0
        self._request_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The handshake is done: take the place, and wait for a request."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        self._peer = read_certificate(der) if der else None
        if tls is not None and (present := present_of(tls)) is not None:
            self._trusted = present.generation
        if self._place.take(self._peer.fingerprint if self._peer else ""):
            self._expect_request()
        else:
            self._refuse("503 Service Unavailable", "too many connections of this certificate")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, whoever ended it."""
        self._place.leave()
        self._request_came()
        self._answer_goes()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, for so long and so much only."""
        if self.transport.is_closing():
            return
        if self._request_timer is None and not self._is_busy():
            self._expect_request()
        self._arrived += len(data)
        if not self._is_busy() and not self._is_trusted():
            return
        super().data_received(data)
        if self._arrived > self._limits.head and self._head and not self.transport.is_closing():
            self._refuse("431 Request Header Fields Too Large", "request head too large")

    def _is_trusted(self) -> bool:
        """Whether a new handshake would succeed; if not, the client shall make one and hear why."""
        peer, identity = self._peer, self._identity
        if peer is None or identity is None:
            return True
        generation = identity.generation
        if generation == self._trusted and datetime.now(UTC) < peer.not_after:
            return True
        why = identity.objection(self.transport.get_extra_info("ssl_object"))
        self._trusted = generation
        if why is None:
            return True
        log.warning("connection of %s cut: %s", peer.common_name, why)
        self.transport.abort()
        return False

    # --- called by the parser

    def on_message_begin(self) -> None:
        """A request begins; clients that send the next before the answer are refused."""
        if self._is_busy():
            raise _RefusedError("one request at a time")
        super().on_message_begin()
        tls: dict[object, object] = {"client_certificate": self._peer}
        if self._identity is not None:
            tls["is_revoked"] = self._identity.is_revoked
        self.scope["extensions"] = {"tls": tls}
        self._head = 1
        self._arrived = 0

    def on_url(self, url: bytes) -> None:
        """Part of the first line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer after the body."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the application begins."""
        super().on_headers_complete()
        self._head = 0

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._head = 0
        self._request_came()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self._limits.head:
            raise _RefusedError("request head too large")

    # --- called by the server and the transport

    def shutdown(self) -> None:
        """End the connection; an idle one at once, not when its client answers TLS's goodbye."""
        idle = not self._is_busy()
        super().shutdown()
        if idle:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client takes less than we send: wait for it, but not for long."""
        super().pause_writing()
        if self._answer_timer is None:
            self._answer_timer = self.loop.call_later(self._limits.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client took what we sent."""
        super().resume_writing()
        self._answer_goes()

    # --- deadlines

    def _is_busy(self) -> bool:
        """Whether a request is being answered, or still arriving."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _expect_request(self) -> None:
        self._request_timer = self.loop.call_later(self._limits.request_s, self.transport.abort)

    def _request_came(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _answer_goes(self) -> None:
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _refuse(self, status: str, text: str) -> None:
        head = f"content-type: text/plain\r\ncontent-length: {len(text)}\r\nconnection: close"
        self.transport.write(f"HTTP/1.1 {status}\r\n{head}\r\n\r\n{text}".encode())
        self.transport.close()
