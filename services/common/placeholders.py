"""Placeholders such as ``<CURRENT-PATH>`` that somebody forgot to replace in an example file."""

import re
from collections.abc import Iterable, Iterator

from services.common.yaml_schema import Problem
from services.common.yaml_tree import Path, Value

_PLACEHOLDER = re.compile(r"(?<!<)<(?:[A-Z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)+|[A-Z]{3,})>")
"""Capitals or words joined by ``-`` or ``_``; not ``<<EOF>``, ``<stdio.h>``, ``<B>``."""


def with_forgotten(value: Value, problems: Iterable[Problem]) -> list[Problem]:
    """Return problems and forgotten placeholders; of one value only the placeholder."""
    found = {each.path: each for each in forgotten(value)}
    return [*(each for each in problems if each.path not in found), *found.values()]


def forgotten(value: Value, path: Path = ()) -> Iterator[Problem]:
    """Yield a problem for each text that still holds a placeholder."""
    if isinstance(value, str):
        found = _PLACEHOLDER.search(value)
        if found:
            yield Problem(path, f"still holds the placeholder {found[0]}; write its real value")
        return
    parts = value if isinstance(value, list | dict) else {}
    items = parts.items() if isinstance(parts, dict) else enumerate(parts)
    for key, part in items:
        yield from forgotten(part, (*path, key))
