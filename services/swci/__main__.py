"""``python -m services.swci``: SWCI, settings from the environment.

Without arguments, as in a container: the init script, then a prompt (or the web mode). With ``-c``
or a script file: only that, for scripts.
"""

import argparse
import logging
import sys
from pathlib import Path

from services.common import logs, process
from services.common.settings import load
from services.swci.daemon import Asked, serve
from services.swci.settings import SwciSettings


def parse_arguments(arguments: list[str]) -> Asked:
    """Read the command line; says what is wrong with it and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m services.swci",
        description="SWCI, the command shell of Swarm Learning. Without arguments: the init "
        "script, then a prompt. Identity and all else come from the environment (SWARM_ID_*, "
        "SWCI_*).",
    )
    parser.add_argument("script", nargs="?", type=Path, help="file of commands to execute")
    parser.add_argument(
        "-c", dest="commands", action="append", default=[], metavar="COMMAND",
        help="execute this command; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line for each command"
    )
    found = parser.parse_args(arguments)
    if found.commands and found.script:
        parser.error("give commands with -c, or a script file, not both")
    return Asked(tuple(found.commands), found.script, found.json)


async def main() -> None:
    """Read the settings and serve."""
    asked = parse_arguments(sys.argv[1:])
    settings = load(SwciSettings)
    is_web = settings.swci_mode == "WEB"
    logs.configure(settings.swci_log_level or ("INFO" if is_web else "WARNING"))
    if not is_web:
        _log_to_stderr()
    await serve(settings, asked)


def _log_to_stderr() -> None:
    """Stdout is the session's."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)


if __name__ == "__main__":
    logs.configure()
    _log_to_stderr()
    process.run("SWCI", main)
