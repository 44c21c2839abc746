"""The ``docker`` command of this machine."""

import shutil
import subprocess

from compose.plan import REPOSITORY
from services.common.errors import ConfigError


def run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command in the repository's root, to its end; a failure is in its return code."""
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def run_docker(*words: str) -> "subprocess.CompletedProcess[str]":
    """The same for ``docker``."""
    return run(["docker", *words])


def require(*, buildx: bool) -> None:
    """Check that there is an engine.

    Args:
        buildx: whether its plugin for building is needed, too.

    Raises:
        ConfigError: something is missing; says what.
    """
    if shutil.which("docker") is None:
        raise ConfigError("no docker command here: install Docker Engine with the buildx plugin")
    if buildx and run_docker("buildx", "version").returncode:
        raise ConfigError("Docker's buildx plugin is missing: the Dockerfiles need BuildKit")
    answer = run_docker("version", "--format", "{{.Server.Version}}")
    if answer.returncode:
        raise ConfigError(f"the Docker engine does not answer: {answer.stderr.strip()}")


def has(image: str) -> bool:
    """Whether the engine has this image."""
    return run_docker("image", "inspect", image).returncode == 0


def identity(image: str) -> str:
    """The image's id; empty where the engine has none of this name."""
    return run_docker("image", "inspect", "--format", "{{.Id}}", image).stdout.strip()


def megabytes(image: str) -> float:
    """Size of an image that the engine has."""
    return int(run_docker("image", "inspect", "--format", "{{.Size}}", image).stdout) / 1e6
