"""A blocking job in a thread that can be told to stop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


class Stopped(BaseException):
    """Raised in a job that was told to stop; only :func:`run_job` sees it."""


class Stop:
    """Tells a job to stop. A job asks often (:meth:`check`) and never waits without it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def check(self) -> None:
        """Raise :class:`Stopped` if the job is to stop."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait; raise :class:`Stopped` as soon as the job is to stop."""
        self._event.wait(seconds)
        self.check()

    def waken_by(self, wake: Callable[[], None]) -> None:
        """Say how another thread can end the blocking calls that come next."""
        with self._lock:
            self._wake = wake
        self.check()

    def set(self) -> None:
        """Tell the job."""
        self._event.set()
        with self._lock:
            if self._wake is not None:
                self._wake()


async def run_job(executor: Executor | None, job: Callable[[Stop], Result]) -> Result:
    """Run ``job`` in a thread. Cancelling this stops it and waits until it has cleaned up.

    Args:
        executor: whose threads to use; the event loop's own where it is None.
        job: called with what will tell it to stop.
    """
    stop = Stop()
    future = asyncio.get_running_loop().run_in_executor(executor, job, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise
