"""``python -m services.swop``: one SWOP, settings from the environment."""

from services.common import logs, process
from services.common.settings import load
from services.swop.daemon import serve
from services.swop.settings import SwopSettings


async def main() -> None:
    """Read the settings and serve."""
    settings = load(SwopSettings)
    logs.configure(settings.swarm_log_level)
    await serve(settings)


if __name__ == "__main__":
    logs.configure()
    process.run("SWOP", main)
