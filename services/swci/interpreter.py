"""One operator session: takes lines, answers replies; shared by shell, script and web mode."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from services.common.errors import SwarmError
from services.swci.adapters.connection import Connect
from services.swci.adapters.executor import CHANGES_SESSION, perform
from services.swci.adapters.known import known_names
from services.swci.adapters.session import Progress, Session, Talk
from services.swci.core.arguments import Source
from services.swci.core.commands import Command
from services.swci.core.grammar import Wrong, parse
from services.swci.core.reply import NOTHING, Reply, failure
from services.swci.settings import SwciSettings


class Interpreter:
    """Executes commands, of several clients at once if need be.

    Commands that change the session wait for each other; those that ask, sleep or wait do not.

    Args:
        settings: limits of the WAIT commands, and the folder to start in.
        connect: makes the clients of SNs.
    """

    def __init__(self, settings: SwciSettings, connect: Connect) -> None:
        self._session = Session(settings, connect)
        self._lock = asyncio.Lock()
        self.counter = 0
        """Commands so far; stands in the prompt. Comments and blank lines do not count."""
        self.failed = False
        """True once a command failed under EXIT ON FAILURE."""

    @property
    def exit_on_failure(self) -> bool:
        """Whether the first failing command ends the session."""
        return self._session.exit_on_failure

    @property
    def finished(self) -> bool:
        """True once EXIT was executed, or a command failed under EXIT ON FAILURE."""
        return self._session.finished

    @property
    def cwd(self) -> Path:
        """Folder that relative paths of commands start from."""
        return self._session.cwd

    async def execute(self, line: str, progress: Progress | None = None) -> Reply:
        """Execute one line. Never raises for bad input.

        Args:
            line: a command, a comment, or blank.
            progress: hears lines while the command still runs, which are not in the reply again,
                and ``#`` once in a while. Without it all lines are in the reply.
        """
        command = parse(line)
        if command is None:
            return NOTHING
        self.counter += 1
        talk = Talk(progress)
        if isinstance(command, Wrong):
            reply = failure(command.why)
        elif isinstance(command, CHANGES_SESSION):
            async with self._lock:
                reply = await self._attempt(command, talk)
        else:
            reply = await self._attempt(command, talk)
        if reply.error and self.exit_on_failure:
            self._session.finished = self.failed = True
        return reply

    async def _attempt(self, command: Command, talk: Talk) -> Reply:
        try:
            reply = await perform(self._session, command, talk)
        except SwarmError as exc:
            reply = failure(str(exc), exc.code)
        except ValidationError as exc:
            wrong = "; ".join(
                f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()
            )
            reply = failure(wrong, "bad-value")
        except OSError as exc:
            reply = failure(str(exc), "os")
        kept = tuple(talk.kept)
        lines = (*reply.lines, *kept) if reply.error else (*kept, *reply.lines)
        return Reply(lines, reply.data, reply.error, reply.layout)

    async def known(self, sources: Iterable[Source]) -> dict[Source, list[str]]:
        """Names for completion, of the session and of the default context's SN."""
        return await known_names(self._session, sources)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
