"""Who a pull is made as: from the task, or from a Docker ``config.json``.

Docker's own clients run a program named in that file to get a password. Here nothing is run: the
file comes with a task.
"""

import json
from pathlib import Path
from typing import Any

import docker.auth
import docker.errors

from services.common.nesting import is_too_deep
from services.swop.core.engine import EngineError, PullSpec

LARGEST_FILE = 1 << 20
"""Bytes of a config.json."""


def auth_config(spec: PullSpec) -> dict[str, Any] | None:
    """What the daemon needs for this pull; None: nobody in particular.

    Raises:
        EngineError: the file cannot be read, or does not name this registry.
    """
    if spec.username is not None:
        return {"username": spec.username, "password": spec.password or ""}
    if spec.auth_file is None:
        return None
    registry = _registry(spec.image)
    config = _read(Path(spec.auth_file))
    found = docker.auth.AuthConfig({"auths": _entries(config)}).resolve_authconfig(registry)
    if found:
        return dict(found)
    shown = registry or "the default registry"
    if config.get("credsStore") or config.get("credHelpers"):
        raise EngineError(
            f"{spec.auth_file} keeps passwords in a helper program, which SWOP does not run: "
            "give Username and Password in the task"
        )
    raise EngineError(f"{spec.auth_file} has no entry for {shown}: docker login to it")


def _registry(image: str) -> str | None:
    try:
        index, _ = docker.auth.resolve_repository_name(image)
    except docker.errors.InvalidRepository as error:
        raise EngineError(f"{image} is no valid image name: correct the task") from error
    return None if index == docker.auth.INDEX_NAME else index


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        fits = len(text) <= LARGEST_FILE and not is_too_deep(text)
        config = json.loads(text) if fits else None
    except OSError as error:
        raise EngineError(f"Auth file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EngineError(f"Auth file {path} is no JSON") from error
    if not isinstance(config, dict):
        raise EngineError(f"Auth file {path} is no Docker config.json")
    return config


def _entries(config: dict[str, Any]) -> dict[str, Any]:
    auths = config.get("auths")
    given = {
        name: entry
        for name, entry in (auths.items() if isinstance(auths, dict) else ())
        if isinstance(entry, dict) and ("auth" in entry or "identitytoken" in entry)
    }
    try:
        return docker.auth.AuthConfig.parse_auth(given, raise_on_error=True)
    except (docker.errors.DockerException, ValueError, TypeError) as error:
        raise EngineError(
            "an entry of the Auth file cannot be decoded: docker login again"
        ) from error
