"""One model file from or to another SL: the blocking jobs behind ``peers``."""

import json
import logging
from typing import NoReturn

from services.common.errors import DigestMismatchError, PeerUnavailableError
from services.common.ids import Digest
from services.sl.adapters.job import Stop
from services.sl.adapters.peer import Peer, UnreachableError, words
from services.sl.adapters.peer_connection import Answer, PeerConnection
from services.sl.adapters.store import Draft, Store
from swarmlearning.wire.digest import Digester

log = logging.getLogger("swarm.sl.peers")

PIECE = 256 * 1024
"""Bytes received, hashed and written at a time."""
LONGEST_PAUSE = 2.0
"""Seconds between two tries at most."""
MAX_PROBLEM = 4096
"""Longest explanation of an error that is read (bytes)."""
MAX_REASON = 300
"""Longest reason of a peer's that we repeat (characters)."""
BUSY = 503


class Download:
    """A file on its way into the store.

    Args:
        peer: who has it.
        digest: of the file.
        size: of the file, bytes, as announced on the contract.
        store: where it goes.
    """

    def __init__(self, peer: Peer, digest: Digest, size: int, store: Store) -> None:
        self.received = 0
        """Bytes so far, for messages."""
        self.resumed = 0
        """How often it went on after a cut."""
        self._peer, self._digest, self._size, self._store = peer, digest, size, store

    def run(self, stop: Stop) -> None:
        """Download, verify, store; a file that is not what it should be is fetched once more.

        Raises:
            PeerUnavailableError: the peer cannot be reached, does not serve the file, or cuts
                every connection.
            DigestMismatchError: what it serves is another file, or another length.
            StorageError: our disk is full or fails.
        """
        with self._store.writer(self._size) as draft:
            for last in (False, True):
                sink = _Sink(draft, self._size)
                self._fill(sink, stop)
                if sink.hexdigest() == self._digest:
                    draft.commit(self._digest)
                    return
                log.warning("model %.12s from %s is damaged%s", self._digest, self._peer.endpoint,
                            "" if last else ": fetching it again")  # fmt: skip
                draft.restart()
            raise DigestMismatchError(
                f"what {self._peer.endpoint} serves as model {self._digest} is another file"
            )

    def _fill(self, sink: "_Sink", stop: Stop) -> None:
        """Receive until the file is complete, over as many connections as it takes."""
        failures = 0
        while sink.written < self._size:
            before = sink.written
            try:
                self._receive(sink, stop)
            except OSError as exc:
                stop.check()
                failures = 0 if sink.written > before else failures + 1
                if failures and (failures >= self._peer.patience.tries or self._hopeless(exc)):
                    raise PeerUnavailableError(self._complaint(exc)) from exc
                log.info("model %.12s from %s broke off at %d of %d bytes (%s): going on",
                         self._digest, self._peer.endpoint, sink.written, self._size,
                         words(exc))  # fmt: skip
                self.resumed += 1
                pause = self._peer.patience.backoff_s * 2**failures
                stop.pause(min(pause, LONGEST_PAUSE))

    def _hopeless(self, exc: OSError) -> bool:
        """Whether to give up at the first try without progress: nobody there, or silence."""
        silent = isinstance(exc, TimeoutError) or isinstance(exc.__cause__, TimeoutError)
        return silent or (isinstance(exc, UnreachableError) and not self.received)

    def _complaint(self, exc: OSError) -> str:
        got = f" after {self.received} of {self._size} bytes" if self.received else ""
        return (
            f"cannot fetch model {self._digest:.12} from {self._peer.endpoint}{got}: {words(exc)}. "
            "Check that the peer is up, its address and port, and the firewall"
        )

    def _receive(self, sink: "_Sink", stop: Stop) -> None:
        """One request for what is still missing."""
        peer, offset = self._peer, sink.written
        connection, answer = peer.ask(lambda c: c.get(self._digest, offset), stop)
        try:
            self._check(connection, answer, offset)
            left = answer.length
            while left:
                stop.check()
                left -= self._receive_piece(connection, sink, left)
        except BaseException:
            connection.close()
            raise
        finish(peer, connection, answer)

    def _receive_piece(self, connection: PeerConnection, sink: "_Sink", left: int) -> int:
        """Receive one piece; what arrived before a cut counts, too."""
        room = sink.room(left)
        filled = 0
        try:
            while filled < len(room):
                filled += connection.read_into(room[filled:])
        finally:
            sink.add(room[:filled])
            self.received += filled
        return filled

    def _check(self, connection: PeerConnection, answer: Answer, offset: int) -> None:
        if answer.status not in (200, 206):
            refuse(self._peer, connection, answer)
        if answer.total != self._size:
            raise DigestMismatchError(
                f"{self._peer.endpoint} has {answer.total} bytes under digest {self._digest:.12}, "
                f"announced were {self._size}"
            )
        if answer.begin != offset or answer.length != self._size - offset:
            raise ConnectionError("the server answered another range than asked for")


class _Sink:
    """Hashes and writes what arrives.

    In the same thread: a second one for hashing was measured to gain nothing on two cores, and
    several downloads at a time use all cores anyway.
    """

    def __init__(self, draft: Draft, size: int) -> None:
        self._draft = draft
        self._digester = Digester()
        self._room = memoryview(bytearray(min(PIECE, size)))

    @property
    def written(self) -> int:
        """Bytes so far."""
        return self._draft.written

    def room(self, most: int) -> memoryview:
        """Memory to receive into; then call :meth:`add`."""
        return self._room[:most]

    def add(self, piece: memoryview) -> None:
        """Take the first bytes of what :meth:`room` gave."""
        self._digester.update(piece)
        self._draft.write(piece)

    def hexdigest(self) -> str:
        """Digest of everything."""
        return self._digester.hexdigest()


def upload(peer: Peer, digest: Digest, store: Store, stop: Stop) -> None:
    """Leave a copy of one of our files with a peer; it need not take it if it has it.

    Raises:
        PeerUnavailableError: the peer cannot be reached, cut the connection or refused the copy.
        NotFoundError: we do not have the file.
    """
    with store.open(digest) as model:
        try:
            connection, answer = peer.ask(lambda c: c.put(model), stop)
            if answer.status not in (200, 201):
                try:
                    refuse(peer, connection, answer)
                finally:
                    connection.close()
        except OSError as exc:
            stop.check()
            raise PeerUnavailableError(
                f"cannot leave model {digest:.12} at {peer.endpoint}: {words(exc)}"
            ) from exc
    finish(peer, connection, answer)


def finish(peer: Peer, connection: PeerConnection, answer: Answer) -> None:
    """Keep a connection whose answer was read to its end, unless the server closes it."""
    if answer.close:
        connection.close()
    else:
        peer.connections.keep(peer.endpoint, connection)


def refuse(peer: Peer, connection: PeerConnection, answer: Answer) -> NoReturn:
    """Turn an error that the server answered into one of ours.

    Raises:
        PeerUnavailableError: with the server's reason.
        ConnectionError: it is busy; trying again later helps.
    """
    reason, code = f"HTTP status {answer.status}", ""
    try:
        body = bytearray(min(answer.length, MAX_PROBLEM))
        filled = 0
        while filled < len(body):
            filled += connection.read_into(memoryview(body)[filled:])
        problem = json.loads(body)
        reason, code = str(problem["detail"])[:MAX_REASON], str(problem["code"])[:40]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        log.debug("%s gave no reason: %s", peer.endpoint, exc)
    if answer.status == BUSY:
        raise ConnectionError(f"the peer is busy: {reason}")
    raise PeerUnavailableError(f"{peer.endpoint} refused: {reason}", code or None)
