"""What Docker's refusals mean, and what to do about them; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Match

NO_DOCKER = (
    "neither docker nor podman is installed here. Get Docker Engine from your distribution "
    "(Debian and Ubuntu: apt install docker.io; others: package docker or moby-engine, or podman) "
    "and start it: systemctl enable --now docker"
)

Who = Callable[[int], str]
"""Names the container that has a port; empty if none has."""


@dataclass(frozen=True)
class _Known:
    pattern: str
    say: Callable[[Match[str], Who], str]


def missing_image(image: str) -> str:
    """What to do about an image that is not here and is in no registry."""
    return (
        f"image {image} is not on this host. Build it in the repository (make images), or load "
        "it from a file (docker load -i swarm-learning.tar.gz), or name yours with --image or "
        "SWARM_IMAGES and SWARM_TAG"
    )


def _port(found: Match[str], who: Who) -> str:
    port = int(found[1] or found[2])
    owner = who(port)
    has = f"container {owner} has it" if owner else f"`ss -ltnp 'sport = :{port}'` shows who has it"
    return f"port {port} of this host is taken: {has}. Stop that, or publish another port"


def _name(found: Match[str], _: Who) -> str:
    return (
        f"there is a container {found[1]} already. Remove it (docker rm -f {found[1]}, or "
        "swarm stop-swarm), or choose another --name"
    )


def _daemon(_: Match[str], __: Who) -> str:
    return (
        "the Docker engine does not answer. Start it: systemctl start docker. If it runs, see "
        "`docker context ls` and DOCKER_HOST"
    )


def _rights(_: Match[str], __: Who) -> str:
    return (
        "you may not use Docker's socket: use --sudo, or have yourself added to the group docker "
        "(usermod -aG docker NAME) and log in again"
    )


_KNOWN: tuple[_Known, ...] = (
    _Known(r"permission denied.*(?:daemon|docker\.sock|API)", _rights),
    _Known(r"[Cc]annot connect to the Docker daemon|failed to connect to the docker API|"
           r"unable to connect to Podman", _daemon),
    _Known(r"container name \"/?([^\"]+)\" is already in use", _name),
    _Known(r"(?::(\d+) failed: port is already allocated)|(?::(\d+): bind: address already in use)",
           _port),
    _Known(r"(?:[Nn]o such image|[Uu]nable to find image):? ['\"]?([^\s'\"]+)",
           lambda found, _: missing_image(found[1])),
    _Known(r"network (\S+) not found",
           lambda found, _: f"there is no network {found[1]}. Make it: "
           f"docker network create {found[1]}"),
    _Known(r"unable to find user (\S+?):? no matching",
           lambda found, _: f"the image knows no user {found[1]}: give numbers, --user UID:GID"),
    _Known(r"could not select device driver.*gpu",
           lambda _, __: "no GPU for containers here: install the NVIDIA Container Toolkit, or "
           "leave --gpus out"),
)  # fmt: skip


def explain(stderr: str, who: Who = lambda _: "") -> str:
    """What went wrong, for a user.

    Args:
        stderr: what Docker said.
        who: names the container that has a port.
    """
    for known in _KNOWN:
        found = re.search(known.pattern, stderr, re.DOTALL)
        if found:
            return known.say(found, who)
    lines = [line.strip() for line in stderr.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("See '", "Run '"))]
    text = lines[-1] if lines else "Docker failed and did not say why"
    return re.sub(r"^(?:docker: )?(?:Error response from daemon: |[Ee]rror: )?", "", text)
