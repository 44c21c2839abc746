"""From options to the containers that Docker is to make; pure."""

from __future__ import annotations

from dataclasses import dataclass

from compose.operate.errors import UsageError
from compose.operate.host import Host
from compose.operate.identity import identity_words, license_words
from compose.operate.nodes import CHANNEL_WORDS, NODES
from compose.operate.options import Command
from compose.operate.parse import Options, Parsed

LABEL = "swarm.component"
"""Label of what the run commands start: sn, sl, ml, swop, swci or license."""
WAIT_S = 300.0


@dataclass(frozen=True)
class Container:
    """One container."""

    role: str
    """sn, sl, swop, swci, license, or ml and other names of containers beside an SL."""
    image: str
    options: tuple[str, ...]
    """For ``docker container create``."""
    words: tuple[str, ...]
    """Arguments of the container."""
    name: str = ""
    is_beside: bool = False
    """Whether it sees the first container's volumes."""
    may_pull: bool = True

    def create(self, first: str = "") -> list[str]:
        """The command that makes it.

        Args:
            first: id of the first container, for those beside it.
        """
        shared = [f"--volumes-from={first}"] if self.is_beside else []
        return ["container", "create", *self.options, *shared, self.image, *self.words]


@dataclass(frozen=True)
class Plan:
    """What a run command does."""

    containers: tuple[Container, ...]
    """In the order of their making; the first one is the node."""
    is_detached: bool
    is_dry: bool
    with_sudo: bool
    wait_s: float | None
    """How long to wait until it is ready; None: not at all."""
    notes: tuple[str, ...]
    """What the user should know."""


def make_plan(command: Command, given: Parsed, host: Host) -> Plan:
    """Decide what to do.

    Args:
        command: which one.
        given: its options.
        host: where.

    Raises:
        UsageError: something is missing or wrong.
    """
    identity, notes = identity_words(given, command.component, host)
    own = NODES[command.component](given, host)
    if command.component == "swop" and not any("docker.sock" in word for word in own):
        notes.append(f"{host.engine_socket} is no socket: this SWOP cannot start containers")
    if given.get("apls-pdf"):
        notes.append("--apls-pdf has no effect: install licences in the license server")
    common = [*own, *license_words(given), *identity]
    node = _container(command.component, given, common, host, host.image(command.component))
    beside = [_beside(name, options, host) for name, options in given.sidecars.items()]
    is_detached = given.flag("detach")
    return Plan(
        containers=(node, *beside), is_detached=is_detached, is_dry=given.flag("dry-run"),
        with_sudo=given.flag("sudo"), wait_s=_wait(given, is_detached), notes=tuple(notes),
    )  # fmt: skip


def _wait(given: Parsed, is_detached: bool) -> float | None:
    if "wait" not in given.own:
        return None
    if not is_detached:
        raise UsageError("--wait goes with --detach (-d): else you see it work")
    text = given.get("wait") or str(WAIT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise UsageError(f"--wait={text}: seconds, more than 0")
    return seconds


def _beside(name: str, given: Options, host: Host) -> Container:
    image = given.get("image")
    if not image:
        raise UsageError(f"--{name}-image IMAGE is missing: the image of the {name} container")
    user = given.given("user")
    words = list(CHANNEL_WORDS)
    if user is None:
        words.append(f"--user={host.uid}:{host.gid}")
    elif ":" not in user and (gid := host.gid_of(user)) is not None:
        given.docker = [(n, f"{v}:{gid}" if n == "user" else v) for n, v in given.docker]
    return _container(name, given, words, host, image, is_beside=True)


def _container(
    role: str, given: Options, more: list[str], host: Host, image: str, is_beside: bool = False
) -> Container:
    """One container: defaults, what we add, and the user's own options last, so that they win."""
    asked: dict[str, str | None] = dict(given.docker)
    name = asked.get("name") or ""
    words = [f"--label={LABEL}={role}"]
    if "interactive" not in asked:
        words.append("--interactive=true")
    if host.is_terminal and "tty" not in asked:
        words.append("--tty=true")
    if name and "hostname" not in asked:
        words.append(f"--hostname={name}")
    ours = not given.get("image")
    if ours and not host.images and "pull" not in asked:
        words.append("--pull=never")  # no registry has it, and nobody may claim its name there
    words += more
    words += [_word(option, value, host) for option, value in given.docker]
    return Container(
        role=role, image=given.get("image") or image, options=tuple(words),
        words=tuple(given.words), name=name, is_beside=is_beside,
        may_pull=(not ours or bool(host.images)) and asked.get("pull") != "never",
    )  # fmt: skip


def _word(option: str, value: str | None, host: Host) -> str:
    if value is None:
        return f"--{option}"
    if option == "volume":
        value = _mount(value, host)
    return f"--{option}={value}"


def _mount(value: str, host: Host) -> str:
    """A mount whose source is a path of this host, as Docker wants it: from the root."""
    source, colon, rest = value.partition(":")
    if not colon or source.startswith("/") or not ("/" in source or source in (".", "..")):
        return value
    path = host.absolute(source)
    if not host.files.is_there(path):
        raise UsageError(f"bad mount {value}: there is no {path}")
    return f"{path}:{rest}"
