"""One way to run a service: signals, one clear last message, an exit code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from services.common.errors import LicenseRefusedError, LicenseUnavailableError, SwarmError

log = logging.getLogger("swarm.process")

Main = Callable[[], Coroutine[Any, Any, None]]


def run(name: str, main: Main) -> None:
    """Run ``main`` until it returns, fails, or the process gets SIGTERM or SIGINT; then exit.

    A first signal cancels ``main``, which closes what it opened; a second one ends the process at
    once. A :class:`SwarmError` becomes one ERROR line and its exit code; 0 after a signal, because
    being told to stop is not a failure. Any other exception is a bug: traceback and exit code 1.

    Args:
        name: what to call the process in its last line, e.g. ``SL``.
        main: makes the coroutine to run.
    """
    try:
        code = asyncio.run(_supervise(name, main))
    except SwarmError as exc:
        code = _say_last(name, exc)
    except BaseExceptionGroup as group:
        error = _first_swarm_error(group)
        if error is None:
            raise
        code = _say_last(name, error)
    logging.shutdown()
    sys.exit(code)


def _say_last(name: str, error: SwarmError) -> int:
    """The last words of a process, without a traceback; its exit code."""
    # HPE's text, in lines
    documented = isinstance(error, LicenseUnavailableError | LicenseRefusedError)
    log.error("Exiting %s. Reason: %s", name, error, extra={"lines": documented})
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
