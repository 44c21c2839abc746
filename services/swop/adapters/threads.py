"""Blocking work in daemon threads.

`asyncio.to_thread` shares a pool that every exit of the program waits for: a SWOP that is told to
end while it unpacks a large archive would not end before that.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(doing: Callable[[], T]) -> T:
    """Run something in a daemon thread of its own.

    When cancelled, the thread goes on by itself and its result is dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None is a T where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(doing)
        except BaseException as raised:  # noqa: BLE001 - raised again in the caller's task
            error = raised
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:  # closed meanwhile: nobody waits any more
                return

    threading.Thread(target=run, name="swop", daemon=True).start()
    return await done
