"""``python -m services.sl``: one SL node, settings from the environment."""

from services.common import logs, process
from services.common.settings import load
from services.sl.daemon import serve
from services.sl.settings import SlSettings


async def main() -> None:
    """Read the settings and serve."""
    settings = load(SlSettings)
    logs.configure(settings.sl_log_level)
    await serve(settings)


if __name__ == "__main__":
    logs.configure()
    process.run("SL", main)
