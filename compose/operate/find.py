"""Which containers are of a swarm, from what ``docker inspect`` says; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from compose.operate.plan import LABEL

TITLE = "org.opencontainers.image.title"
TITLES: Mapping[str, str] = {
    "Swarm Learning: Swarm Network node": "sn",
    "Swarm Learning: Swarm Learning node": "sl",
    "Swarm Learning: SWOP, runs tasks on a host": "swop",
    "Swarm Learning: SWCI, the operators' shell": "swci",
    "Swarm Learning: License server": "license",
}
"""What our images call themselves, under whatever name."""
ROLE = "swarm.role"
"""SWOP's label of the containers that it starts: SL or ML."""
COMPONENTS = ("sn", "sl", "ml", "swop", "swci", "license")

STOPPING: tuple[tuple[str, ...], ...] = (("swci",), ("ml", "sl"), ("swop",), ("sn",), ("license",))
"""In which order a swarm ends: who uses others before whom they use."""

_IMAGE = re.compile(r"(?:^|/)swarm-learning/(sn|sl|swop|swci|license|tools|slm-ui)(?:[:@]|$)")


@dataclass(frozen=True)
class Found:
    """A container of a swarm."""

    id: str
    name: str
    component: str
    image: str
    state: str
    """running, exited, created...; with its health where it has one."""
    is_running: bool
    started: str
    ports: tuple[str, ...]
    networks: tuple[str, ...]


def component_of(labels: Mapping[str, str], image: str, prefix: str = "") -> str:
    """What a container is; empty where it is none of a swarm's.

    Args:
        labels: its labels, those of its image among them.
        image: the name it was started from.
        prefix: SWARM_IMAGES.
    """
    if labels.get(LABEL):
        return labels[LABEL] if labels[LABEL] in COMPONENTS else "ml"
    if labels.get(ROLE) in ("SL", "ML"):
        return labels[ROLE].lower()
    if labels.get(TITLE) in TITLES:
        return TITLES[labels[TITLE]]
    named = kind_of_image(image, prefix)
    return named if named in COMPONENTS else ""


def kind_of_image(image: str, prefix: str = "") -> str:
    """What an image of ours, or of HPE's, is by its name; empty for any other.

    Args:
        image: its name, with or without a registry.
        prefix: SWARM_IMAGES.
    """
    if prefix and image.startswith(f"{prefix}/"):
        image = f"swarm-learning/{image[len(prefix) + 1 :]}"
    named = _IMAGE.search(image)
    return named[1] if named else ""


def volumes_from(inspected: Mapping[str, Any]) -> list[str]:
    """Names or ids of the containers whose volumes a container has."""
    given = (inspected.get("HostConfig") or {}).get("VolumesFrom") or ()
    return [str(each).partition(":")[0].lstrip("/") for each in given]


def read(
    inspected: Sequence[dict[str, Any]], prefix: str = "", beside: Sequence[dict[str, Any]] = ()
) -> list[Found]:
    """The swarm's containers among those inspected, in the order of :data:`COMPONENTS`.

    One that has an SL's volumes is its ML container, whoever started it.

    Args:
        inspected: containers as ``docker inspect`` tells of them.
        prefix: SWARM_IMAGES.
        beside: more, of which only the ML containers of these SLs count.
    """
    found, others = [], []
    for each in inspected:
        config = each.get("Config") or {}
        image = _image(each)
        component = component_of(config.get("Labels") or {}, image, prefix)
        if component:
            found.append(_found(each, component, image))
        else:
            others.append(each)
    sls = {name for each in found if each.component == "sl" for name in (each.id, each.name)}
    known = {each.id for each in found}
    for each in (*others, *(one for one in beside if one.get("Id") not in known)):
        if sls & set(volumes_from(each)):
            found.append(_found(each, "ml", _image(each)))
    return sorted(found, key=lambda each: (COMPONENTS.index(each.component), each.name))


def _image(each: Mapping[str, Any]) -> str:
    """The name that a container was started from."""
    return str((each.get("Config") or {}).get("Image") or each.get("ImageName") or "")


def _found(each: dict[str, Any], component: str, image: str) -> Found:
    state = each.get("State") or {}
    status = str(state.get("Status") or "unknown")
    health = str((state.get("Health") or state.get("Healthcheck") or {}).get("Status") or "")
    if status == "exited":
        status = f"exited ({state.get('ExitCode')})"
    network = each.get("NetworkSettings") or {}
    return Found(
        id=str(each.get("Id")), name=str(each.get("Name") or "").lstrip("/"), component=component,
        image=image, state=f"{status}, {health}" if health and state.get("Running") else status,
        is_running=bool(state.get("Running")), started=str(state.get("StartedAt") or ""),
        ports=tuple(_ports(network.get("Ports") or {})),
        networks=tuple(network.get("Networks") or ()),
    )  # fmt: skip


def _ports(ports: Mapping[str, Any]) -> list[str]:
    shown: list[str] = []
    for inside, bound in ports.items():
        for each in bound or ():
            text = f"{each.get('HostPort')}->{inside.partition('/')[0]}"
            if text not in shown:
                shown.append(text)
    return shown


def address_on(inspected: Mapping[str, Any], wanted: str = "") -> str:
    """Address of a container; on the network ``wanted`` where it is on that."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    chosen = [networks[wanted]] if wanted in networks else list(networks.values())
    addresses = [str(each.get("IPAddress") or "") for each in chosen]
    return next((each for each in addresses if each), "")
