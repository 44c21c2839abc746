"""What the arguments of commands may be: how each is read, and what completes it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from services.common.ids import is_contract_name
from services.common.task_api import LONGEST_LINE, LONGEST_TEXT, MOST_LINES, TaskType
from services.swci.core.commands import SERVICE_PORT, Address

Why = NewType("Why", str)
"""Why a word cannot be this argument: ``expected ...``."""

MOST_SECONDS = 7 * 86_400
MOST_PEERS = 10_000
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9]{1,15})?")
_UID = re.compile(r"[0-9a-f]{32}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,159}")
_RESERVED = frozenset({"WITH", "IP", "SERVICE"})


class Source(StrEnum):
    """Where names for completion come from."""

    CONTEXTS = "contexts"
    CONTRACTS = "contracts"
    TASKS = "tasks"
    TASKRUNNERS = "taskrunners"
    SWOPS = "swops"
    FILES = "files"


class NotThisError(Exception):
    """A word cannot be this argument; says what was expected."""


Value = str | int | float | bool | Address | TaskType


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, by its name in the syntax."""

    shown: str
    """Type as HELP shows it."""
    read: Callable[[str], Value]
    """Raises NotThisError."""
    source: Source | None = None
    words: tuple[str, ...] = ()
    """All that it may be, where that is a few words."""
    rest: bool = False
    """Takes the rest of the line, blanks included."""


def _name(text: str) -> str:
    if not is_contract_name(text):
        raise NotThisError('a name: 1 to 160 characters without "/", not "." or ".."')
    return text


def _text(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_TEXT:
        raise NotThisError(f"1 to {LONGEST_TEXT} characters")
    return text


def _host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if _HOST.fullmatch(bare) is None or text.upper() in _RESERVED:
        raise NotThisError("an IP address or a host name")
    return bare


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
            raise NotThisError(f"a number from {low} to {high}")
        return int(text)

    return read


_port = _number(1, 65_535)


def _service(text: str) -> Address:
    found = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::([^:]+))?", text)
    if found is None:
        raise NotThisError("a host name, or HOST:PORT")
    return Address(_host(found[1]), _port(found[2]) if found[2] else SERVICE_PORT)


def _seconds(text: str) -> float:
    if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", text) is None or float(text) > MOST_SECONDS:
        raise NotThisError(f"seconds, from 0 to {MOST_SECONDS}")
    return float(text)


def _uid(text: str) -> str:
    uid = text.replace("-", "").lower()
    if _UID.fullmatch(uid) is None:
        raise NotThisError("the UUID of a SWOP as LIST NODES shows it: 32 hex digits")
    return uid


def _peer(text: str) -> int | str:
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return int(text)
    try:
        return _uid(text)
    except NotThisError:
        raise NotThisError("an index from 0, or a UUID of 32 hex digits") from None


def _task_type(text: str) -> TaskType:
    for each in TASK_TYPES:
        if text.upper() == each:
            return TaskType(each)
    raise NotThisError("one of " + ", ".join(TASK_TYPES))


def _switch(text: str) -> bool:
    if text.upper() not in ("ON", "OFF"):
        raise NotThisError("ON or OFF")
    return text.upper() == "ON"


def _env(text: str) -> str:
    if _ENV.fullmatch(text) is None:
        raise NotThisError("the name of a variable: letters, digits and underscores")
    return text


def _line(text: str) -> str:
    if len(text.encode()) > LONGEST_LINE:
        raise NotThisError(f"at most {LONGEST_LINE} bytes of text")
    return text


TASK_TYPES = tuple(each.value for each in TaskType if each is not TaskType.ROOT_TASK)

ARGUMENTS: dict[str, Argument] = {
    "name": Argument("string", _name),
    "context": Argument("string", _name, Source.CONTEXTS),
    "contract": Argument("string", _name, Source.CONTRACTS),
    "task": Argument("string", _name, Source.TASKS),
    "prereq": Argument("string", _name, Source.TASKS),
    "taskrunner": Argument("string", _name, Source.TASKRUNNERS),
    "swop": Argument("string", _uid, Source.SWOPS),
    "peer": Argument("integer or string", _peer, Source.SWOPS),
    "ip": Argument("string", _host),
    "service": Argument("string", _service),
    "port": Argument("integer", _port),
    "retries": Argument("integer", _number(1, 1_000_000)),
    "env": Argument("string", _env),
    "value": Argument("string", _line),
    "type": Argument("string", _task_type, words=TASK_TYPES),
    "author": Argument("string", _text),
    "outcome": Argument("string", _text),
    "file": Argument("string", _line, Source.FILES),
    "dir": Argument("string", _line, Source.FILES),
    "idx": Argument("integer", _number(1, MOST_LINES)),
    "text": Argument("string", _line, rest=True),
    "peers": Argument("integer", _number(1, MOST_PEERS)),
    "seconds": Argument("integer", _seconds),
    "switch": Argument("ON/OFF", _switch, words=("ON", "OFF")),
    "options": Argument("string", _line, Source.FILES, rest=True),
    "command": Argument("string", _line, rest=True),
}
"""All arguments by name."""
