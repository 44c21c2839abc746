"""A TLS connection that a client made to us: small things await, bodies are sent from a thread.

A plain ``ssl`` socket without asyncio's transport, which copies every byte several times and
encrypts on the event loop (``docs/performance-data.md``). One user at a time: either the event loop
or one thread.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from services.common.tls import Identity
from services.sl.adapters.job import Stop

READ = 16 * 1024
"""Bytes read at a time on the event loop: one TLS record."""

Result = TypeVar("Result")


class TlsStream:
    """The server's end of one connection; call :meth:`handshake` first, :meth:`abort` last.

    Args:
        sock: accepted, not blocking; closed by :meth:`abort`.
        context: of a server.

    Raises:
        OSError: the client is gone already.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except BaseException:
            sock.close()
            raise
        self._rest = b""

    async def handshake(self) -> bytes:
        """Shake hands; the client's certificate in DER form.

        Raises:
            OSError: one side refused the other (``ssl.SSLError``), or the connection broke.
        """
        await self._when_ready(self._sock.do_handshake)
        return self._sock.getpeercert(binary_form=True) or b""

    def objection(self, identity: Identity) -> str | None:
        """Why its certificate is not trusted any more."""
        return identity.objection(self._sock)

    async def read(self) -> bytes:
        """Some bytes; none when the client said goodbye.

        Raises:
            OSError: the connection broke.
        """
        if self._rest:
            piece, self._rest = self._rest, b""
            return piece
        return await self._when_ready(lambda: self._sock.recv(READ))

    def unread(self, piece: bytes) -> None:
        """Give back bytes that belong to what is read next."""
        self._rest = piece + self._rest

    async def send(self, data: bytes) -> None:
        """Send something small.

        Raises:
            OSError: the connection broke.
        """
        await self._when_ready(lambda: self._sock.sendall(data))

    async def goodbye(self, seconds: float) -> None:
        """End the connection so that the client gets all we sent: it closes first, or is cut."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                with contextlib.suppress(OSError, ValueError):
                    self._sock.unwrap()
                socket.socket.shutdown(self._sock, socket.SHUT_WR)
                while await self._when_ready(lambda: socket.socket.recv(self._sock, READ)):
                    pass

    def abort(self) -> None:
        """Close it at once."""
        self._sock.close()

    # --- for a thread

    @contextmanager
    def blocking(self, stall_s: float, stop: Stop) -> Iterator[None]:
        """While a thread uses the two methods below: how long they wait, and what cuts them off."""
        self._sock.settimeout(stall_s)
        stop.waken_by(self._cut)
        try:
            yield
        finally:
            self._sock.setblocking(False)

    def send_all(self, data: bytes | memoryview) -> None:
        """Send, within the time given to :meth:`blocking`.

        Raises:
            OSError: it was too slow (``TimeoutError``), or the connection broke.
        """
        self._sock.sendall(data)

    def read_into(self, view: memoryview) -> int:
        """Receive at most as much as ``view`` holds; 0 at the end.

        Raises:
            OSError: nothing came in time (``TimeoutError``), or the connection broke.
        """
        if self._rest:
            count = min(len(view), len(self._rest))
            view[:count], self._rest = self._rest[:count], self._rest[count:]
            return count
        return self._sock.recv_into(view)

    def _cut(self) -> None:
        """Shut the socket down under another thread (``SSLSocket.shutdown`` is not safe)."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    async def _when_ready(self, action: Callable[[], Result]) -> Result:
        while True:
            try:
                return action()
            except (ssl.SSLWantReadError, BlockingIOError):
                await self._wait(writing=False)
            except ssl.SSLWantWriteError:
                await self._wait(writing=True)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as exc:
                raise ConnectionResetError("the client is gone") from exc

    async def _wait(self, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if writing
            else (loop.add_reader, loop.remove_reader)
        )  # fmt: skip
        descriptor = self._sock.fileno()
        add(descriptor, _set, ready)
        try:
            await ready
        finally:
            remove(descriptor)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
