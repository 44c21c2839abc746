"""An event loop whose look-ups of names hold up nothing else.

The name of a dead host may take 20 s not to be found where a DNS server does not answer, and its
thread cannot be cancelled. In asyncio's default pool, which has some threads more than there are
cores, a few such look-ups, begun again at each try, stop all other look-ups and all other work in
threads. Here each name has one thread of its own, which all who want it wait for.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

Addresses = list[tuple[Any, ...]]
"""As `socket.getaddrinfo` gives them."""
Host = bytes | str | None
Port = bytes | str | int | None
Question = tuple[Host, Port, int, int, int, int]
"""Its arguments."""


class ResolvingLoop(asyncio.SelectorEventLoop):
    """The event loop of our services."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[Question, asyncio.Future[Addresses]] = {}

    async def getaddrinfo(
        self, host: Host, port: Port, *, family: int = 0, type: int = 0, proto: int = 0,
        flags: int = 0,
    ) -> Addresses:  # fmt: skip
        """The addresses of a host; whoever is cancelled leaves the look-up to the others."""
        question = (host, port, family, type, proto, flags)
        answer = self._asked.get(question)
        if answer is None:
            answer = self._asked[question] = self.create_future()
            answer.add_done_callback(lambda done: self._told(question, done))
            threading.Thread(
                target=self._look_up, args=(question, answer), name="resolve", daemon=True
            ).start()
        return await asyncio.shield(answer)

    def _told(self, question: Question, answer: "asyncio.Future[Addresses]") -> None:
        del self._asked[question]
        if not answer.cancelled():
            answer.exception()  # nobody may have waited for it any more

    def _look_up(self, question: Question, answer: "asyncio.Future[Addresses]") -> None:
        """Ask the system; in a thread."""
        settle: Callable[[], None]
        try:
            found = socket.getaddrinfo(*question)
        except Exception as exc:  # noqa: BLE001 - raised again where it is awaited
            failure = exc  # the name of an except clause ends with it
            settle = lambda: answer.set_exception(failure)  # noqa: E731
        else:
            settle = lambda: answer.set_result(found)  # noqa: E731
        try:
            self.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
