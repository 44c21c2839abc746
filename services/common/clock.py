"""Time that setting the machine's clock does not disturb."""

import time

_AT_START = time.time() - time.monotonic()


def steady_time() -> float:
    """Unix seconds by the wall clock at the process's start, counted on by the monotonic clock.

    It never goes back and never jumps, so leases neither end nor grow, and blocks stay in order,
    when somebody sets the clock.
    """
    return _AT_START + time.monotonic()
