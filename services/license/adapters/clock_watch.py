"""Watches this machine's clock, and remembers the highest time it ever showed."""

import logging
from collections.abc import Callable

from services.common.license_api import Warned
from services.license.adapters.store import Store
from services.license.core import clock_rules as rules

log = logging.getLogger("swarm.license")

HIGHEST = "highest-time"


class ClockWatch:
    """Thread-safe.

    Args:
        store: the database.
        clock: Unix seconds, steady: by the wall clock at the start, then counted on.
        wall: Unix seconds, as this machine's clock shows them now.
    """

    def __init__(self, store: Store, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._wall = wall
        self._jumped = False
        self._opened = self._known = clock()

    def open(self) -> None:
        """Compare with what the database knows; a clock set back is told."""
        now = self._clock()
        with self._store.transaction():
            known = self._store.remembered(HIGHEST)
            # a database of version 1 knows only when something last happened
            highest = float(known) if known is not None else self._store.book.latest_time()
            back = rules.is_set_back(now, highest)
            if back:
                note = f"{highest - now:.0f} s behind {highest:.0f}"
                self._store.book.record(now, "clock-set-back", note=note)
            self._store.remember(HIGHEST, repr(max(now, highest)))
        self._opened, self._known = now, highest or now
        if back:
            log.error("%s", rules.set_back_warning(now, highest).text)

    def valid_at(self, now: float) -> float:
        """The time by which licenses are judged; use inside a transaction."""
        return max(now, float(self._store.remembered(HIGHEST) or 0))

    def surely(self) -> float:
        """A time that has surely come, even if the clock was set ahead before the start: what the
        server knew then, and how long it has been running."""  # noqa: D205, D209
        now = self._clock()
        return min(now, self._known + now - self._opened)

    def tick(self) -> None:
        """Remember the time; tell where the clock was set since the last tick."""
        now, wall = self._clock(), self._wall()
        jumped = rules.is_jump(wall, now)
        with self._store.transaction():
            self._store.remember(HIGHEST, repr(self.valid_at(now)))
            if jumped != self._jumped:
                note = f"{wall - now:+.0f} s" if jumped else "right again"
                self._store.book.record(now, "clock-changed", note=note)
        if jumped and not self._jumped:
            log.error("%s", rules.jump_warning(wall, now).text)
        self._jumped = jumped

    def warnings(self) -> list[Warned]:
        """What is wrong with the clock now."""
        now, wall = self._clock(), self._wall()
        with self._store.transaction():
            highest = self.valid_at(now)
        found = []
        if rules.is_set_back(now, highest):
            found.append(rules.set_back_warning(now, highest))
        if rules.is_jump(wall, now):
            found.append(rules.jump_warning(wall, now))
        return found
