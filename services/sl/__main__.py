"""``python -m services.sl``: one SL node, settings from the environment."""

if __name__ == "__main__":  # before all else: what follows takes up to a second
    from services.common.early import end_on_signals

    end_on_signals()

import sys

from services.common import logs, process
from services.common.settings import load
from services.sl.daemon import serve
from services.sl.settings import SlSettings


async def main() -> None:
    """Read the settings and serve."""
    settings = load(SlSettings)
    logs.configure(settings.log_level(), settings.log_file("sl"))
    await serve(settings)


if __name__ == "__main__":
    logs.configure()
    process.run("SL", main, "swarm.startSL", sys.argv[1:])
