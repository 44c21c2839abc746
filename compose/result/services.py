"""Watches whether the services of a composition answer, license server and SNs among them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

EVERY_SECONDS = 2.0
CONNECT_SECONDS = 2.0
MISSES = 2
"""In a row; one may be chance."""


class Services:
    """Connects to each service now and then.

    Args:
        endpoints: ``host:port`` of each.
        say: told when one stops to answer, and when it answers again.
    """

    def __init__(self, endpoints: Sequence[str], say: Callable[[str], None]) -> None:
        self._misses = dict.fromkeys(endpoints, 0)
        self._tries: dict[str, asyncio.Task[bool]] = {}
        self._say = say

    async def run(self) -> None:
        """Watch until cancelled.

        The name of a dead container may take long not to be found, so there is at most one try of
        each service at a time.
        """
        try:
            while True:
                for endpoint in self._misses:
                    if endpoint not in self._tries:
                        self._tries[endpoint] = asyncio.create_task(_answers(endpoint))
                await asyncio.wait(self._tries.values(), timeout=CONNECT_SECONDS)
                for endpoint in self._misses:
                    self.seen(endpoint, self._answered(endpoint))
                await asyncio.sleep(EVERY_SECONDS)
        finally:
            for each in self._tries.values():
                each.cancel()

    def _answered(self, endpoint: str) -> bool:
        return self._tries[endpoint].done() and self._tries.pop(endpoint).result()

    def seen(self, endpoint: str, answered: bool) -> None:
        """Note whether a service answered."""
        name, before = endpoint.rpartition(":")[0], self._misses[endpoint]
        self._misses[endpoint] = 0 if answered else before + 1
        if answered and before >= MISSES:
            self._say(f"{name} answers again")
        elif not answered and before + 1 == MISSES:
            self._say(f"{name} does not answer any more (lost): going on without it")


async def _answers(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
