"""The two FIFOs to the ML program, as a stream of messages.

Opening order matters (``compat/01`` section 4): an ML program first opens the response pipe for
reading, then the request pipe for writing, and blocks in each until we did the same. We open
without blocking, so that a program that never comes can be given up, and stopping the SL leaves no
thread behind:

* the response pipe cannot be opened for writing until somebody reads it: tried again and again;
* the request pipe opens at once; the kernel reports it readable only when a writer sent something
  or went away, never just because none has come yet.
"""

import asyncio
import errno
import fcntl
import logging
import os
import select
import stat
import sys
from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from pathlib import Path

from services.common.errors import ConfigError, MlError
from services.sl.adapters.handover import FILES
from services.sl.adapters.spool import Spool
from swarmlearning.wire.codec import (
    API_VERSION,
    MAX_SENT,
    Decoder,
    VersionError,
    encode,
    encode_start,
)
from swarmlearning.wire.messages import LossRequest, Message, Status, StatusCode
from swarmlearning.wire.tensors import WireError

log = logging.getLogger("swarm.sl.bridge")

LOOK_SECONDS = 0.05
"""How often we look whether the ML program came."""

NOTICE_SECONDS = 60.0
"""How often a line says that we still wait for it."""

STALL_SECONDS = 5.0
"""Longest pause inside one message, and longest wait for room in the response pipe."""

PIPE_BYTES = 1024 * 1024
"""Size of a pipe that weights go through; the kernel gives everybody that much."""

_VERSIONS = (
    "This SL works with the swarmlearning client wheels 2.1, 2.2 and 2.3 and with our own: install "
    "one of these in the ML image"
)

_MODE = 0o777  # the ML program runs as a user of its own (HPE, HPESL-634)


class Bridge:
    """One session's pair of pipes, with the files beside them.

    Args:
        request: pipe that the ML program writes.
        response: pipe that it reads.
        folder: the hand-over folder.
        limit: longest message that is taken (bytes).
    """

    def __init__(self, request: Path, response: Path, folder: Path, limit: int = MAX_SENT) -> None:
        self._request, self._response, self._folder = request, response, folder
        self._in = self._out = -1
        self._spool = Spool(folder, limit)
        self._decoder = Decoder(self._spool)
        self._sending = False
        """A message is under way, or was broken off."""
        self._made: dict[Path, int] = {}
        """Our pipes and a descriptor of each, which keeps its inode number from being reused."""

    def prepare(self) -> None:
        """Make the model files and then the pipes, and print HPE's line for each.

        In this order, because HPE's client looks for the files only once, right after it sees the
        pipes. Pipes that an earlier run left behind are replaced, files are kept.

        Raises:
            ConfigError: a path cannot be made, or something else is there.
        """
        try:
            for folder in (self._folder, self._request.parent, self._response.parent):
                if not folder.is_dir():
                    folder.mkdir(parents=True)
                    folder.chmod(_MODE)
            for name in FILES:
                self._make_file(self._folder / name)
            for pipe in (self._request, self._response):
                self._make_pipe(pipe)
        except OSError as exc:
            raise ConfigError(f"{exc.filename}: cannot create it: {exc.strerror}") from exc

    async def connect(self, timeout: float) -> None:
        """Wait until an ML program opened both pipes and began to talk.

        Args:
            timeout: seconds.

        Raises:
            MlError: none came in time (code ``ml-absent``), or it went away again.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._open_response()
                self._in = os.open(self._request, os.O_RDONLY | os.O_NONBLOCK)
                _widen(self._in)
                await self._first_bytes()
        except TimeoutError as exc:
            raise MlError(
                f"no ML program opened the pipes {self._response} and {self._request} within "
                f"{timeout:g} s; its log says why (SL_ML_CONNECT_TIMEOUT sets the time)",
                code="ml-absent",
            ) from exc

    async def receive(self) -> Message:
        """The ML program's next message, however long that takes.

        May be cancelled; nothing is lost.

        Raises:
            MlError: it closed the pipe (code ``ml-closed`` between two messages), stopped inside a
                message, or sent something that is not a message. In the last case it was told.
            StorageError: there is no room for a message that carries weights.
        """
        try:
            while (message := self._decoder.next_message()) is None:
                if not self._decoder.between_messages:
                    await asyncio.sleep(0)  # others have their turn during a long message
                self._decoder.feed(await self._read())
        except VersionError as exc:
            advice = f"{exc}. {_VERSIONS}"
            await self._complain(advice, min(exc.version, API_VERSION))
            raise MlError(f"the ML program broke the protocol: {advice}") from exc
        except WireError as exc:
            await self._complain(str(exc))
            raise MlError(f"the ML program broke the protocol: {exc}") from exc
        return message

    async def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            MlError: the ML program is gone, or reads nothing.
            WireError: the message cannot be sent; a bug of ours.
        """
        await self._write([encode(message)])

    async def send_weights(
        self, message: LossRequest, size: int, pieces: Iterable[bytes | memoryview]
    ) -> None:
        """Send a message that carries weights.

        Args:
            message: all but the weights; without a file name.
            size: of the weights, bytes.
            pieces: of them, together of that size.

        Raises:
            MlError: see :meth:`send`.
            WireError: they are too long for protobuf.
        """
        _widen(self._out)
        await self._write(chain([encode_start(message, size)], pieces))

    async def _write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write a whole message. One that was broken off leaves no place for another."""
        if self._sending:
            raise MlError("the ML program waits for the rest of a message that was broken off")
        self._sending = True
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[os.write(self._out, rest) :]
                    if rest:
                        await asyncio.sleep(0)
                except BlockingIOError:
                    await self._room()
                except OSError as exc:
                    self._sending = False
                    raise MlError(
                        "the ML program closed its pipe: it ended or was killed; its log says why",
                        code="ml-closed",
                    ) from exc
        self._sending = False

    def reopen(self) -> None:
        """Let go of an ML program, so that :meth:`connect` can wait for the next one.

        The pipes stay: a program that has them open by now would wait in new ones for ever.
        """
        for fd in (self._in, self._out):
            if fd >= 0:
                os.close(fd)
        self._in = self._out = -1
        self._spool.close()
        self._decoder, self._sending = Decoder(self._spool), False

    def close(self) -> None:
        """Close the pipes, which the ML program sees as our end, and remove them."""
        self.reopen()
        for path, made in self._made.items():
            try:
                if os.path.samestat(path.lstat(), os.fstat(made)):
                    path.unlink()
            except OSError as exc:
                log.debug("%s: not removed: %s", path, exc)
            os.close(made)
        self._made.clear()

    def _make_file(self, path: Path) -> None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            path.touch(exist_ok=False)
            path.chmod(_MODE)
            _print(path, "file created")
            return
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: cannot create file. Something else is there: remove it")
        if stat.S_IMODE(found.st_mode) != _MODE:
            path.chmod(_MODE)
        _print(path, "File exists")

    def _make_pipe(self, path: Path) -> None:
        try:
            if not stat.S_ISFIFO(path.lstat().st_mode):
                raise ConfigError(f"{path}: cannot create pipe. Something else is there: remove it")
            path.unlink()
        except FileNotFoundError:
            pass
        os.mkfifo(path)
        path.chmod(_MODE)
        self._made[path] = os.open(path, os.O_PATH)
        _print(path, "pipe created")

    async def _open_response(self) -> None:
        looks = 0
        while True:
            try:
                self._out = os.open(self._response, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as exc:
                if exc.errno != errno.ENXIO:
                    raise MlError(f"{self._response}: cannot open pipe: {exc.strerror}") from exc
            else:
                return
            await asyncio.sleep(LOOK_SECONDS)
            looks += 1
            if looks % round(NOTICE_SECONDS / LOOK_SECONDS) == 0:
                log.info("waiting for the ML program to open %s", self._response)

    async def _first_bytes(self) -> None:
        """Wait until the request pipe has something, as long as the response pipe has a reader."""
        reader = select.poll()
        reader.register(self._out, 0)  # POLLERR comes unasked
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._readable()
            except TimeoutError:
                if reader.poll(0):
                    raise MlError(
                        "the ML program went away before it opened a session; its log says why",
                        code="ml-closed",
                    ) from None
            else:
                return

    async def _read(self) -> bytes:
        """The next bytes, at least one."""
        idle = self._decoder.between_messages
        data = self._available()
        if data is None:
            try:
                async with asyncio.timeout(None if idle else STALL_SECONDS):
                    await self._readable()
            except TimeoutError as exc:
                raise MlError(
                    f"the ML program stopped in the middle of a message: {self._progress()}"
                ) from exc
            return await self._read()
        if data:
            return data
        if idle:
            raise MlError(
                "the ML program closed its pipe: it ended or was killed; its log says why",
                code="ml-closed",
            )
        raise MlError(f"the ML program ended in the middle of a message: {self._progress()}")

    def _available(self) -> bytes | None:
        """What the pipe holds: empty once the ML program closed it, None if nothing is there."""
        try:
            return os.read(self._in, PIPE_BYTES)
        except BlockingIOError:
            return None

    def _progress(self) -> str:
        wanted, got = self._decoder.pending
        return f"wanted {wanted} bytes, got {got}"

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._in, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._in)

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._out, _settle, ready)
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await ready
        except TimeoutError as exc:
            raise MlError("the ML program does not read its pipe any more") from exc
        finally:
            loop.remove_writer(self._out)

    async def _complain(self, text: str, version: int = API_VERSION) -> None:
        """Tell the ML program what it did wrong, if it still listens.

        In its own version, where that is an older one: it would not read a header of another.
        """
        try:
            await self._write([encode(Status(StatusCode.ERROR_IN_USER, text), version)])
        except MlError as exc:
            log.debug("the ML program could not be told: %s", exc)


def _widen(pipe: int) -> None:
    """Make room for larger pieces: fewer turns between the two programs."""
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError as exc:
        log.debug("the pipe stays as it is: %s", exc)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _print(path: Path, text: str) -> None:
    """A plain line, as HPE's SL prints it and users look for it."""
    sys.stdout.write(f"{datetime.now().isoformat()} {path}: {text}\n")  # noqa: DTZ005 - HPE's form
    sys.stdout.flush()
