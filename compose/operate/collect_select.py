"""Which containers of a host belong to swarms, and what each is; pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping

from compose.operate.find import ROLE, TITLE, component_of, kind_of_image, volumes_from
from compose.operate.plan import LABEL

Inspected = Mapping[str, Any]
"""A container as ``docker inspect`` tells it."""
SOURCES = "swarm.sources"
"""Label of our images, ML images among them."""
OUR_LABELS = (LABEL, SOURCES, ROLE, "swarm.swop", "swarm.composition")
PROJECT = "com.docker.compose.project"
_TOOLS = "Swarm Learning: Certificates, flows, socket proxy"


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
    """One of `find.COMPONENTS`, ``tools``, ``slm-ui`` or ``other``."""
    labels, image = labels_of(container), image_of(container)
    kind = component_of(labels, image) or kind_of_image(image)
    if kind or labels.get(TITLE) == _TOOLS:
        return kind or "tools"
    return "ml" if SOURCES in labels or volumes_from(container) else "other"


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
    return has_label or bool(kind_of_image(image_of(container)))


def _attached(container: Inspected, to: list[Inspected]) -> bool:
    wanted = volumes_from(container)
    return any(
        name == name_of(each) or str(each.get("Id", "")).startswith(name)
        for name in wanted
        if name
        for each in to
    )
