"""The help of a run command, from the table that its parser uses; pure."""

from __future__ import annotations

import textwrap

from compose.operate.docker_options import BUILT_IN
from compose.operate.options import Command, Group, Option

WIDTH = 100
COLUMN = 34

_BESIDE = (
    "The ML container: --ml-image IMAGE, --ml-cmd WORDS, and any of Docker's options with ml- "
    "before it, short ones too (--ml-name, --ml-v, --ml-e, --ml-entrypoint, --ml-gpus...). It sees "
    "the SL's volumes, has the two pipes' variables, and runs as you, where --ml-user U or U:G "
    "does not say otherwise."
)
_DOCKER = (
    "All options of `docker container create` can be given, too. A mount's source with a / in it "
    "may be relative; --hostname is --name where it is not given; stdin stays open. Here they are:"
)
_SYNTAX = (
    "--opt value or --opt=value; long names in any case; short ones can stand together (-dit). "
    "What stands after -- is for the container. docs/swarm-command.md has whole examples."
)


def render(command: Command) -> str:
    """The text of ``swarm COMMAND --help``."""
    parts = [
        f"usage: swarm {command.name} {command.usage}",
        f"{command.summary[0].upper()}{command.summary[1:]}.",
    ]
    parts += [_group(group) for group in command.groups]
    if command.has_sidecars:
        parts.append(_fill(_BESIDE))
    parts += [f"Docker's options\n{_fill(_DOCKER)}\n{_docker()}", _fill(_SYNTAX)]
    parts.append("Example\n" + textwrap.indent(command.example, "  "))
    return "\n\n".join(parts) + "\n"


def _group(group: Group) -> str:
    lines: list[str] = [group.title]
    for option in group.options:
        lines += _option(option)
    return "\n".join(lines)


def _option(option: Option) -> list[str]:
    name = f"--{option.name}"
    if option.metavar:
        name += f"[={option.metavar}]" if option.is_optional else f" {option.metavar}"
    spelled = f"  -{option.short}, {name}" if option.short else f"  {name}"
    body = textwrap.wrap(option.help, WIDTH - COLUMN)
    if len(spelled) + 2 > COLUMN:
        return [spelled, *(" " * COLUMN + line for line in body)]
    return [spelled.ljust(COLUMN) + body[0], *(" " * COLUMN + line for line in body[1:])]


def _docker() -> str:
    names = sorted(BUILT_IN.values(), key=lambda each: each.name)
    shown = [f"--{each.name}{f' (-{each.short})' if each.short else ''}" for each in names]
    return _fill("  ".join(shown).replace(" (", "\0("), "  ").replace("\0", " ")


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
