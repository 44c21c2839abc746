"""Runs lines that nobody types: the init script, a file, ``-c``, or what a pipe brings."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import ConfigError, SwarmError
from services.swci.console import Console
from services.swci.core.reply import Reply
from services.swci.interpreter import Interpreter

LONGEST_SCRIPT = 1024 * 1024
"""Bytes."""
_LONGEST_PIPED = 64 * 1024
"""Bytes of one line from a pipe."""


class CommandFailedError(SwarmError):
    """A script ends badly: under EXIT ON FAILURE, or with a failure as its last answer."""

    exit_code = 1
    code = "command-failed"


@dataclass
class Run:
    """Executes lines and shows them; remembers the last answer.

    Args:
        interpreter: executes.
        console: shows.
    """

    interpreter: Interpreter
    console: Console
    last: Reply | None = None
    last_line: str = ""

    async def line(self, line: str) -> None:
        """Echo and execute one line."""
        line = line.rstrip("\r\n")
        counter = self.interpreter.counter
        self.console.echo(counter, line)
        progress = None if self.console.as_json else self.console.progress
        reply = await self.interpreter.execute(line, progress)
        self.console.show(line, counter, reply)
        if self.interpreter.counter > counter:
            self.last, self.last_line = reply, line.strip()

    async def lines(self, lines: Iterable[str]) -> None:
        """Execute lines until the session is finished."""
        for line in lines:
            if self.interpreter.finished:
                break
            await self.line(line)

    def verdict(self) -> None:
        """Say how a script without a prompt behind it ended.

        Raises:
            CommandFailedError: under EXIT ON FAILURE, or its last command failed.
        """
        if self.interpreter.failed or (self.last is not None and self.last.error):
            assert self.last is not None, "a failure without an answer"
            under = " under EXIT ON FAILURE" if self.interpreter.failed else ""
            raise CommandFailedError(f"{self.last_line!r} failed{under}: {self.last.lines[0]}")


def read_script(path: Path) -> list[str]:
    """The lines of a script.

    Raises:
        ConfigError: it cannot be read, is too long, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_SCRIPT + 1)
        if len(content) > LONGEST_SCRIPT:
            raise ConfigError(f"{path} is longer than {LONGEST_SCRIPT} bytes: no script is")
        return content.decode("utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the script {path}: {exc}") from exc


async def piped_lines() -> AsyncIterator[str]:
    """Lines of a stdin that is no terminal, as they come.

    Raises:
        ConfigError: a line is too long, or no text.
    """
    if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
        for line in read_script(Path("/dev/stdin")):
            yield line
        return
    reader = asyncio.StreamReader(limit=_LONGEST_PIPED)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        while raw := await reader.readline():
            yield raw.decode()
    except ValueError as exc:
        raise ConfigError(f"stdin: a line is too long, or no UTF-8 text ({exc})") from exc
    finally:
        transport.close()
