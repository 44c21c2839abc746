"""What a SWOP asks of whatever runs its containers: Docker, or child processes on this host.

SWOP chooses the names of containers and volumes (`plan.py`); they are valid Docker names. All
that an engine makes carries the labels below, so that a SWOP that was killed finds it again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from services.common.errors import RemoteError

LABEL_GROUP = "swarm.group"
"""Groupname of the profile."""
LABEL_SWOP = "swarm.swop"
"""Uid of the SWOP that made it."""
LABEL_TASK = "swarm.task"
LABEL_RUN = "swarm.run"
"""``<taskrunner>/<number>``."""
LABEL_IDX = "swarm.idx"
"""Index of the node in the profile."""
LABEL_ROLE = "swarm.role"
"""`Role`."""
LABEL_PEER = "swarm.peer"
"""Uid of the SL of the pair: the peer of the run."""


class EngineError(RemoteError):
    """The engine refused or failed; the text is short and goes to the ledger."""

    code = "engine"


class Role(StrEnum):
    """What a container of a pair is."""

    SL = "SL"
    ML = "ML"


class MountKind(StrEnum):
    """Where a mount comes from."""

    BIND = "BIND"
    """A path of the host."""
    VOLUME = "VOLUME"
    """A named volume; made where it is missing."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Something of the host that a container sees."""

    kind: MountKind
    source: str
    """BIND: absolute path, which must exist; VOLUME: its name."""
    target: str
    """Absolute path in the container."""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Gpus:
    """NVIDIA GPUs of a container."""

    count: int = 0
    """-1: all; 0 where `ids` say it."""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """``usrcontaineropts`` of the profile."""

    devices: tuple[str, ...] = ()
    """As ``docker run --device``: ``host[:container[:rwm]]``."""
    gpus: Gpus | None = None
    ipc: str | None = None
    shm_size: str | None = None
    """Such as ``16G``."""
    group_add: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to make."""

    role: Role
    name: str
    image: str
    entrypoint: tuple[str, ...] | None = None
    """None: the image's own."""
    command: tuple[str, ...] = ()
    working_dir: str | None = None
    """Absolute path in the container; None: the image's own."""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    user: str | None = None
    """``uid:gid``; None: the image's own."""
    hostname: str | None = None
    network: str | None = None
    """None: the engine's default."""
    ip: str | None = None
    """Fixed address in `network`."""
    dns: tuple[str, ...] = ()
    ports: Mapping[int, int] = field(default_factory=dict)
    """Port of the host -> TCP port of the container."""
    labels: Mapping[str, str] = field(default_factory=dict)
    options: ContainerOptions = ContainerOptions()


class ContainerState(StrEnum):
    """Whether a container's program runs."""

    RUNNING = "running"
    EXITED = "exited"
    """It ended, or it never started."""


@dataclass(frozen=True, slots=True)
class Found:
    """A container that an engine has."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: ContainerState
    exit_code: int | None
    """None while it runs, and where it never started."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """An image to build."""

    tag: str
    """With ``:latest`` or another tag already added."""
    dockerfile: str
    context_volume: str | None
    """The volume whose files are the build context; None: an empty one."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PullSpec:
    """An image to fetch from a registry."""

    image: str
    """Registry, repository and tag."""
    auth_file: str | None = None
    """Path of a Docker ``config.json`` on this host."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Engine(Protocol):
    """Runs containers. Every method raises `EngineError`, with a short text for people."""

    async def check(self) -> None:
        """Raise `EngineError` unless the engine can be used; the text says what to do."""
        ...

    async def own_image(self) -> str | None:
        """Image of the container that this SWOP runs in; None where it cannot be found out."""
        ...

    async def build(self, spec: BuildSpec, log: Callable[[str], None]) -> None:
        """Build an image, or build it once more.

        Args:
            spec: what to build.
            log: gets every line of the build's output.
        """
        ...

    async def pull(self, spec: PullSpec) -> None:
        """Fetch an image."""
        ...

    async def has_image(self, tag: str) -> bool:
        """Say whether this image is here."""
        ...

    async def make_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a named volume; harmless where it exists."""
        ...

    async def has_volume(self, name: str) -> bool:
        """Say whether this volume is here."""
        ...

    async def volume_labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels with which a volume was made; None where there is no such volume."""
        ...

    async def put_files(self, volume: str, folder: Path) -> None:
        """Copy what a folder holds into a volume, over what it holds there already."""
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container without starting it.

        Returns:
            Its id.
        """
        ...

    async def start(self, id: str) -> None:
        """Start a created container."""
        ...

    async def wait(self, id: str) -> int:
        """Return once its program ended, also where it ended before.

        Returns:
            The exit code; negative or above 128 for a signal.
        """
        ...

    async def stop(self, id: str, seconds: float) -> None:
        """Ask it to end, and kill it after these seconds; harmless where it ended or is gone."""
        ...

    async def remove(self, id: str) -> None:
        """Remove it, killing what still runs; harmless where it is gone. Named volumes stay."""
        ...

    async def logs(self, id: str, tail: int) -> Sequence[str]:
        """Return its last lines of output, oldest first."""
        ...

    async def save_logs(self, id: str, path: Path) -> None:
        """Write its whole output to a file."""
        ...

    async def find(self, labels: Mapping[str, str]) -> Sequence[Found]:
        """Return the containers that carry all these labels, whether they run or not."""
        ...

    async def close(self) -> None:
        """Let go of the connection; what runs goes on."""
        ...
