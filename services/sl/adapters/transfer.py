"""One model file from or to another SL: the blocking jobs behind ``peers``."""

import json
import logging
import time
from typing import NoReturn

from services.common.errors import DigestMismatchError, PeerUnavailableError
from services.common.ids import Digest
from services.sl.adapters.intake import Hashers, Intake
from services.sl.adapters.job import Stop
from services.sl.adapters.peer import Peer, UnreachableError, words
from services.sl.adapters.peer_connection import Answer, PeerConnection
from services.sl.adapters.store import Store
from services.sl.core.links import Links
from services.sl.core.packing import PackingError, Unpacker
from swarmlearning.wire.digest import CHUNK

log = logging.getLogger("swarm.sl.peers")

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
        hashers: hash what arrives.
        links: says whether to ask for it packed, and learns how fast it came.
    """

    def __init__(
        self, peer: Peer, digest: Digest, size: int, store: Store, hashers: Hashers, links: Links
    ) -> None:
        self.received = 0
        """Bytes on the wire so far."""
        self.resumed = 0
        """How often it went on after a cut."""
        self.packed = False
        """Whether some of it came packed."""
        self._peer, self._digest, self._size, self._store = peer, digest, size, store
        self._hashers, self._links = hashers, links

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
                with Intake(draft, self._size, self._hashers) as intake:
                    self._fill(intake, stop)
                    if intake.hexdigest() == self._digest:
                        draft.commit(self._digest)
                        return
                log.warning("model %.12s from %s is damaged%s", self._digest, self._peer.endpoint,
                            "" if last else ": fetching it again")  # fmt: skip
                draft.restart()
            raise DigestMismatchError(
                f"what {self._peer.endpoint} serves as model {self._digest} is another file"
            )

    def _fill(self, intake: Intake, stop: Stop) -> None:
        """Receive until the file is complete, over as many connections as it takes."""
        failures = 0
        while intake.missing:
            before = intake.received
            try:
                self._receive(intake, stop)
            except OSError as exc:
                stop.check()
                failures = 0 if intake.received > before else failures + 1
                if failures and (failures >= self._peer.patience.tries or self._hopeless(exc)):
                    raise PeerUnavailableError(self._complaint(exc)) from exc
                log.info("model %.12s from %s broke off at %d of %d bytes (%s): going on",
                         self._digest, self._peer.endpoint, intake.received, self._size,
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

    def _receive(self, intake: Intake, stop: Stop) -> None:
        """One request for what is still missing.

        Packed only as long as no connection broke: part of a packed chunk is of no use later.
        """
        peer, offset = self._peer, intake.received
        packed = not self.resumed and self._links.pays(peer.endpoint, self._size)
        connection, answer = peer.ask(lambda c: c.get(self._digest, offset, packed), stop)
        began, before = time.monotonic(), self.received
        try:
            self._check(connection, answer, offset)
            if answer.packed:
                self._receive_packed(connection, intake, stop)
            else:
                while intake.missing:
                    stop.check()
                    self._receive_piece(connection, intake)
        except BaseException:
            connection.close()
            raise
        self._links.note(peer.endpoint, self.received - before, time.monotonic() - began)
        finish(peer, connection, answer)

    def _receive_piece(self, connection: PeerConnection, intake: Intake) -> None:
        """Receive one piece; what arrived before a cut counts, too."""
        room = intake.room()
        filled = 0
        try:
            while filled < len(room):
                filled += connection.read_into(room[filled:])
        finally:
            self.received += filled
            intake.add(room[:filled])

    def _receive_packed(self, connection: PeerConnection, intake: Intake, stop: Stop) -> None:
        self.packed = True
        unpacker = Unpacker()
        while intake.missing:
            stop.check()
            chunk = connection.read_chunk()
            self.received += len(chunk)
            room = memoryview(bytearray(min(CHUNK - intake.received % CHUNK, intake.missing)))
            try:
                unpacker.unpack(chunk, room)
            except PackingError as exc:
                raise ConnectionError(str(exc)) from exc
            intake.add(room)
        if connection.read_chunk():
            raise ConnectionError("the packed body is longer than the file")

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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        log.debug("%s gave no reason: %s", peer.endpoint, exc)
    if answer.status == BUSY:
        raise ConnectionError(f"the peer is busy: {reason}")
    raise PeerUnavailableError(f"{peer.endpoint} refused: {reason}", code or None)
