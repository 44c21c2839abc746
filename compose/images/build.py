"""Builds the images with ``docker buildx``."""

import hashlib
import os
import subprocess
import tarfile
import time
from pathlib import Path

from compose.images.catalogue import (
    IMAGES,
    Surroundings,
    check,
    command,
    full_name,
    with_base,
)
from compose.images.engine import has, identity, megabytes, require, run, run_docker
from compose.images.sources import digest
from compose.plan import REPOSITORY
from services.common.errors import ConfigError, RemoteError

WHEELS = "swarm-learning/wheels"
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
        require(buildx=True)
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
        check(names)
        around = self._surroundings()
        for name in with_base(names):
            full = full_name(name, self._prefix, self._tag)
            started, old = time.monotonic(), identity(full)
            done = run(command(name, self._prefix, self._tag, around))
            if done.returncode:
                raise RemoteError(f"building {name} failed:\n{_tail(done.stderr)}")
            if old not in ("", identity(full)):
                run_docker("image", "rm", old)  # nothing refers to it any more, or it stays
            took = time.monotonic() - started
            print(f"{full:36} {megabytes(full):5.0f} MB  {took:4.0f} s", flush=True)

    def _surroundings(self) -> Surroundings:
        if not has(self._base_image) and run_docker("pull", self._base_image).returncode:
            raise ConfigError(
                f"no image {self._base_image} here, and Docker cannot pull it. Load it from a "
                "file, or make one from Debian packages: see docs/images.md"
            )
        found = {
            "ca": os.environ.get("SSL_CERT_FILE", ""),
            "pipconf": os.environ.get("PIP_CONFIG_FILE", ""),
        }
        secrets = {name: path for name, path in found.items() if path and Path(path).is_file()}
        revision = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        created = run(["git", "log", "-1", "--format=%cI"]).stdout.strip()
        wheels = "scratch" if self._wheels is None else _as_image(self._wheels)
        sources = {name: digest(REPOSITORY, name) for name in IMAGES}
        mirror = os.environ.get("DEBIAN_MIRROR", "")
        return Surroundings(self._base_image, wheels, secrets, revision, created, sources, mirror)


def _as_image(folder: Path) -> str:
    """The folder's wheels as an image, which a build can mount; made once for the same wheels."""
    wheels = [(each.name, each.stat()) for each in sorted(folder.glob("*.whl"))]
    known = [(name, found.st_size, found.st_mtime_ns) for name, found in wheels]
    image = f"{WHEELS}:{hashlib.sha256(repr(known).encode()).hexdigest()[:12]}"
    if has(image):
        return image
    words = ["docker", "import", "-", image]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        with tarfile.open(fileobj=importing.stdin, mode="w|") as tar:
            for name, _ in wheels:
                tar.add(folder / name, name)
        importing.stdin.close()
        if importing.wait():
            raise RemoteError(f"the engine did not take the wheels of {folder}")
    return image


def _tail(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])
