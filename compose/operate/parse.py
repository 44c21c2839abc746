"""Reads the command line of a run command; pure.

As HPE's scripts read it: ``--opt value`` and ``--opt=value``, long names in any case, ``--e`` for
``-e``, clusters such as ``-dit``, options of ``docker container create`` among ours, ``--ml-...``
for the container beside an SL, and ``--``, after which all is for the container. Other than there,
short names keep their case (``-p`` is not ``-P``) and an unknown option is an error.
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass, field
from typing import Mapping, Sequence, Union

from compose.operate.docker_options import BUILT_IN, DockerOption
from compose.operate.errors import UnknownOptionError, UsageError
from compose.operate.options import Command, Option

_TRUE = ("1", "t", "true", "y", "yes", "on")
_FALSE = ("0", "f", "false", "n", "no", "off")

Known = Union[Option, DockerOption]


def as_bool(name: str, text: str | None) -> bool:
    """Value of a flag; true where none is given.

    Raises:
        UsageError: it is no truth value.
    """
    if text is None or text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise UsageError(f"--{name} is a flag: {text!r} is neither true nor false")


@dataclass
class Options:
    """What was given for one container."""

    own: dict[str, list[str | None]] = field(default_factory=dict)
    """Ours: name -> values, in their order; None for a flag without one."""
    docker: list[tuple[str, str | None]] = field(default_factory=list)
    """Docker's, in their order."""
    words: list[str] = field(default_factory=list)
    """Arguments for the container."""

    def get(self, *names: str) -> str:
        """Last value of the first of ``names`` that has one; else empty."""
        for name in names:
            if values := self.own.get(name):
                return values[-1] or ""
        return ""

    def flag(self, name: str) -> bool:
        """Whether a flag of ours is set; the last one counts."""
        values = self.own.get(name)
        return as_bool(name, values[-1]) if values else False

    def given(self, *names: str) -> str | None:
        """Value of the last of these options of Docker's; None where none was given."""
        found = [value or "" for name, value in self.docker if name in names]
        return found[-1] if found else None


@dataclass
class Parsed(Options):
    """A whole command line."""

    sidecars: dict[str, Options] = field(default_factory=dict)
    """By the prefixes of their options, such as ``ml``."""


_BESIDE: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("image", "NAME", ""),
        Option("cmd", "WORDS", ""),
        Option("detach", "", "", "d"),
    )
}
"""What a container beside an SL has besides Docker's options."""


class _Reader:
    """Goes through the words."""

    def __init__(
        self, words: Sequence[str], command: Command, docker: Mapping[str, DockerOption]
    ) -> None:
        self._words, self._at = words, 0
        self._command, self._own, self._docker = command, command.options(), docker
        self._prefixes = {"ml"} if command.has_sidecars else set()
        self.parsed = Parsed()

    def read(self) -> Parsed:
        while self._at < len(self._words):
            word = self._next()
            if word == "--":
                self.parsed.words += self._words[self._at :]
                break
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and word != "-":
                self._cluster(word)
            else:
                self.parsed.words.append(word)
        return self.parsed

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def _long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        prefix, dash, _ = name.lower().partition("-")
        if dash and prefix in self._prefixes:
            into = self.parsed.sidecars.setdefault(prefix, Options())
            known = _find(name[len(prefix) + 1 :], _BESIDE, self._docker)
        else:
            into, known = self.parsed, _find(name, self._own, self._docker)
        if known is None and (prefix == "ml" or prefix in self._prefixes):
            raise UnknownOptionError(f"--{name} is an unsupported option.")
        if known is None:
            raise UnknownOptionError(self._unknown(f"--{name}", name))
        self._take(into, known, f"--{name}", value if equals else None)

    def _cluster(self, word: str) -> None:
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            known = _short(letter, self._own, self._docker)
            if known is None:
                raise UnknownOptionError(self._unknown(word, word[1:]))
            if _has_value(known) and rest:
                self._take(self.parsed, known, f"-{letter}", rest[1:] if rest[0] == "=" else rest)
                return
            if rest.startswith("="):
                self._take(self.parsed, known, f"-{letter}", rest[1:])
                return
            self._take(self.parsed, known, f"-{letter}", None)

    def _take(self, into: Options, known: Known, spelled: str, value: str | None) -> None:
        if value is None and _has_value(known):
            if self._at == len(self._words):
                raise UsageError(f"{spelled} needs a value")
            value = self._next()
        if isinstance(known, DockerOption):
            into.docker.append((known.name, value))
            return
        if not known.metavar:
            as_bool(known.name, value)
        into.own.setdefault(known.name, []).append(value)
        if known.name == "cmd":
            into.words += _split(spelled, value or "")
        if known.name == "sidecar":
            self._beside(value or "")

    def _beside(self, name: str) -> None:
        """One more prefix for options of a container beside this one."""
        prefix = name.lower()
        taken = [each for each in (*self._own, *self._docker) if each.startswith(f"{prefix}-")]
        if not prefix.isalnum() or taken:
            raise UsageError(f"--sidecar {name}: choose another name, of letters and digits")
        self._prefixes.add(prefix)
        self.parsed.sidecars.setdefault(prefix, Options())

    def _unknown(self, spelled: str, name: str) -> str:
        names = [*self._own, *self._docker, *(f"ml-{each}" for each in _BESIDE)]
        near = difflib.get_close_matches(name.lower().lstrip("-"), names, 1)
        hint = f": did you mean --{near[0]}?" if near else "."
        return (
            f"unknown option {spelled}{hint} `swarm {self._command.name} --help` lists all; "
            "arguments for the container stand after --"
        )


def _split(spelled: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{spelled} {text!r}: {error}") from error


def _find(name: str, own: Mapping[str, Option], docker: Mapping[str, DockerOption]) -> Known | None:
    if len(name) == 1:
        return _short(name, own, docker)
    return own.get(name.lower()) or docker.get(name.lower())


def _short(
    letter: str, own: Mapping[str, Option], docker: Mapping[str, DockerOption]
) -> Known | None:
    known: list[Known] = [*own.values(), *docker.values()]
    return next((option for option in known if option.short == letter), None)


def _has_value(option: Known) -> bool:
    if isinstance(option, DockerOption):
        return option.has_value
    return bool(option.metavar) and not option.is_optional


def parse(
    words: Sequence[str], command: Command, docker: Mapping[str, DockerOption] | None = None
) -> Parsed:
    """Read the words after the command's name.

    Args:
        words: they.
        command: whose options there are.
        docker: Docker's options; the built-in ones where none are given.

    Raises:
        UnknownOptionError: an option is in neither table.
        UsageError: a value is missing or wrong.
    """
    return _Reader(words, command, BUILT_IN if docker is None else docker).read()
