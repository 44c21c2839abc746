"""What each type of task asks for (``compat/04`` section 2)."""

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from services.common.env_list import Env


class MountType(StrEnum):
    """Where something that is mounted comes from."""

    BIND = "BIND"
    """A path of the host."""
    VOLUME = "VOLUME"
    """A named volume."""


@dataclass(frozen=True, slots=True)
class SharedContent:
    """Something mounted into the ML container of every node."""

    src: str
    """BIND: absolute path of the host; VOLUME: its name."""
    tgt: str
    """Absolute path in the container."""
    mtype: MountType


@dataclass(frozen=True, slots=True)
class RunSwarm:
    """RUN_SWARM: train; its image is the outcome of the prerequisite."""

    command: str
    entrypoint: str
    working_dir: str
    """Absolute path in the container."""
    envvars: Env = ()
    private_content: str | None = None
    """Where the profile's private data is mounted; None: nowhere."""
    shared_content: tuple[SharedContent, ...] = ()

    def command_words(self) -> tuple[str, ...]:
        """Return the command split as a shell splits it."""
        return tuple(shlex.split(self.command))

    def entrypoint_words(self) -> tuple[str, ...]:
        """Return the entrypoint split as a shell splits it."""
        return tuple(shlex.split(self.entrypoint))


class BuildType(StrEnum):
    """Where the lines of a Dockerfile are."""

    INLINE = "INLINE"
    """In the task."""
    REMOTE = "REMOTE"
    """Behind the URL that is the only build step (HPE never implemented it; the form is ours)."""


@dataclass(frozen=True, slots=True)
class MakeUserContainer:
    """MAKE_USER_CONTAINER: build the image named by the outcome."""

    build_steps: tuple[str, ...]
    build_type: BuildType = BuildType.INLINE
    build_context: str | None = None
    """Volume whose files are the build context; None: an empty one."""

    def dockerfile(self) -> str:
        """Return the Dockerfile of an INLINE build: the steps as they are, one a line."""
        return "\n".join(self.build_steps) + "\n"

    def url(self) -> str | None:
        """Return the URL of a REMOTE build's Dockerfile; None for INLINE."""
        return self.build_steps[0] if self.build_type is BuildType.REMOTE else None


class ContentType(StrEnum):
    """How many volumes MAKE_SWARM_USER_CONTENT makes."""

    BUILDCONTENT = "BUILDCONTENT"
    """One at each SWOP, as a build context."""
    SWARMCONTENT = "SWARMCONTENT"
    """One for each SL node, as data."""


class Operation(StrEnum):
    """What one step of MAKE_SWARM_USER_CONTENT does."""

    DOWNLOAD = "DOWNLOAD"
    EXTRACT = "EXTRACT"


@dataclass(frozen=True, slots=True)
class ContentStep:
    """One step of MAKE_SWARM_USER_CONTENT."""

    operation: Operation
    target: str
    """DOWNLOAD: http or https URL; EXTRACT: an archive's path in it, relative, no ``..``."""
    out: str | None = None
    """Path in the volume, relative, no ``..``. None: DOWNLOAD names the file as the URL does,
    EXTRACT unpacks at the top."""


@dataclass(frozen=True, slots=True)
class MakeSwarmUserContent:
    """MAKE_SWARM_USER_CONTENT: fill volumes named by the outcome."""

    content_type: ContentType
    steps: tuple[ContentStep, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A registry's user. On the chain every node can read it."""

    username: str
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AuthFile:
    """A Docker ``config.json`` that lies at the SWOP."""

    path: str


@dataclass(frozen=True, slots=True)
class PullImage:
    """PULL_IMAGE: fetch an image; the outcome should be its full name."""

    tag: str
    repo_name: str
    org_and_reg: str
    auth: Credentials | AuthFile | None = None

    def image(self) -> str:
        """Return registry, organisation, repository and tag as one name."""
        return f"{self.org_and_reg.rstrip('/')}/{self.repo_name}:{self.tag}"


TaskBody: TypeAlias = RunSwarm | MakeUserContainer | MakeSwarmUserContent | PullImage
