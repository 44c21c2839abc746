"""The license server's clock: wall time at start, counted on by the monotonic clock.

Setting the machine's clock while the server runs neither ends leases nor prolongs them.
"""

import time


class ServerClock:
    """Callable that returns Unix seconds and never goes back."""

    def __init__(self) -> None:
        self._wall = time.time()
        self._start = time.monotonic()

    def __call__(self) -> float:
        """Seconds since 1970, by the wall clock at start plus the time since."""
        return self._wall + time.monotonic() - self._start
