"""Reads the steps of a Dockerfile, for an engine that builds no images.

Only what such an engine carries out is understood in detail: see ``adapters/process_image.py``.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from services.common.errors import ConfigError
from services.common.nesting import is_too_deep

_HEREDOC = re.compile(r"<<-?\s*['\"]?[A-Za-z_]")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKES_VALUE = frozenset(
    {
        "-c", "--constraint", "-r", "--requirement", "-i", "--index-url", "--extra-index-url",
        "-f", "--find-links", "--proxy", "--timeout", "--retries", "--trusted-host", "-t",
        "--target", "--cache-dir", "--prefix", "--root", "--platform", "--python-version",
        "--cert", "--client-cert", "--upgrade-strategy", "--progress-bar", "--only-binary",
        "--no-binary", "--src", "--exists-action", "--log",
    }
)  # fmt: skip
"""Options of ``pip install`` whose next word is their value."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction."""

    line: int
    """Number of its first line, from 1."""
    instruction: str
    """In capitals."""
    text: str
    """What follows it, continued lines joined."""

    def words(self) -> list[str]:
        """Return its words, from either form (plain or JSON).

        Raises:
            ConfigError: it is neither.
        """
        if self.text.startswith("["):
            try:
                found = None if is_too_deep(self.text.encode()) else json.loads(self.text)
            except ValueError:
                found = None
            if isinstance(found, list) and all(isinstance(each, str) for each in found):
                return found
        return split(self.text, self.line)


def split(text: str, line: int) -> list[str]:
    """Split as a shell does.

    Raises:
        ConfigError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"build step {line}: {exc}") from exc


def parse(text: str) -> list[Step]:
    """Read a Dockerfile.

    Raises:
        ConfigError: it has a heredoc, or no FROM.
    """
    steps: list[Step] = []
    for number, line in _logical_lines(text):
        if _HEREDOC.search(line):
            raise ConfigError(f"build step {number}: heredocs (<<) are not supported here")
        instruction, _, rest = line.partition(" ")
        steps.append(Step(number, instruction.upper(), rest.strip()))
    if not any(step.instruction == "FROM" for step in steps):
        raise ConfigError("the build steps have no FROM")
    return steps


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blank ones, those that end with a backslash joined."""
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip().replace("\t", " ")
        if not line or line.startswith("#"):
            continue
        first = first if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            yield first, " ".join(parts)
            parts = []
    if parts:
        yield first, " ".join(parts)


def variables(step: Step) -> dict[str, str]:
    """What an ENV step sets, in both forms (``NAME=value ...`` and ``NAME value``)."""
    words = split(step.text, step.line)
    if words and "=" not in words[0]:
        name, _, value = step.text.partition(" ")
        return {name: value.strip()}
    return dict(word.partition("=")[::2] for word in words if "=" in word)


def filled(text: str, known: dict[str, str]) -> str:
    """Put in the values of ``$NAME`` and ``${NAME}``; unknown ones become empty."""
    return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], ""), text)


def pip_installs(step: Step) -> list[str]:
    """Distributions that the ``pip install`` commands of a RUN step name, without versions."""
    found: list[str] = []
    for command in re.split(r"&&|\|\||;", step.text):
        words = split(command.strip(), step.line)
        if "install" in words and _is_pip(words[: words.index("install")]):
            found += _requirements(words[words.index("install") + 1 :])
    return found


def _is_pip(words: list[str]) -> bool:
    names = [word.rpartition("/")[2] for word in words if not word.startswith("-")]
    return any(re.fullmatch(r"pip[0-9.]*", name) for name in names)


def _requirements(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = not skip and word in _TAKES_VALUE
            continue
        name = word.rpartition("/")[2].partition("-")[0] if word.endswith(".whl") else word
        if match := _NAME.match(name):
            yield match[0]
