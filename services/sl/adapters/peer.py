"""Another SL's file server as a blocking job sees it: where it is, and connections kept to it."""

import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.sl.adapters.job import Stop
from services.sl.adapters.peer_connection import Address, Answer, PeerConnection

KEPT = 2
"""Idle connections kept per peer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for another SL."""

    connect_s: float = 5.0
    """For a connection, and again for the TLS handshake."""
    stall_s: float = 10.0
    """Without receiving or sending anything."""
    tries: int = 5
    """Connections in a row that bring no progress."""
    backoff_s: float = 0.1
    """Pause before the second try; doubles with each further one."""


class UnreachableError(OSError):
    """No connection could be made, or TLS refused one of the two certificates."""


class Connections:
    """Idle connections by endpoint, shared by all jobs."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[PeerConnection]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closed = False

    def take(self, endpoint: str) -> PeerConnection | None:
        """A connection for the caller alone, if there is one."""
        with self._lock:
            idle = self._idle[endpoint]
            return idle.pop() if idle else None

    def keep(self, endpoint: str, connection: PeerConnection) -> None:
        """Keep a connection whose answers were all read, or close it where there are enough."""
        with self._lock:
            idle = self._idle[endpoint]
            if not self._closed and len(idle) < KEPT:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close all, and from now on keep none."""
        with self._lock:
            self._closed = True
            for idle in self._idle.values():
                for connection in idle:
                    connection.close()
            self._idle.clear()


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a file server is and how to talk to it."""

    endpoint: str
    """``host:port``."""
    host: str
    addresses: Sequence[Address]
    context: ssl.SSLContext
    patience: Patience
    connections: Connections

    def ask(
        self, request: Callable[[PeerConnection], Answer], stop: Stop
    ) -> tuple[PeerConnection, Answer]:
        """Send a request over a kept connection, or over a new one where those are dead.

        Returns:
            The connection, to be kept or closed by the caller, and the answer's head.

        Raises:
            UnreachableError: no connection.
            ForbiddenError: the other side is no SL.
            OSError: it was cut before the answer.
        """
        while (kept := self.connections.take(self.endpoint)) is not None:
            if not kept.is_present(self.context):
                kept.close()
                continue
            stop.waken_by(kept.cut)
            try:
                return kept, request(kept)
            except OSError:
                kept.close()
                stop.check()
            except BaseException:
                kept.close()
                raise
        fresh = self._dial(stop)
        stop.waken_by(fresh.cut)
        try:
            return fresh, request(fresh)
        except BaseException:
            fresh.close()
            raise

    def _dial(self, stop: Stop) -> PeerConnection:
        try:
            return PeerConnection.dial(
                self.addresses, self.host, self.context, self.patience.connect_s,
                self.patience.stall_s, stop,
            )  # fmt: skip
        except OSError as exc:
            stop.check()
            raise UnreachableError(words(exc)) from exc


def words(exc: OSError) -> str:
    """What went wrong, without errno and source lines."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({exc.verify_message})"
    if isinstance(exc, ssl.SSLError) and "_ALERT_" in (exc.reason or ""):
        return f"it refused our certificate or TLS version ({exc.reason})"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({exc.reason or exc})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return exc.strerror or str(exc)
