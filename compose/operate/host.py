"""What a plan needs to know of the host it is made for: a value, and how to make it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from compose.operate.errors import UsageError

VERSION = "0.1.0"
IMAGES = "swarm-learning"
FIRST_BYTES = 65536
"""How much of a PEM file is looked at."""


class Files:
    """What there is on the disk."""

    def is_file(self, path: str) -> bool:
        """Whether it is one, or a link to one."""
        return os.path.isfile(path)

    def is_dir(self, path: str) -> bool:
        """Whether it is a folder, or a link to one."""
        return os.path.isdir(path)

    def is_there(self, path: str) -> bool:
        """Whether it is anything."""
        return os.path.exists(path)

    def is_socket(self, path: str) -> bool:
        """Whether it is a socket, or a link to one."""
        try:
            return stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError:
            return False

    def begin(self, path: str) -> str | None:
        """The beginning of a file; None where we may not read it."""
        try:
            with Path(path).open("rb") as file:
                return file.read(FIRST_BYTES).decode("latin-1")
        except OSError:
            return None


def _nobody_asks(_: str) -> str:
    raise UsageError("name the SN: --sn-ip or --sn-api-service")


def _nobody(_: str) -> int | None:
    return None


def _no_socket(_: str) -> str:
    return ""


@dataclass(frozen=True)
class Host:
    """The machine, the user, and whom to ask."""

    cwd: str
    uid: int
    gid: int
    is_terminal: bool = False
    """Whether somebody types."""
    docker_gid: int | None = None
    """Group of those who may use Docker."""
    engine_socket: str = "/var/run/docker.sock"
    images: str = ""
    """SWARM_IMAGES: beginning of the images' names."""
    tag: str = ""
    """SWARM_TAG."""
    files: Files = field(default_factory=Files)
    gid_of: Callable[[str], int | None] = _nobody
    """Primary group of a user, by name or number."""
    find_sn: Callable[[str], str] = _nobody_asks
    """Address of a local SN; of the container that is named, else of any."""
    find_socket: Callable[[str], str] = _no_socket
    """First socket in a volume, or in a container's volumes: ``VOLUME:PATH``; empty if none."""

    def absolute(self, path: str) -> str:
        """A path from the root, links left as they are."""
        return os.path.normpath(os.path.join(self.cwd, path))

    def image(self, component: str) -> str:
        """Name of one of our images."""
        return f"{self.images or IMAGES}/{component}:{self.tag or VERSION}"


def gid_of(user: str) -> int | None:
    """Primary group of a user, by name or number; None where there is no such user."""
    import pwd  # not on every system that can print the help

    try:
        return (pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)).pw_gid
    except (KeyError, OverflowError):
        return None


def docker_gid(socket: str) -> int | None:
    """The group ``docker``; where there is none, the group that owns the socket."""
    import grp  # as above

    try:
        return grp.getgrnam("docker").gr_gid
    except KeyError:
        pass
    try:
        return os.stat(socket).st_gid
    except OSError:
        return None
