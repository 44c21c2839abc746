"""Slows down who guesses passwords; shuts nobody out for ever.

Tries count for the pair of user and address, for the address, and for the user. The first two grow
to a quarter of an hour. The last stays short, and does not count at an address from which the user
has signed in before: else anybody could keep the administrator out. A try counts when it begins,
so that many at once gain nothing; success takes it back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

FORGET_S = 3600.0
"""Failures are forgotten so long after the last."""
MOST_KEYS = 20_000
"""Counters kept; the oldest goes where one more is needed."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How a counter slows down."""

    free: int
    """Failures that cost nothing."""
    longest_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after the last of so many failures."""
        over = failures - self.free
        return min(2.0 ** min(over, 20), self.longest_s) if over >= 0 else 0.0


PAIR = Limit(5, 900)
ADDRESS = Limit(20, 900)
USER = Limit(20, 30)


@dataclass(slots=True)
class _Count:
    failures: int
    last: float


@dataclass(slots=True)
class Throttle:
    """Counters in memory; a restart forgets them."""

    _counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    _known: dict[tuple[str, str], None] = field(default_factory=dict)

    def begin(self, user: str, address: str, now: float) -> float:
        """Ask for a try; where it is granted, it counts as failed until :meth:`succeeded`.

        Args:
            user: whose password; need not exist.
            address: where from.
            now: seconds of a steady clock.

        Returns:
            Seconds to wait; 0: go on.
        """
        keys = list(self._keys(user.lower(), address))
        wait = max(self._wait_s(key, limit, now) for key, limit in keys)
        if wait > 0:
            return wait
        for key, _ in keys:
            self._count(key, now)
        return 0.0

    def succeeded(self, user: str, address: str) -> None:
        """The password was right."""
        pair = (user.lower(), address)
        for key, _ in self._keys(*pair):
            count = self._counts.get(key)
            if count is None:
                continue
            if key == ("", address):  # one good password there does not excuse the other guesses
                count.failures -= 1
            else:
                del self._counts[key]
        self._known.pop(pair, None)
        self._known[pair] = None
        while len(self._known) > MOST_KEYS:
            del self._known[next(iter(self._known))]

    def _keys(self, user: str, address: str) -> Iterator[tuple[tuple[str, str], Limit]]:
        yield (user, address), PAIR
        yield ("", address), ADDRESS
        if (user, address) not in self._known:
            yield (user, ""), USER

    def _wait_s(self, key: tuple[str, str], limit: Limit, now: float) -> float:
        count = self._counts.get(key)
        if count is None:
            return 0.0
        if now - count.last >= FORGET_S:
            del self._counts[key]
            return 0.0
        return max(0.0, count.last + limit.delay_s(count.failures) - now)

    def _count(self, key: tuple[str, str], now: float) -> None:
        count = self._counts.pop(key, _Count(0, now))
        self._counts[key] = _Count(count.failures + 1, now)
        while len(self._counts) > MOST_KEYS:
            del self._counts[next(iter(self._counts))]
