"""What the web mode makes of a query and of a reply; HPE's ``swci.py`` sets the rules. Pure.

HPE's client builds its URL by gluing the command to ``/exec?cmd=``, and ``requests`` encodes blanks
but no ``&`` or ``+``. So everything behind ``cmd=`` is the command, apart from our own ``format``.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any
from urllib.parse import unquote

from services.common.errors import ConfigError
from services.swci.core.reply import ERROR, Reply, printable

LONGEST_COMMAND = 4096
"""Characters of a command; the longest that makes sense is an APPEND TASK BODY with 1 KiB."""
JSON_FORMAT = "format=json"
_COMMAND = "cmd="
_NOTHING = "NOTHING TO DO"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to execute a command."""

    command: str
    with_data: bool
    """Whether the answer is to carry ``DATA`` too."""


def read_query(query: str) -> Asked:
    """The command in the raw query of ``/exec``, and whether data is asked for.

    A ``+`` is a blank only where nothing is encoded as ``%20``: that is how form encoders
    (``curl --data-urlencode``, ``urlencode``) write blanks, while clients that glue URLs mean it.

    Raises:
        ConfigError: there is no command, it is too long, or it is not one line of text.
    """
    raw, with_data = query, False
    if raw.startswith(JSON_FORMAT + "&"):
        raw, with_data = raw.removeprefix(JSON_FORMAT + "&"), True
    elif raw.endswith("&" + JSON_FORMAT):
        raw, with_data = raw.removesuffix("&" + JSON_FORMAT), True
    if not raw.startswith(_COMMAND):
        raise ConfigError("no command: POST to /exec?cmd=COMMAND, e.g. /exec?cmd=list%20nodes")
    return Asked(_command(raw.removeprefix(_COMMAND)), with_data)


def _command(raw: str) -> str:
    if "%20" not in raw:
        raw = raw.replace("+", " ")
    try:
        command = unquote(raw, errors="strict").rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise ConfigError("the command is not UTF-8: percent-encode its UTF-8 bytes") from exc
    if len(command) > LONGEST_COMMAND:
        raise ConfigError(f"the command is longer than {LONGEST_COMMAND} characters")
    if printable(command.replace("\t", " ")) != command.replace("\t", " "):
        raise ConfigError("the command holds control characters: send one line of text at a time")
    return command


def is_exit(command: str) -> bool:
    """Whether it is EXIT, and not EXIT ON FAILURE."""
    return command.upper().split() == ["EXIT"]


def content(reply: Reply) -> list[str]:
    """The list ``CONTENT``, as HPE's client takes it apart.

    It calls the first element that starts with ``ERROR `` (with the blank) the error, and an
    answer without text a failure. So a failure is one element, a success never looks like one
    (clients strip the blank that hides it), and says something.
    """
    if reply.error:
        text = "\n".join(reply.lines)
        return [text if text.startswith(ERROR) else ERROR + text]
    lines = [f" {line}" if line.startswith("ERROR ") else line for line in reply.lines]
    return lines if any(line.strip() for line in lines) else [_NOTHING]


def answer(reply: Reply, *, with_data: bool) -> dict[str, Any]:
    """The JSON object that ``/exec`` answers."""
    return {"CONTENT": content(reply)} | ({"DATA": _jsonable(reply.data)} if with_data else {})


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - data of any command
    """The same in JSON's types; a number that is not finite (a loss may be) becomes null."""
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
