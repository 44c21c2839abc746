"""One way to run a service: signals, one clear last message, an exit code."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from services.common.errors import LicenseRefusedError, LicenseUnavailableError, SwarmError
from services.common.resolving import ResolvingLoop

Main = Callable[[], Coroutine[Any, Any, None]]

THREAD_SECONDS = 2.0
"""What threads that do not return, such as a look-up of a name, may hold up an end in order."""
LONGEST_ARGUMENTS = 200
"""Characters of ignored arguments that the log shows."""

log = logging.getLogger("swarm.process")


def run(name: str, main: Main, logger: str = "swarm.process", ignored: Sequence[str] = ()) -> None:
    """Run ``main`` until it returns, fails, or the process gets SIGTERM or SIGINT; then exit.

    A first signal cancels ``main``, which closes what it opened; a second one ends the process at
    once. A :class:`SwarmError` becomes one ERROR line and its exit code; 0 after a signal, because
    being told to stop is not a failure. Any other exception is a bug: traceback and exit code 1.

    Args:
        name: what to call the process in its last line, e.g. ``SL``.
        main: makes the coroutine to run.
        logger: of the first and the last line; HPE's name for the component.
        ignored: arguments that mean nothing to it.
    """
    tell_ignored(name, logger, ignored)
    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        try:
            code = runner.run(_supervise(name, main))
        except SwarmError as exc:
            code = _say_last(name, exc, logger)
        except BaseExceptionGroup as group:
            error = _first_swarm_error(group)
            if error is None:
                raise
            code = _say_last(name, error, logger)
        _end_soon(code)
    logging.shutdown()
    sys.exit(code)


def tell_ignored(name: str, logger: str, arguments: Sequence[str]) -> None:
    """Say in one line which arguments mean nothing; HPE's scripts append what they do not know."""
    if arguments:
        said = ascii(" ".join(arguments))[:LONGEST_ARGUMENTS]
        logging.getLogger(logger).warning("%s ignores the arguments %s", name, said)


def _end_soon(code: int) -> None:
    """See to it that threads which do not return hold up the end no longer than they may."""
    timer = threading.Timer(THREAD_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _say_last(name: str, error: SwarmError, logger: str) -> int:
    """The last words of a process, without a traceback; its exit code."""
    # HPE's text, in lines
    documented = isinstance(error, LicenseUnavailableError | LicenseRefusedError)
    words = "Exiting %s. Reason: %s"
    logging.getLogger(logger).error(words, name, error, extra={"lines": documented})
    return error.exit_code


async def _supervise(name: str, main: Main) -> int:
    task = asyncio.ensure_future(main())
    stops = 0

    def stop(received: signal.Signals) -> None:
        nonlocal stops
        stops += 1
        if stops > 1:
            os._exit(128 + received)
        log.info("%s received, stopping %s", received.name, name)
        task.cancel()

    loop = asyncio.get_running_loop()
    for received in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(received, stop, received)
    try:
        await task
    except asyncio.CancelledError:
        if not stops:
            raise
    return 0


def _first_swarm_error(group: BaseExceptionGroup[BaseException]) -> SwarmError | None:
    """The first SwarmError of a group that holds nothing worse, else None."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        item = stack.pop()
        if isinstance(item, BaseExceptionGroup):
            stack.extend(reversed(item.exceptions))
        else:
            leaves.append(item)
    if all(isinstance(leaf, SwarmError | asyncio.CancelledError) for leaf in leaves):
        return next((leaf for leaf in leaves if isinstance(leaf, SwarmError)), None)
    return None


async def until_cancelled(cleanup: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Run ``cleanup`` for at most ``seconds`` even while the current task is being cancelled.

    Errors of the clean-up are logged, not raised: the process is ending anyway.
    """
    try:
        async with asyncio.timeout(seconds):
            await cleanup()
    except (SwarmError, TimeoutError) as exc:
        log.warning("clean-up not finished: %s", str(exc) or type(exc).__name__)
