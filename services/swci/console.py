"""How a session looks: prompts, echo, answers, progress; or one JSON object a command."""

import json
from typing import TextIO

from services.swci.adapters.session import MARK
from services.swci.core.manual import INDENT
from services.swci.core.reply import ERROR, Layout, Reply, printable

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
BANNER = (
    "SWARM LEARNING SWCI NODE",
    "open Swarm Learning. Copyright: its authors, Apache-2.0",
)
"""HPE's has a box like it; this is not HPE's product and does not say so."""
WIDTH = 76


class Console:
    """Writes to a terminal, a transcript or a program.

    Args:
        out: where to.
        colour: errors in red.
        as_json: one JSON object a line for each command, and nothing else.
    """

    def __init__(self, out: TextIO, *, colour: bool = False, as_json: bool = False) -> None:
        self._out = out
        self._colour = colour
        self._as_json = as_json
        self._in_marks = False

    @property
    def as_json(self) -> bool:
        """Whether a program reads this; it gets all lines at the end, not as they come."""
        return self._as_json

    def banner(self) -> None:
        """The box at the start."""
        rim = "#" * WIDTH
        for line in (rim, *(f"# {text:^{WIDTH - 4}} #" for text in BANNER), rim, ""):
            self._line(line)

    def echo(self, counter: int, line: str) -> None:
        """A line of a script, behind the prompt; comments and blank lines too."""
        if not self._as_json:
            self._line(prompt(counter) + printable(line.replace("\t", INDENT)))

    def progress(self, text: str) -> None:
        """A line of a command that still runs, or a mark that time passes."""
        if text != MARK:
            self._line(INDENT + text)
            return
        self._write(text if self._in_marks else INDENT + text)
        self._in_marks = True

    def show(self, line: str, counter: int, reply: Reply) -> None:
        """An answer.

        Args:
            line: the command.
            counter: that stood in its prompt.
            reply: to it.
        """
        if self._as_json:
            if reply.lines or reply.data is not None:
                self._line(_json(line, reply))
            return
        before = {Layout.PROMPT: prompt(counter), Layout.AS_IS: ""}.get(reply.layout, INDENT)
        for number, text in enumerate(reply.lines):
            is_error = reply.error and number == 0
            self._line(before + (self._red(text) if is_error else text))

    def error(self, text: str) -> None:
        """An error that no command made."""
        self._line(INDENT + self._red(ERROR + printable(text)))

    def end(self) -> None:
        """Close a row of marks."""
        if self._in_marks:
            self._in_marks = False
            self._write("\n")

    def _red(self, text: str) -> str:
        return f"{_RED}{text}{_PLAIN}" if self._colour else text

    def _line(self, text: str) -> None:
        self.end()
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def prompt(counter: int) -> str:
    """HPE's prompt."""
    return f"SWCI:{counter} > "


def _json(line: str, reply: Reply) -> str:
    told = {
        "command": line.strip(), "ok": not reply.error, "data": reply.data,
        "lines": list(reply.lines),
    }  # fmt: skip
    return json.dumps(told, default=str)
