"""Decides on a request that is on the list: may it be passed on, and as what?

A container may be started, stopped, read or removed only where it was made through this proxy;
otherwise SWOP could stop anything on the host, or copy files out of it or into it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from compose.socket_proxy import create_body, strict_json
from compose.socket_proxy.create_body import IMAGE, NAME, PATH, labels
from compose.socket_proxy.daemon import Daemon
from compose.socket_proxy.fields import items, mapping, record, text
from compose.socket_proxy.refusal import Refused
from compose.socket_proxy.roots import Roots
from compose.socket_proxy.routes import Call, Kind
from compose.socket_proxy.seal import Seal
from compose.socket_proxy.strict_json import Json

_DRIVERS = frozenset({"bridge", "overlay", "macvlan", "ipvlan"})
"""Of networks; with ``host`` a container would be on the host's own."""

_QUERIES = {
    Kind.CREATE: {"name": text(NAME)},
    Kind.BUILD: {"t": text(IMAGE), "dockerfile": text(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")},
    Kind.PULL: {"fromImage": text(IMAGE), "tag": text(r"[\w][\w.-]{0,127}|sha256:[0-9a-f]{64}")},
    Kind.GET_FILES: {"path": text(PATH)},
    Kind.PUT_FILES: {"path": text(PATH)},
}
"""Parameters that must be there."""
_VOLUME = record({"Name": text(NAME), "Driver": text(r"(local)?"), "Labels": labels})
_FILTERS = record({"label": items(text(r"[^\x00]{1,1024}"))})
_ARGUMENTS = mapping(r"[A-Za-z_][0-9A-Za-z_]{0,127}", text())


class Body(Enum):
    """What a request may carry."""

    NOTHING = auto()
    JSON = auto()
    ARCHIVE = auto()


BODIES = {
    Kind.CREATE: Body.JSON,
    Kind.MAKE_VOLUME: Body.JSON,
    Kind.BUILD: Body.ARCHIVE,
    Kind.PUT_FILES: Body.ARCHIVE,
}
"""All others carry nothing."""
_FILES = frozenset({Kind.GET_FILES, Kind.PUT_FILES})
_CONTAINERS = _FILES | {Kind.INSPECT, Kind.START, Kind.STOP, Kind.REMOVE, Kind.LOGS}
"""What is done to one container."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What to send to Docker."""

    target: str
    body: bytes | None = None
    """None: as it comes, or nothing."""


class Gate:
    """Decides, and asks Docker what it needs to know for that.

    Args:
        daemon: answers.
        seal: of what was made through this proxy.
        roots: what may be mounted from the host.
        volumes: names of volumes that were not made through this proxy and may still be mounted.
        inspectable: names of containers that may be looked at besides: SWOP's own.
    """

    def __init__(
        self,
        daemon: Daemon,
        seal: Seal,
        roots: Roots,
        volumes: frozenset[str] = frozenset(),
        inspectable: frozenset[str] = frozenset(),
    ) -> None:
        self._daemon = daemon
        self._seal = seal
        self._roots = roots
        self._volumes = volumes
        self._inspectable = inspectable
        self._deciders = {
            Kind.CREATE: self._create,
            Kind.MAKE_VOLUME: self._make_volume,
            Kind.BUILD: self._build,
            Kind.PULL: self._pull,
            Kind.LIST: self._list,
            **dict.fromkeys(_CONTAINERS, self._container),
        }

    async def decide(self, call: Call, body: bytes) -> Passed:
        """Decide on a request.

        Args:
            call: the request.
            body: all of it where it is JSON; else empty.

        Raises:
            Refused: it may not be passed on.
        """
        for name, check in _QUERIES.get(call.kind, {}).items():
            check(call.query.get(name, ""), f"parameter {name}")
        decide = self._deciders.get(call.kind)
        return Passed(call.target()) if decide is None else await decide(call, body)

    async def _container(self, call: Call, _body: bytes) -> Passed:
        """Something with a container of ours: by its id, whatever has its name by then."""
        container = await self._daemon.inspect("containers", call.name)
        if container is None:
            return Passed(call.target())  # Docker says so itself
        name = str(container["Name"]).removeprefix("/")
        ours = self._seal.holds("container", name, container["Config"].get("Labels"))
        if not ours and not (call.kind is Kind.INSPECT and name in self._inspectable):
            raise Refused(f"container {call.name[:80]} was not made through this proxy")
        if call.kind in _FILES and container["State"].get("Status") != "created":
            raise Refused("files are copied only into or out of containers that were never started")
        return Passed(call.target(name=str(container["Id"])))

    async def _list(self, call: Call, _body: bytes) -> Passed:
        """Only what may be of this proxy; the seal is looked at with every use."""
        given = _FILTERS(strict_json.loads(call.query.get("filters") or "{}", "filters"), "filters")
        filters = json.dumps({"label": [*given.get("label", []), self._seal.by]})
        return Passed(call.target(query=call.query | {"filters": filters}))

    async def _make_volume(self, call: Call, body: bytes) -> Passed:
        volume = _VOLUME(strict_json.loads(body, "the body"), "")
        if "Name" not in volume:
            raise Refused("a volume needs a Name")
        sealed = volume.get("Labels", {}) | self._seal.label("volume", volume["Name"])
        return Passed(call.target(), _encode({**volume, "Labels": sealed}))

    async def _build(self, call: Call, _body: bytes) -> Passed:
        """A build may replace an image that came from here, but no image of others."""
        tag = call.query["t"]
        image = await self._daemon.inspect("images", tag)
        if image is not None and not self._seal.holds("image", tag, _image_labels(image)):
            raise Refused(
                f"image {tag[:120]} was not built through this proxy: "
                "docker rmi it, or take another name"
            )
        given = labels(strict_json.loads(call.query.get("labels") or "{}", "labels"), "labels")
        arguments = _ARGUMENTS(
            strict_json.loads(call.query.get("buildargs") or "{}", "buildargs"), "buildargs"
        )
        query = call.query | {
            "labels": json.dumps(given | self._seal.label("image", tag)),
            "buildargs": json.dumps(arguments),
        }
        return Passed(call.target(query=query))

    async def _pull(self, call: Call, _body: bytes) -> Passed:
        """A pull may renew what came from a registry, but replace no image made on this host."""
        tag = call.query["tag"]
        name = f"{call.query['fromImage']}{'@' if tag.startswith('sha256:') else ':'}{tag}"
        image = await self._daemon.inspect("images", name)
        made_here = image is not None and not image.get("RepoDigests")
        if (
            image is not None
            and made_here
            and not self._seal.holds("image", name, _image_labels(image))
        ):
            raise Refused(f"image {name[:120]} was made on this host: docker rmi it to pull it")
        return Passed(call.target())

    async def _create(self, call: Call, body: bytes) -> Passed:
        create = create_body.check(strict_json.loads(body, "the body"))
        for mount in create.mounts:
            if mount["Type"] == "bind":
                mount["Source"] = self._roots.check(mount["Source"])
            else:
                await self._check_volume(mount)
        for network in create.networks:
            await self._check_network(network)
        sealed = create.body.get("Labels", {}) | self._seal.label("container", call.query["name"])
        return Passed(call.target(), _encode({**create.body, "Labels": sealed}))

    async def _check_volume(self, mount: dict[str, Any]) -> None:
        """A volume of ours, one that was listed, or one that is made by this."""
        name = mount["Source"]
        volume = await self._daemon.inspect("volumes", name)
        options = mount.setdefault("VolumeOptions", {})
        if volume is None:
            options["Labels"] = options.get("Labels", {}) | self._seal.label("volume", name)
        elif name not in self._volumes and not self._seal.holds(
            "volume", name, volume.get("Labels")
        ):
            raise Refused(f"volume {name} was not made through this proxy: allow it with --volume")

    async def _check_network(self, name: str) -> None:
        """By its whole name; an id, or part of one, could be the host's."""
        network = await self._daemon.inspect("networks", name)
        if network is None:
            raise Refused(f"network {name} not found", 404)
        if network.get("Name") != name or network.get("Driver") not in _DRIVERS:
            raise Refused(f"network {name} is not allowed")


def _image_labels(image: Mapping[str, Any]) -> Mapping[str, Any] | None:
    labels: Mapping[str, Any] | None = (image.get("Config") or {}).get("Labels")
    return labels


def _encode(value: Json) -> bytes:
    return strict_json.dumps(value).encode()
