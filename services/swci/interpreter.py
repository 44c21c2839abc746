"""One operator session: takes lines, answers replies; shared by shell, script and web mode."""

from collections.abc import Callable
from pathlib import Path

from services.swci.adapters.connection import Connect
from services.swci.core.reply import NOTHING, Reply, failure
from services.swci.settings import SwciSettings

Progress = Callable[[str], None]
"""Is told lines while a command still runs (they are not in its reply again), and ``#`` once in a
while, which belongs behind the ``#`` before it."""


class Interpreter:
    """Executes commands.

    Args:
        settings: limits of the WAIT commands, and the folder to start in.
        connect: makes the clients of SNs.
    """

    def __init__(self, settings: SwciSettings, connect: Connect) -> None:
        self._settings = settings
        self._connect = connect
        self.counter = 0
        """Commands so far; stands in the prompt. Comments and blank lines do not count."""
        self.exit_on_failure = False
        self.finished = False
        """True once EXIT was executed, or a command failed under EXIT ON FAILURE."""
        self.cwd: Path = settings.swci_usr_dir
        """Folder that relative paths of commands start from."""

    async def execute(self, line: str, progress: Progress | None = None) -> Reply:
        """Execute one line. Never raises for bad input.

        Without ``progress`` all lines are in the reply.
        """
        if not line.strip() or line.lstrip().startswith("#"):
            return NOTHING
        self.counter += 1
        return failure("not implemented yet")

    async def close(self) -> None:
        """Close the connections."""
