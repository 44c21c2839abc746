"""`compose.local`, whose SLs are those of `lying_sl.py`."""

import signal
import sys

from compose import local, session
from compose.plan import SERVICES, Kind

if __name__ == "__main__":
    session.SERVICES = {**SERVICES, Kind.SL: (sys.executable, "-m", "tests.faults.lying_sl")}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(local.main())
