"""``python -m services.swop``: one SWOP, settings from the environment."""

if __name__ == "__main__":  # before all else: what follows takes up to a second
    from services.common.early import end_on_signals

    end_on_signals()

import sys

from services.common import logs, process
from services.common.settings import load
from services.swop.daemon import serve
from services.swop.settings import SwopSettings


async def main() -> None:
    """Read the settings and serve."""
    settings = load(SwopSettings)
    logs.configure(settings.swarm_log_level, settings.log_file("swop"))
    await serve(settings)


if __name__ == "__main__":
    logs.configure()
    process.run("SWOP", main, "swarm.swop", sys.argv[1:])
