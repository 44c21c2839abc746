"""A Docker daemon for tests, and a tiny image that needs no registry."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from services.swop.adapters.docker_client import DEFAULT_URL, knock
from services.swop.core.engine import EngineError

URL = os.environ.get("DOCKER_HOST") or DEFAULT_URL
IMAGE = "swarm-test-tiny:1"
"""Busybox and nothing else."""
LABEL = "swarm.test"
TOOLS = ("sh", "cat", "echo", "env", "id", "ls", "pwd", "seq", "sleep", "true", "trap", "wget")


@cache
def why_not() -> str | None:
    """Why there can be no container tests here; None where there can."""
    try:
        knock(URL)
        client = docker.DockerClient(URL, version="auto", timeout=20)
    except (EngineError, DockerException) as error:
        return str(error)
    try:
        ensure_image(client)
        # an engine can start and still run nothing
        client.containers.run(IMAGE, ["true"], remove=True, labels=[LABEL])
    except (DockerException, OSError, subprocess.SubprocessError) as error:
        return f"the Docker engine at {URL} runs no container: {error}"
    finally:
        client.close()
    return None


def ensure_image(client: docker.DockerClient) -> None:
    """Import the tiny image where it is missing."""
    try:
        client.images.get(IMAGE)
    except ImageNotFound:
        client.api.import_image_from_data(_tiny(), *IMAGE.split(":"))


def _tiny() -> bytes:
    """A file system with a static busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox is missing: apt-get install busybox-static")
    linked = subprocess.run(["ldd", busybox], capture_output=True, text=True, check=False)
    if "=>" in linked.stdout:
        raise FileNotFoundError(f"{busybox} is not static: apt-get install busybox-static")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, mode
            archive.addfile(member)
        archive.add(Path(busybox).resolve(), arcname="bin/busybox")
        for tool in TOOLS:
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return content.getvalue()


@contextmanager
def connected() -> Iterator[docker.DockerClient]:
    """The SDK, for what SWOP's engine does not do."""
    client = docker.DockerClient(URL, version="auto", timeout=60)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def swept(mark: str) -> Iterator[docker.DockerClient]:
    """Remove what carries this mark: in labels, or as a name's beginning."""
    with connected() as client:
        try:
            yield client
        finally:
            _sweep(client, mark)


def _sweep(client: docker.DockerClient, mark: str) -> None:
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={mark}"}):
        container.remove(force=True, v=True)
    for image in client.images.list(filters={"reference": [f"{mark}*", f"{mark}*/*"]}):
        for tag in image.tags:
            if tag.startswith(mark):
                client.images.remove(tag, force=True)
    for volume in client.volumes.list():
        if volume.name.startswith(mark):
            volume.remove(force=True)
