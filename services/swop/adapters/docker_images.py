"""Questions about the images of this host."""

from collections.abc import Mapping
from typing import Any

import docker.errors
from docker import APIClient


def inspect(api: APIClient, name: str) -> Mapping[str, Any]:
    """What Docker knows of an image."""
    return dict(api.inspect_image(name))  # type: ignore[no-untyped-call]  # of types-docker


def has(api: APIClient, name: str) -> bool:
    """Say whether this image is here."""
    try:
        inspect(api, name)
    except docker.errors.NotFound:
        return False
    return True
