"""Blocking requests and answers over the two FIFOs that the SL makes.

Plain blocking code without threads: it runs inside someone's training loop. No wait is silent: a
line each second until the SL is there, a line each minute while it works, and Ctrl-C always works.
"""

import errno
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from weakref import WeakSet, finalize

from swarmlearning.wire.codec import Decoder, encode
from swarmlearning.wire.messages import Message

REQUEST_VARIABLE = "SL_REQUEST_CHANNEL"
RESPONSE_VARIABLE = "SL_RESPONSE_CHANNEL"

POLL_SECONDS = 0.05
"""How often an absent pipe or SL is looked for."""

LINE_SECONDS = 1.0
"""How often a line says that we still look."""

PATIENCE_SECONDS = 60.0
"""How often a line says that the SL has not answered yet."""

Sleep = Callable[[float], None]

_open_channels: "WeakSet[Channel]" = WeakSet()


class ChannelError(RuntimeError):
    """The SL cannot be reached, or broke off."""


def say(text: str) -> None:
    """One plain line on stdout, at once, as HPE's client prints its waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def now() -> str:
    """Local time, ISO format, with microseconds."""
    return datetime.now().isoformat()  # noqa: DTZ005 - HPE prints local time


def channel_paths(environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Request and response pipe, as the environment names them.

    Raises:
        ChannelError: a variable is missing or empty.
    """
    for variable in (REQUEST_VARIABLE, RESPONSE_VARIABLE):
        if not environment.get(variable):
            raise ChannelError(
                f"{variable}: bad environment variable; cannot create bridge. "
                "SWOP or run-sl sets it for a program they start beside an SL node; to try the "
                "program without a swarm, set SWARM_LOOPBACK=true"
            )
    return (
        Path(environment[REQUEST_VARIABLE]).resolve(),
        Path(environment[RESPONSE_VARIABLE]).resolve(),
    )


def wait_for_file(path: Path, sleep: Sleep = time.sleep) -> None:
    """Check that the SL made the model file ``path``; look a second time after one second.

    Raises:
        ChannelError: it is not a regular file.
    """
    say(f"{now()} {path}: waiting for weight files to be created")
    if not path.is_file():
        sleep(1.0)
    if not path.is_file():
        raise ChannelError(
            f"{path}: cannot create file. The SL makes it; do both containers share the volume "
            f"{path.parent}?"
        )


class Channel:
    """The pair of pipes to the SL; one for the whole life of the program.

    Args:
        request: pipe that we write.
        response: pipe that we read.
        sleep: sleeps for seconds.
    """

    def __init__(self, request: Path, response: Path, sleep: Sleep = time.sleep) -> None:
        self._request, self._response = request, response
        self._sleep = sleep
        self._out = self._in = -1
        self._forgotten: finalize[..., Channel] | None = None
        """Closes the pipes when a program drops its callback, as by a notebook's ``del``."""
        self._decoder = Decoder()

    def require_free(self) -> None:
        """Check that this program has no other session open on these pipes.

        Raises:
            ChannelError: it has one.
        """
        if any(self._request == other._request for other in _open_channels):
            raise ChannelError(
                f"{self._request}: this program has a session with this SL already. Use one "
                "SwarmCallback per SL: end the first one by on_train_end, or start the program anew"
            )

    def wait_for_pipes(self) -> None:
        """Wait for ever, with a line each second, until the SL made both pipes.

        Raises:
            ChannelError: a path is there but is not a pipe.
        """
        for path in (self._request, self._response):
            self._wait(path.exists, f"{path}: waiting for pipes to be created")
            if not stat.S_ISFIFO(path.stat().st_mode):
                raise ChannelError(f"{path}: cannot create pipe. Something else has this name")

    def open(self) -> None:
        """Open both pipes, the response first, with a line each second until the SL did too.

        Raises:
            ChannelError: a pipe may not be opened.
        """
        self._wait(self._try_open, f"{self._request}: waiting for the SL to open the pipe")
        os.set_blocking(self._out, True)
        _open_channels.add(self)
        self._forgotten = finalize(self, _close, self._out, self._in)

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            ChannelError: the SL closed the pipe.
            WireError: the message cannot be sent.
        """
        data = memoryview(encode(message))
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as exc:
            raise ChannelError(
                f"cannot write to the SL: {exc.strerror}: pipe closed? Its log says why it ended"
            ) from exc

    def receive(self, waiting: Callable[[int], None]) -> Message:
        """The SL's next message, however long it takes.

        Args:
            waiting: called each minute with the seconds waited so far.

        Raises:
            ChannelError: the SL closed the pipe.
            WireError: what came is not a message of this protocol.
        """
        started, readable = time.monotonic(), select.poll()
        readable.register(self._in, select.POLLIN)
        while (message := self._decoder.next_message()) is None:
            if not readable.poll(PATIENCE_SECONDS * 1000):
                waiting(round(time.monotonic() - started))
                continue
            data = os.read(self._in, 65536)
            if not data:
                wanted, got = self._decoder.pending
                raise ChannelError(
                    f"wanted: {wanted} bytes, got {got} bytes: pipe closed? "
                    "The SL ended; its log says why"
                )
            self._decoder.feed(data)
        return message

    def close(self) -> None:
        """Close both pipes; the SL sees that as our end."""
        if self._forgotten is not None:
            self._forgotten.detach()
        _close(self._out, self._in)
        self._out = self._in = -1
        _open_channels.discard(self)

    def _try_open(self) -> bool:
        """Open the response pipe, then the request pipe as soon as somebody reads it.

        A starting SL replaces pipes that an earlier one left behind; so a response pipe that is
        no longer the one at its path is opened anew.
        """
        try:
            if self._in < 0 or not os.path.samestat(os.fstat(self._in), self._response.stat()):
                if self._in >= 0:
                    os.close(self._in)
                    self._in = -1
                self._in = os.open(self._response, os.O_RDONLY | os.O_NONBLOCK)
            self._out = os.open(self._request, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in (errno.ENXIO, errno.ENOENT):  # nobody reads it yet; being replaced
                return False
            raise ChannelError(f"{exc.filename}: cannot open pipe. {exc.strerror}") from exc
        return True

    def _wait(self, condition: Callable[[], bool], line: str) -> None:
        looks = 0
        while not condition():
            if looks % round(LINE_SECONDS / POLL_SECONDS) == 0:
                say(f"{now()} {line}")
            looks += 1
            self._sleep(POLL_SECONDS)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _close_in_child() -> None:
    """A forked data loader must not hold the pipe open: the SL would not see our end."""
    for channel in list(_open_channels):
        channel.close()


os.register_at_fork(after_in_child=_close_in_child)
