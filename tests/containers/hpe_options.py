"""How the run scripts read their options, written from ``compat/02`` sections 2 and 4.1 alone."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_SHORT = re.compile(r"-[A-Za-z]")


@dataclass(frozen=True)
class DockerOptions:
    """What `docker container create` takes, from its own help."""

    takes_value: Mapping[str, bool]
    """By the option, with its dashes."""

    @classmethod
    def from_help(cls, text: str) -> "DockerOptions":
        """Read ``docker container create --help``."""
        found: dict[str, bool] = {}
        for short, long, kind in re.findall(
            r"^ +(?:(-\w), |    )(--[a-z][a-z0-9-]*)(?: ([a-z][a-zA-Z0-9]*))?(?: |$)", text, re.M
        ):
            found[long] = bool(kind)
            if short:
                found[short] = bool(kind)
        return cls(found)

    def take(self, words: Sequence[str]) -> tuple[list[str], int]:
        """The option at the front of ``words`` for docker, and how many words it is; 0: none."""
        word = words[0]
        if word == "--e" or word.startswith("--e="):
            word = word[1:]
        name, equals, value = word.partition("=")
        name = name.lower() if name.startswith("--") else name
        if name in self.takes_value:
            if equals:
                return [f"{name}={value}"] if name.startswith("--") else [name, value], 1
            return ([name, words[1]], 2) if self.takes_value[name] else ([name], 1)
        if re.fullmatch(r"-[a-zA-Z]{2,}", word) and all(
            self.takes_value.get(f"-{letter}") is False for letter in word[1:]
        ):
            return [f"-{letter}" for letter in word[1:]], 1  # as in -dit
        return [], 0


@dataclass
class Parsed:
    """What a script found on its command line."""

    own: dict[str, str] = field(default_factory=dict)
    """The script's options, without dashes; a switch is ``1``."""
    docker: list[str] = field(default_factory=list)
    ml: list[str] = field(default_factory=list)
    """What begins with ``--ml-``, with ``ml-`` taken away."""
    command: list[str] = field(default_factory=list)
    """What nobody knows: the container's arguments."""

    def get(self, name: str) -> str:
        """An option's value; empty where it was not given."""
        return self.own.get(name, "")


def parse(
    words: Sequence[str], docker: DockerOptions, options: Sequence[str], switches: Sequence[str]
) -> Parsed:
    """Sort a command line: the script's own options, docker's, and the rest.

    Args:
        words: the command line.
        docker: what docker knows.
        options: the script's own that take a value.
        switches: the script's own that take none.
    """
    found, rest = Parsed(), list(words)
    while rest:
        name, equals, value = rest[0].partition("=")
        bare = name.lower().removeprefix("--")
        if rest[0] == "--":
            found.command += rest[1:]
            break
        if name.startswith("--ml-"):
            found.ml.append(f"--{rest[0].removeprefix('--ml-')}")
            rest = rest[1:]
            if not equals and rest and not rest[0].startswith("-"):
                found.ml.append(rest[0])
                rest = rest[1:]
        elif name.startswith("--") and bare in switches:
            found.own[bare] = "1"  # a value, as in --sentinel=1, passes as the flag
            rest = rest[1:]
        elif name.startswith("--") and bare in options:
            found.own[bare] = value if equals else rest[1]
            rest = rest[1:] if equals else rest[2:]
        else:
            taken, used = docker.take(rest)
            found.docker += taken
            found.command += [] if used else rest[:1]
            rest = rest[used or 1 :]
    if "cmd" in found.own:
        found.command = shlex.split(found.own["cmd"]) + found.command
    return found


def published(port: str, service: str, inside: int, *, changes_inside: bool) -> list[str]:
    """``-p`` of a port option or a service option (``compat/02`` section 4.1).

    Args:
        port: value of ``--...-port``, may be empty.
        service: value of ``--...-service``, may be empty.
        inside: the container's port.
        changes_inside: whether the process listens on ``port`` itself, as the SN's API does.
    """
    found: list[str] = []
    if port:
        found += ["--publish", f"{port}:{port if changes_inside else inside}"]
    if service:
        outside = service.rpartition(":")[2] if ":" in service else str(inside)
        found += ["--publish", f"{outside}:{inside}"]
    return found
