"""``python -m services.swci``: SWCI, settings from the environment.

Without arguments, as in a container: the init script, then a prompt (or the web mode). With ``-c``
or a script file: only that, for scripts.
"""

if __name__ == "__main__":  # before all else: what follows takes up to a second
    from services.common.early import end_on_signals

    end_on_signals()

import argparse
import logging
import sys
from pathlib import Path

from services.common import logs, process
from services.common.settings import load
from services.swci.daemon import Asked, serve
from services.swci.settings import SwciSettings

LOGGER = "swarm.swci"


def parse_arguments(arguments: list[str]) -> tuple[Asked, list[str]]:
    """Read the command line; says what is wrong with it and exits with 2.

    HPE's scripts append what they do not know, so with an option that is none of ours all that
    stands beside it is nothing to us.

    Returns:
        What is asked for, and the arguments that are ignored.
    """
    parser = argparse.ArgumentParser(
        prog="python -m services.swci",
        allow_abbrev=False,
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
    found, unknown = parser.parse_known_args(arguments)
    if any(each.startswith("-") for each in unknown):
        return Asked(tuple(found.commands), None, found.json), arguments
    if unknown:
        parser.error(f"one script at a time, not also {unknown[0]}")
    if found.commands and found.script:
        parser.error("give commands with -c, or a script file, not both")
    return Asked(tuple(found.commands), found.script, found.json), []


async def main() -> None:
    """Read the settings and serve."""
    asked, ignored = parse_arguments(sys.argv[1:])
    settings = load(SwciSettings)
    is_web = settings.swci_mode == "WEB"
    level = settings.swci_log_level or ("INFO" if is_web else "WARNING")
    logs.configure(level, settings.log_file("swci"))
    if not is_web:
        _log_to_stderr()
    process.tell_ignored("SWCI", LOGGER, ignored)
    await serve(settings, asked)


def _log_to_stderr() -> None:
    """Stdout is the session's."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # not one into a file, which is one, too
            handler.setStream(sys.stderr)


if __name__ == "__main__":
    logs.configure()
    _log_to_stderr()
    process.run("SWCI", main, LOGGER)
