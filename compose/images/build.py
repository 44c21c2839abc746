"""Builds the images with ``docker buildx``."""

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

from compose.images.catalogue import BASE, IMAGES, Surroundings, command, with_base
from compose.plan import REPOSITORY
from services.common.errors import ConfigError, RemoteError

WHEELS = "swarm-learning/wheels:local"
LAST_LINES = 25
"""Lines of a failed build that are shown."""


class Builder:
    """Builds images one after the other.

    Args:
        prefix: of their names.
        tag: of all of them.
        base_image: that the Dockerfiles start from.
        wheels: folder of wheels for pip; None: none but those of the index.

    Raises:
        ConfigError: there is no Docker with buildx, or no such folder.
    """

    def __init__(self, prefix: str, tag: str, base_image: str, wheels: Path | None) -> None:
        _require_docker()
        if wheels is not None and not wheels.is_dir():
            raise ConfigError(f"--wheels {wheels}: there is no such folder")
        self._prefix, self._tag = prefix, tag
        self._base_image, self._wheels = base_image, wheels

    def build(self, names: list[str]) -> None:
        """Build these images, and what they are built on.

        Raises:
            ConfigError: there is no such image, or the base image cannot be had.
            RemoteError: a build failed; its last lines are in the message.
        """
        unknown = [name for name in names if name not in IMAGES]
        if unknown:
            raise ConfigError(f"no image called {unknown[0]!r}; there are {', '.join(IMAGES)}")
        base = f"{self._prefix}/{BASE}:{self._tag}"
        around = self._surroundings()
        for name in with_base(names, there=_has(base)):
            started = time.monotonic()
            done = _run(command(name, self._prefix, self._tag, around))
            if done.returncode:
                raise RemoteError(f"building {name} failed:\n{_tail(done.stderr)}")
            full = f"{self._prefix}/{name}:{self._tag}"
            print(
                f"{full:36} {_size(full):5.0f} MB  {time.monotonic() - started:4.0f} s", flush=True
            )

    def _surroundings(self) -> Surroundings:
        if not _has(self._base_image) and _run(["docker", "pull", self._base_image]).returncode:
            raise ConfigError(
                f"no image {self._base_image} here, and Docker cannot pull it. Load it from a "
                "file, or make one from Debian packages: see docs/images.md"
            )
        found = {
            "ca": os.environ.get("SSL_CERT_FILE", ""),
            "pipconf": os.environ.get("PIP_CONFIG_FILE", ""),
        }
        secrets = {name: path for name, path in found.items() if path and Path(path).is_file()}
        revision = _run(["git", "rev-parse", "HEAD"]).stdout.strip()
        wheels = "scratch" if self._wheels is None else _as_image(self._wheels)
        return Surroundings(self._base_image, wheels, secrets, revision)


def _require_docker() -> None:
    if shutil.which("docker") is None:
        raise ConfigError("no docker command here: install Docker Engine with the buildx plugin")
    if _run(["docker", "buildx", "version"]).returncode:
        raise ConfigError("Docker's buildx plugin is missing: the Dockerfiles need BuildKit")
    answer = _run(["docker", "version", "--format", "{{.Server.Version}}"])
    if answer.returncode:
        raise ConfigError(f"the Docker engine does not answer: {answer.stderr.strip()}")


def _as_image(folder: Path) -> str:
    """The folder's wheels as an image, which a build can mount."""
    words = ["docker", "import", "-", WHEELS]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        with tarfile.open(fileobj=importing.stdin, mode="w|") as tar:
            for wheel in sorted(folder.glob("*.whl")):
                tar.add(wheel, wheel.name)
        importing.stdin.close()
        if importing.wait():
            raise RemoteError(f"the engine did not take the wheels of {folder}")
    return WHEELS


def _has(image: str) -> bool:
    return _run(["docker", "image", "inspect", image]).returncode == 0


def _size(image: str) -> float:
    """Megabytes."""
    answer = _run(["docker", "image", "inspect", "--format", "{{.Size}}", image])
    return int(answer.stdout) / 1e6


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


def _run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
