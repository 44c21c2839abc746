"""Python loads this at start where the folder is on PYTHONPATH: a wrong clock, for its process.

`CLOCK_SHIFT_S` seconds are added to what the `time` module tells. TLS reads the clock by itself.
"""

import os
import time

_shift = int(os.environ["CLOCK_SHIFT_S"])
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + _shift * 1_000_000_000
