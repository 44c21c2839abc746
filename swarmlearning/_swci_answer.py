"""What a SWCI's web mode answered, taken apart; pure.

The rules are those of HPE's client (``compat``: web mode protocol), so that any SWCI is understood.
"""

import json

from swarmlearning.wire.nesting import is_too_deep

ERROR = "ERROR "
"""How the element of an answer starts that says why a command failed; the blank counts."""
NO_OUTPUT = "ERROR : Command did not produce output"
NO_ANSWER = "ERROR : Exception occurred during POST request"
COLUMNS = (
    "NodeType", "HostIP", "Port", "ContainerName", "UUID", "ParentUUID", "i-am-alive",
)  # fmt: skip
"""Of LIST NODES."""
DEEPEST = 32
"""Levels of an answer's JSON. Python's parser recurses in C and may crash where a program has
raised the recursion limit."""


class CommandError(Exception):
    """The command failed; the message starts with ``ERROR ``."""


def read_answer(body: bytes) -> list[str]:
    """The lines of an answer, without blanks around them.

    Raises:
        CommandError: the command failed, or this is no answer.
    """
    if is_too_deep(body, DEEPEST):
        raise CommandError(f"{NO_ANSWER}: the answer is nested too deep")
    try:
        told = json.loads(body)
    except ValueError as exc:
        raise CommandError(f"{NO_ANSWER}: the answer is not JSON") from exc
    if not told:
        raise CommandError(NO_OUTPUT)
    content = told.get("CONTENT") if isinstance(told, dict) else None
    if not isinstance(content, list) or not all(isinstance(part, str) for part in content):
        why = told.get("detail") if isinstance(told, dict) else None
        raise CommandError(f"{NO_ANSWER}: {why or 'the answer has no CONTENT: is this a SWCI?'}")
    for part in content:
        if part.startswith(ERROR):
            raise CommandError(part)
    return [line.strip() for part in content for line in part.splitlines()]


def value_of(key: str, lines: list[str]) -> str:
    """What stands between the first and the second colon of the first line that holds ``key``.

    Raises:
        CommandError: there is no such line.
    """
    for line in lines:
        parts = line.split(":")
        if key in line and len(parts) > 1:
            return parts[1].strip()
    raise CommandError(f"ERROR : the answer has no line '{key} : ...': {lines}")


def read_nodes(lines: list[str]) -> list[dict[str, str]]:
    """The rows of LIST NODES, each as :data:`COLUMNS` to values; its first line is a header.

    Raises:
        CommandError: a row has too few values.
    """
    nodes = []
    for line in lines[1:]:
        row = [value.strip() for value in line.split(",")]
        if len(row) < len(COLUMNS):
            raise CommandError(f"ERROR : LIST NODES answered a line that is no node: {line!r}")
        nodes.append(dict(zip(COLUMNS, row, strict=False)))
    return nodes
