"""Stopping before a service is ready to stop in order. Imports nothing but the standard library.

As process 1 of a container a program that has no handler ignores SIGTERM, and a service takes up to
a second to import. So each ``__main__`` calls this before it imports anything else.
"""

import os
import signal
import time
from types import FrameType


def end_on_signals() -> None:
    """From now on SIGTERM and SIGINT end the process at once, with exit code 0.

    It holds nothing yet that must be given back. `services.common.process` takes over later.
    """
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _end)


def _end(received: int, _: FrameType | None) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S,000")
    name = signal.Signals(received).name
    line = f"{stamp} : swarm.process : INFO : {name} received during the start, ending\n"
    os.write(2, line.encode())
    os._exit(0)
