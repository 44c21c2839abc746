"""Files into and out of named volumes, through a container that is made and never started.

The container's image is empty (``FROM scratch``), so that no image need be here for it, and nothing
in it could run.
"""

import io
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import docker.errors
from docker import APIClient
from docker.types import Mount

from services.swop.adapters import docker_images, docker_tar
from services.swop.adapters.docker_errors import words
from services.swop.core.engine import EngineError

HELPER_IMAGE = "swarm-learning-volume:1"
LABEL_HELPER = "swarm.helper"
"""On the helpers and their image. SWOP never sees them: they lack its own labels."""
TARGET = "/files"
IN_MEMORY = 16 << 20
"""Bytes of an archive that are not spooled to a disk."""
LEFTOVER_AFTER = timedelta(hours=1)
"""A helper that is older was left by a SWOP that was killed."""


def has(api: APIClient, volume: str) -> bool:
    """Say whether this volume is here."""
    try:
        api.inspect_volume(volume)
    except docker.errors.NotFound:
        return False
    return True


def labels(api: APIClient, volume: str) -> dict[str, str] | None:
    """Return what labels a volume carries; None where it is not here."""
    try:
        found = api.inspect_volume(volume)
    except docker.errors.NotFound:
        return None
    return dict(found.get("Labels") or {})


def make(api: APIClient, volume: str, labels: Mapping[str, str]) -> None:
    """Make a volume; one that exists stays as it is."""
    api.create_volume(name=volume, labels=dict(labels))


def put(api: APIClient, volume: str, folder: Path) -> None:
    """Copy what a folder holds into a volume that exists."""
    api.inspect_volume(volume)
    with spool() as archive:
        docker_tar.of_folder(folder, archive)
        archive.seek(0)
        with _helper(api, volume, read_only=False) as helper:
            api.put_archive(helper, TARGET, archive)


def build_context(
    api: APIClient, volume: str | None, name: str, dockerfile: str, into: IO[bytes]
) -> None:
    """Write a build context of what a volume holds (None: nothing) plus a Dockerfile."""
    if volume is None:
        docker_tar.build_context(name, dockerfile, None, into)
        return
    api.inspect_volume(volume)
    with _helper(api, volume, read_only=True) as helper:
        chunks, _ = api.get_archive(helper, TARGET)
        docker_tar.build_context(name, dockerfile, chunks, into)


def spool() -> IO[bytes]:
    """A temporary file, in memory as long as it is small."""
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)


def remove_leftovers(api: APIClient, now: datetime) -> int:
    """Remove the helpers that killed SWOPs left behind; say how many."""
    old = [
        container["Id"]
        for container in api.containers(all=True, filters={"label": [LABEL_HELPER]})
        if container["State"] == "created"
        and datetime.fromtimestamp(container["Created"], UTC) < now - LEFTOVER_AFTER
    ]
    for helper in old:
        _remove(api, helper)
    return len(old)


@contextmanager
def _helper(api: APIClient, volume: str, *, read_only: bool) -> Iterator[str]:
    """A container with the volume at `TARGET`."""
    _ensure_image(api)
    mount = Mount(TARGET, volume, type="volume", read_only=read_only, no_copy=True)
    made = api.create_container(
        HELPER_IMAGE,
        command=["/never-started"],
        name=f"swop-files-{secrets.token_hex(8)}",
        labels={LABEL_HELPER: "volume"},
        host_config=api.create_host_config(mounts=[mount]),
        use_config_proxy=False,
    )
    try:
        yield made["Id"]
    finally:
        _remove(api, made["Id"])


def _remove(api: APIClient, helper: str) -> None:
    try:
        api.remove_container(helper, force=True)
    except docker.errors.NotFound:
        return


def _ensure_image(api: APIClient) -> None:
    if docker_images.has(api, HELPER_IMAGE):
        return
    context = io.BytesIO()
    text = f"FROM scratch\nLABEL {LABEL_HELPER}=volume\n"
    docker_tar.build_context("Dockerfile", text, None, context)
    context.seek(0)
    output = api.build(fileobj=context, custom_context=True, tag=HELPER_IMAGE, rm=True, decode=True)
    if failed := [str(message["error"]) for message in output if "error" in message]:
        raise EngineError(f"no helper image for volumes: {words(failed[0])}")
