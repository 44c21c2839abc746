"""How to reach a license server that was just started, and who may sign in first; pure."""

from __future__ import annotations

import re
from typing import Sequence

from compose.operate.nodes import LICENSE
from compose.operate.plan import Container

SETUP_CODE = "/hpe/AutoPass/LicenseServer/data/setup-code"
_PUBLISHED = re.compile(rf"--publish=(?:(?P<ip>.+):)?(?P<port>\d+):{LICENSE}(?:/tcp)?")


def hints(container: Container, docker: Sequence[str]) -> list[str]:
    """Lines for who started a license server; none for other nodes.

    Args:
        container: the node.
        docker: the words that begin each command of Docker.
    """
    if container.role != "license":
        return []
    name = container.name or "CONTAINER"
    found = [match for word in container.options if (match := _PUBLISHED.fullmatch(word))]
    page = (
        f"page: https://{_host(found[-1]['ip'])}:{found[-1]['port']}/"
        if found
        else f"page: https://{name}:{LICENSE}/ inside its network; "
        f"--license-port={LICENSE} puts it on this host"
    )
    return [
        page,
        f"setup code for the first sign-in: {' '.join(docker)} exec {name} cat {SETUP_CODE} "
        "(no such file: there are users already)",
    ]


def _host(ip: str | None) -> str:
    return ip if ip and ip not in ("0.0.0.0", "[::]") else "THIS-HOST"  # noqa: S104 - not bound
