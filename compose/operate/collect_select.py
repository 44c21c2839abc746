"""Which containers of a host belong to swarms, and what each is; pure."""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping

Inspected = Mapping[str, Any]
"""A container as ``docker inspect`` tells it."""
OUR_LABELS = ("swarm.sources", "swarm.swop", "swarm.role", "swarm.composition")
PROJECT = "com.docker.compose.project"
_OUR_IMAGE = re.compile(
    r"(?:^|/)swarm-learning(?:-[\w.]+)?/(?P<kind>sn|sl|swop|swci|license|tools|slm-ui)(?:[:@]|$)"
)
_NAMED = ("sn", "sl", "swop", "swci", "license", "tools")
_TITLES = (
    ("license server", "license"), ("swarm network", "sn"), ("swarm learning node", "sl"),
    ("swop", "swop"), ("swci", "swci"), ("certificates", "tools"),
)  # fmt: skip


def labels_of(container: Inspected) -> Mapping[str, str]:
    """Its labels, those of its image included."""
    return (container.get("Config") or {}).get("Labels") or {}


def image_of(container: Inspected) -> str:
    """The name of its image as it was asked for."""
    return str((container.get("Config") or {}).get("Image") or "")


def name_of(container: Inspected) -> str:
    """Its name."""
    return str(container.get("Name") or container.get("Id") or "?").lstrip("/")


def environment_of(container: Inspected) -> dict[str, str]:
    """Its variables."""
    pairs = ((container.get("Config") or {}).get("Env")) or []
    return dict(pair.partition("=")[::2] for pair in pairs)


def kind_of(container: Inspected) -> str:
    """``sn``, ``sl``, ``swop``, ``swci``, ``license``, ``tools``, ``ml`` or ``other``."""
    role = labels_of(container).get("swarm.role", "").lower()
    if role in ("sl", "ml"):
        return role
    found = _OUR_IMAGE.search(image_of(container))
    if found:
        return found["kind"]
    if "swarm.sources" in labels_of(container):
        title = labels_of(container).get("org.opencontainers.image.title", "").lower()
        for word, kind in _TITLES:
            if word in title:
                return kind
        return "ml"
    return "ml" if volumes_from(container) else "other"


def volumes_from(container: Inspected) -> list[str]:
    """Names or ids of the containers whose volumes it has."""
    given = (container.get("HostConfig") or {}).get("VolumesFrom") or []
    return [str(each).split(":")[0].lstrip("/") for each in given]


def ours(
    containers: Iterable[Inspected], names: Iterable[str] = (), images: Iterable[str] = ()
) -> list[Inspected]:
    """The containers of our images and labels, of their compose projects, and ML containers that
    have an SL's volumes; sorted by name.

    Args:
        containers: all of the host.
        names: beginnings of names; where there are some, only these count.
        images: of users' ML programs, which belong to swarms, too.
    """  # noqa: D205
    everything, wanted, prefixes = list(containers), tuple(images), tuple(names)
    first = [each for each in everything if _is_ours(each) or image_of(each) in wanted]
    projects = {labels_of(each).get(PROJECT) for each in first} - {None, ""}
    found = {
        str(each.get("Id")): each
        for each in everything
        if each in first or labels_of(each).get(PROJECT) in projects or _attached(each, first)
    }
    chosen = (each for each in found.values() if name_of(each).startswith(prefixes or ("",)))
    return sorted(chosen, key=name_of)


def _is_ours(container: Inspected) -> bool:
    has_label = any(label in labels_of(container) for label in OUR_LABELS)
    return has_label or bool(_OUR_IMAGE.search(image_of(container)))


def _attached(container: Inspected, to: list[Inspected]) -> bool:
    wanted = volumes_from(container)
    return any(
        name == name_of(each) or str(each.get("Id", "")).startswith(name)
        for name in wanted
        if name
        for each in to
    )
