"""The name under which LIST NODES shows a node."""

import socket
from contextlib import suppress
from pathlib import Path

LONGEST = 160
INFO_FILE = Path("/tmp/container_info_file")  # noqa: S108 - HPE's name and place
"""What the run scripts leave in a container; its first line is the container's id."""
_ID = 12
"""Characters of an id that Docker shows."""


def container_name(given: str, info_file: Path = INFO_FILE) -> str:
    """``given``, else the container's id, else the host's name (in a container: its id too).

    Args:
        given: SWARM_CONTAINER_NAME.
        info_file: may hold the id.
    """
    if given:
        return given[:LONGEST]
    with suppress(OSError, UnicodeDecodeError):
        lines = info_file.read_text().splitlines()
        if lines and lines[0].strip():
            return lines[0].strip()[:_ID]
    return socket.gethostname()[:LONGEST]
