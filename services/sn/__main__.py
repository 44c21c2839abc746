"""``python -m services.sn``."""

if __name__ == "__main__":  # before all else: what follows takes up to a second
    from services.common.early import end_on_signals

    end_on_signals()

import sys

from services.common import logs, process, settings
from services.sn.daemon import serve
from services.sn.settings import SnSettings


async def main() -> None:
    """Read the environment and serve."""
    loaded = settings.load(SnSettings)
    logs.configure(loaded.swarm_log_level, loaded.log_file("sn"))
    await serve(loaded)


if __name__ == "__main__":
    logs.configure()
    process.run("SN", main, "swarm.SN", sys.argv[1:])
