"""Model files from and to other SLs: verified, resumed, bounded in time.

Every transfer runs in a thread of its own, because TLS and hashing release the GIL. A file is in
the store only when all of it matches its digest. Connections are kept open: a handshake costs more
than a small model.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Self

from services.common.errors import ConfigError, ForbiddenError, PeerUnavailableError
from services.common.ids import Digest
from services.common.settings import service_address
from services.common.tls import Identity
from services.sl.adapters.intake import Hashers
from services.sl.adapters.job import Stop, run_job
from services.sl.adapters.peer import Connections, Patience, Peer
from services.sl.adapters.store import Store
from services.sl.adapters.transfer import Download, upload
from services.sl.core.links import Links

THREADS = 64
"""Most transfers at a time; a thread each, so that slow peers do not hold up the others."""
SLOWEST = 64 * 1024
"""Bytes per second below which a transfer without a deadline of its own is given up."""
GRACE_SECONDS = 30.0
"""Added to that for connecting, and for retries."""


class Peers:
    """Transfers of one SL.

    Args:
        identity: ours.
        patience: how long to wait for what.
        pack_below: files smaller than this many bytes are asked for in packed form where a link
            is slow; 0: never.
    """

    def __init__(
        self, identity: Identity, patience: Patience | None = None, pack_below: int = 0
    ) -> None:
        self.fetched_bytes = 0
        """On the wire since the start, for the metrics; also the next three."""
        self.fetched_files = 0
        self.fetched_packed = 0
        self.resumed = 0
        self._links = Links(pack_below)
        self._context = identity.client_context()
        self._patience = patience or Patience()
        self._connections = Connections()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="peers")
        self._hashers = Hashers()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections; transfers under way must have been cancelled."""
        self._connections.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._hashers.close()

    async def fetch(
        self, endpoint: str, digest: Digest, size: int, store: Store,
        deadline_s: float | None = None,
    ) -> None:  # fmt: skip
        """Download a file into the store, unless it is there.

        A connection that breaks is resumed where it broke; what arrives damaged is fetched once
        more. Cancelling stops it at once and leaves nothing behind.

        Args:
            endpoint: ``host:port`` of the peer's file server.
            digest: of the file.
            size: of the file in bytes, as announced; another one is refused.
            store: where it goes.
            deadline_s: seconds for all of it; by default 30 and one per 64 KiB.

        Raises:
            PeerUnavailableError: the peer cannot be reached, is too slow or silent, lacks the file
                or refuses.
            DigestMismatchError: it serves something else under this digest.
            StorageError: our disk is full or fails.
        """
        if await store.holds(digest):
            return
        download: Download | None = None
        try:
            async with self._peer(endpoint, size, deadline_s) as peer:
                download = Download(peer, digest, size, store, self._hashers, self._links)
                await self._run(download.run)
        except TimeoutError as exc:
            got = download.received if download else 0
            raise PeerUnavailableError(
                f"{endpoint} is too slow: {got} of {size} bytes of model {digest:.12} in time"
            ) from exc
        finally:
            if download is not None:
                self.fetched_bytes += download.received
                self.resumed += download.resumed
                self.fetched_packed += download.packed
        self.fetched_files += 1

    async def push(
        self, endpoint: str, digest: Digest, size: int, store: Store,
        deadline_s: float | None = None,
    ) -> None:  # fmt: skip
        """Leave a copy of a file with a peer.

        Args:
            endpoint: ``host:port`` of the peer's file server.
            digest: of the file.
            size: of the file in bytes.
            store: where it is.
            deadline_s: as for :meth:`fetch`.

        Raises:
            PeerUnavailableError: the peer cannot be reached, is too slow, or refuses.
            NotFoundError: we do not have the file.
        """
        try:
            async with self._peer(endpoint, size, deadline_s) as peer:
                await self._run(lambda stop: upload(peer, digest, store, stop))
        except TimeoutError as exc:
            raise PeerUnavailableError(
                f"{endpoint} is too slow: it did not take model {digest:.12} in time"
            ) from exc

    async def _run(self, job: Callable[[Stop], None]) -> None:
        try:
            await run_job(self._threads, job)
        except ForbiddenError as exc:
            raise PeerUnavailableError(f"the peer is no SL: {exc}") from exc

    @asynccontextmanager
    async def _peer(
        self, endpoint: str, size: int, deadline_s: float | None
    ) -> AsyncIterator[Peer]:
        """The peer with its address looked up, for as long as the deadline allows."""
        async with asyncio.timeout(deadline_s or GRACE_SECONDS + size / SLOWEST):
            try:
                host, port = service_address(endpoint)
                async with asyncio.timeout(self._patience.connect_s):
                    addresses = await asyncio.get_running_loop().run_in_executor(
                        self._threads, _resolve, host, port
                    )
            except (OSError, UnicodeError, ConfigError) as exc:
                why = "no answer in time" if isinstance(exc, TimeoutError) else exc
                raise PeerUnavailableError(f"cannot look up {endpoint!r}: {why}") from exc
            yield Peer(endpoint, host, addresses, self._context, self._patience, self._connections)


def _resolve(host: str, port: int) -> list[tuple[object, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
