"""What a command answers: lines for people, data for programs."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

ERROR = "ERROR : "
"""How the first line of every failure starts; HPE's ``swci.py`` looks for ``ERROR`` and a blank."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Layout(Enum):
    """How a terminal or a transcript shows the lines."""

    INDENTED = auto()
    """By 4 blanks; nearly all answers."""
    PROMPT = auto()
    """Behind a second prompt with the counter of the command (EXIT ON FAILURE, ``cd``)."""
    AS_IS = auto()
    """The lines hold their indentation themselves (HELP of one command)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one line.

    A failure's first line starts with ``ERROR : ``. A success has at least one line that is not
    empty, because HPE's client takes an empty answer for a failure; only a comment or a blank
    line answers nothing at all.
    """

    lines: tuple[str, ...]
    data: object = None
    """The same as JSON-able values, for ``--json``."""
    error: bool = False
    layout: Layout = Layout.INDENTED


NOTHING = Reply(())
"""To a comment or a blank line."""


def success(*lines: str, data: object = None, layout: Layout = Layout.INDENTED) -> Reply:
    """A success; whatever others put into a line, it stays one line and looks like no failure."""
    return Reply(tuple(map(_told, lines)), data, layout=layout)


def failure(text: str, code: str = "bad-command") -> Reply:
    """A failure; ``code`` is a stable word for programs. A text of several lines keeps them."""
    first, *more = map(printable, text.split("\n"))
    return Reply(
        (ERROR + first, *more), {"error": "\n".join([first, *more]), "code": code}, error=True
    )


def _told(line: str) -> str:
    shown = printable(line)
    return f" {shown}" if shown.startswith("ERROR ") else shown


def printable(text: str) -> str:
    """``text`` with every character that could move a cursor or break the line shown escaped."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def fields(pairs: Mapping[str, object], data: object = None) -> Reply:
    """A success of ``KEY : VALUE`` lines; ``data`` is the same by lower-case key if not given."""
    lines = [f"{key} : {_value(value)}" for key, value in pairs.items()]
    return success(*lines, data=data or {key.lower(): value for key, value in pairs.items()})


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return "-" if value in ("", None) else str(value)


def listed(names: Iterable[str], nothing: str) -> Reply:
    """A success of one name a line; ``nothing`` where there is none."""
    rows = list(names)
    return success(*(rows or [nothing]), data=rows)


def when(seconds: int) -> str:
    """Chain time for people, in UTC; empty for 0, which means: not yet."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else ""
