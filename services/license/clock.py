"""``python -m services.license.clock``: mends what a wrong clock did to a license server.

Licenses are judged by the highest time that the server ever saw. Where the clock once was ahead by
mistake, licenses seem to have ended: stop the server, set the clock right, run ``forget-highest``,
start the server.
"""

import argparse
import sys
import time
from pathlib import Path

from services.common.errors import SwarmError
from services.common.settings import load
from services.license.adapters.offline import existing_store, forget_highest, highest_time
from services.license.settings import LicenseSettings


def main(argv: list[str]) -> int:
    """Carry out one command; the exit code."""
    parser = argparse.ArgumentParser(prog="services.license.clock", description=__doc__)
    parser.add_argument("--data", type=Path, help="data folder (default: LICENSE_DATA_DIR)")
    parser.add_argument("command", choices=["show", "forget-highest"])
    given = parser.parse_args(argv)
    try:
        store = existing_store(given.data or load(LicenseSettings).license_data_dir)
        try:
            now, highest = time.time(), highest_time(store)
            print(f"this machine's clock: {_shown(now)}")
            print(f"highest time seen:    {_shown(highest)}")
            if given.command == "forget-highest":
                forget_highest(store, now)
                print("licenses are judged by this machine's clock again; the history says so")
        finally:
            store.close()
    except SwarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _shown(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
