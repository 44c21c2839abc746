"""``python -m services.license``."""

if __name__ == "__main__":  # before all else: what follows takes up to a second
    from services.common.early import end_on_signals

    end_on_signals()

import sys

from services.common import logs, process, settings
from services.license.daemon import serve
from services.license.settings import LicenseSettings


async def main() -> None:
    """Read the environment and serve."""
    loaded = settings.load(LicenseSettings)
    logs.configure(loaded.swarm_log_level, loaded.log_file("license"))
    await serve(loaded)


if __name__ == "__main__":
    logs.configure()
    process.run("license server", main, "swarm.license", sys.argv[1:])
