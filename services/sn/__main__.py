"""``python -m services.sn``."""

from services.common import logs, process, settings
from services.sn.daemon import serve
from services.sn.settings import SnSettings


async def main() -> None:
    """Read the environment and serve."""
    loaded = settings.load(SnSettings)
    logs.configure(loaded.swarm_log_level)
    await serve(loaded)


if __name__ == "__main__":
    logs.configure()
    process.run("SN", main)
