"""Which container this SWOP runs in, and the image of SL that belongs to its own image."""

import re
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import ConfigError

INFO_FILE = Path("/tmp/container_info_file")  # noqa: S108 - HPE's name; only SWOP's own container has it
"""Three lines that run-swop may leave here: container id, image name, image digest."""
LARGEST = 1 << 20
"""Bytes read of a file of /proc."""

_ID = re.compile(r"[0-9a-f]{12,64}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
_MOUNTED = re.compile(
    r"/(?:containers|overlay-containers)/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) "
)
_CGROUP = re.compile(
    r"(?:/docker/|/docker-|/libpod-|/libpod_parent/libpod-)([0-9a-f]{64})(?:\.scope)?\b"
)


@dataclass(frozen=True, slots=True)
class OwnContainer:
    """The container this process runs in."""

    id: str
    name: str
    image: str
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traces:
    """What a process sees of the container that it runs in."""

    info: str = ""
    """`INFO_FILE`."""
    mountinfo: str = ""
    """``/proc/self/mountinfo``."""
    cgroup: str = ""
    """``/proc/self/cgroup``."""
    hostname: str = ""

    def info_image(self) -> str | None:
        """Image that the info file names."""
        lines = self._info_lines()
        return lines[1] if lines else None

    def ids(self) -> list[str]:
        """Ids that may be this container's, the surest first."""
        lines = self._info_lines()
        ids = [lines[0]] if lines else []
        ids += _MOUNTED.findall(self.mountinfo)
        ids += _CGROUP.findall(self.cgroup)
        ids += [self.hostname] if re.fullmatch(r"[0-9a-f]{12}", self.hostname) else []
        return list(dict.fromkeys(ids))

    def _info_lines(self) -> list[str]:
        lines = [line.strip() for line in self.info.splitlines()]
        good = len(lines) >= 2 and _ID.fullmatch(lines[0]) and _IMAGE.fullmatch(lines[1])
        return lines if good else []


def read_traces(
    info: Path = INFO_FILE, proc: Path = Path("/proc/self"), etc: Path = Path("/etc")
) -> Traces:
    """Read them; what is not there is empty."""
    return Traces(
        info=_read(info),
        mountinfo=_read(proc / "mountinfo"),
        cgroup=_read(proc / "cgroup"),
        hostname=_read(etc / "hostname").strip(),
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def sl_image(own: str | None, given: str | None) -> str:
    """Image of the SL containers.

    Source: HPE's SWOP replaces the last part of its own image's repository,
    ``registry/org/swop:tag`` -> ``registry/org/sl:tag``. SWOP_SL_IMAGE is ours.

    Args:
        own: image of this SWOP; None where it cannot be found out.
        given: SWOP_SL_IMAGE.

    Raises:
        ConfigError: neither tells.
    """
    if given:
        return given
    if own is None or own.startswith("sha256:") or "@" in own:
        known = "does not know its own image" if own is None else f"was started from {own}"
        raise ConfigError(
            f"this SWOP {known}, so it cannot tell the image of SL: set SWOP_SL_IMAGE"
        )
    head, slash, last = own.rpartition("/")
    _, colon, tag = last.partition(":")
    return f"{head}{slash}sl{colon}{tag}"
