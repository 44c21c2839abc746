"""``python -m services.license``."""

from services.common import logs, process, settings
from services.license.daemon import serve
from services.license.settings import LicenseSettings


async def main() -> None:
    """Read the environment and serve."""
    loaded = settings.load(LicenseSettings)
    logs.configure(loaded.swarm_log_level)
    await serve(loaded)


if __name__ == "__main__":
    logs.configure()
    process.run("license server", main)
