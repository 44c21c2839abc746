"""From a profile and a RUN_SWARM task to the two containers of a pair (``compat/04`` section 3.1).

Which variable wins: for an SL ``slenvvars`` over ``envvars`` over what SWOP says; for an ML program
``usrenvvars`` over the task's ``Envvars`` over the proxies. What ties the pair together (channels,
uid) wins over all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.errors import ConfigError
from services.common.ids import NodeId
from services.common.task_body import MountType, RunSwarm
from services.common.task_definition import TaskDefinition
from services.swop.core.engine import (
    LABEL_GROUP,
    LABEL_IDX,
    LABEL_PEER,
    LABEL_ROLE,
    LABEL_RUN,
    LABEL_SWOP,
    LABEL_TASK,
    ContainerSpec,
    Mount,
    MountKind,
    Role,
)
from services.swop.core.node_definition import NodeDefinition
from services.swop.core.profile import DEFAULT_NETWORK, Profile

SHARED = "/tmp/hpe-swarm"  # noqa: S108 - the path in the container that HPE's client expects
FS_PORT = 30305
"""Port of the SL's file server in its container."""
FOREVER = str(30 * 24 * 3600)
"""Seconds that an SL waits for a program that will never come, until SWOP stops it."""
LONGEST_PART = 64
LONGEST_GROUP, LONGEST_STEM = 24, 38
"""Characters of a container's name before role, index and uid: with them it has at most 63, so that
Docker's DNS finds an SL by it."""
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a SWOP's settings say of the containers that it starts."""

    swop: NodeId
    sl_image: str
    sn: Mapping[str, str]
    """SN_NODE_IP and SN_API_SERVER_PORT, or SN_API_SERVICE."""
    license: Mapping[str, str] = field(default_factory=dict)
    """The SWOP's own license server, for profiles that name none."""
    user: str | None = None
    """``uid:gid`` of ML programs."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    """Those of `PROXIES` that the SWOP itself has."""


@dataclass(frozen=True, slots=True)
class PairPlan:
    """The containers of one pair, and the volume that they share."""

    sl: ContainerSpec
    ml: ContainerSpec
    volume: str

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the volume; it outlives the run."""
        return {k: self.sl.labels[k] for k in (LABEL_GROUP, LABEL_SWOP, LABEL_IDX)}


def sn_of(profile: Profile, own: Mapping[str, str]) -> dict[str, str]:
    """Variables that name the SN: what the profile says wins.

    Args:
        profile: may name one.
        own: the same variables of the SWOP itself.

    Raises:
        ConfigError: nobody names one.
    """
    server = profile.apisrv
    if server.service:
        return {"SN_API_SERVICE": server.service}
    if server.host:
        port = str(server.port or own.get("SN_API_SERVER_PORT", "30304"))
        return {"SN_NODE_IP": server.host, "SN_API_SERVER_PORT": port}
    found = {name: value for name, value in own.items() if value}
    if found.get("SN_API_SERVICE"):
        return {"SN_API_SERVICE": found["SN_API_SERVICE"]}
    if found.get("SN_NODE_IP"):
        return found
    raise ConfigError(
        "no SN to use: set SN_NODE_IP (and SN_API_SERVER_PORT) or SN_API_SERVICE, or name one in "
        "the profile under apisrv"
    )


def proxies_of(profile: Profile, own: Mapping[str, str]) -> dict[str, str]:
    """Proxy variables for builds, SL and ML; those in the profile's envvars win."""
    return {**own, **{name: value for name, value in profile.envvars if name in PROXIES}}


def plan_pair(
    profile: Profile, node: NodeDefinition, task: TaskDefinition, image: str, run: str,
    peer: NodeId, around: Surroundings, volumes: Mapping[str, str] | None = None,
) -> PairPlan:  # fmt: skip
    """Plan one pair.

    Args:
        profile: the SWOP's.
        node: one of its nodes.
        task: of type RUN_SWARM.
        image: of the ML program: the outcome of the task's prerequisite.
        run: for the label, ``<taskrunner>/<number>``.
        peer: uid of the SL.
        around: from the SWOP's settings.
        volumes: other names for volumes of SharedContent.
    """
    assert isinstance(task.body, RunSwarm)
    pair = _Pair(profile, node, task.body, peer, around)
    labels = {
        LABEL_GROUP: profile.groupname, LABEL_SWOP: around.swop, LABEL_TASK: task.name,
        LABEL_RUN: run, LABEL_IDX: str(node.idx), LABEL_PEER: peer,
    }  # fmt: skip
    stem = f"{prefix_of(profile)}{_part(task.name)}"[:LONGEST_STEM]
    sl_name, ml_name = f"{stem}-s-{node.idx}-{peer[:16]}", f"{stem}-u-{node.idx}-{peer[:16]}"
    network = None if profile.network == DEFAULT_NETWORK else profile.network
    sl = ContainerSpec(
        role=Role.SL, name=sl_name, image=around.sl_image, env=pair.sl_env(sl_name),
        mounts=pair.sl_mounts(), hostname=node.slhostname, network=network, ip=node.slip,
        dns=profile.dns, ports=_ports(node),
        labels={**dict(node.sllabels), **labels, LABEL_ROLE: Role.SL},
    )  # fmt: skip
    ml = ContainerSpec(
        role=Role.ML, name=ml_name, image=image, entrypoint=task.body.entrypoint_words(),
        command=task.body.command_words(), working_dir=task.body.working_dir, env=pair.ml_env(),
        mounts=pair.ml_mounts(volumes or {}), user=around.user, hostname=node.usrhostname,
        network=network, ip=node.usrip, dns=profile.dns,
        labels={**dict(node.usrlabels), **labels, LABEL_ROLE: Role.ML}, options=node.usroptions,
    )  # fmt: skip
    return PairPlan(sl, ml, pair.volume)


def prefix_of(profile: Profile) -> str:
    """Return how the names of a group's containers begin."""
    return f"{_part(profile.groupname)[:LONGEST_GROUP]}-"


class _Pair:
    """What both containers of a pair are made from."""

    def __init__(
        self, profile: Profile, node: NodeDefinition, body: RunSwarm, peer: NodeId,
        around: Surroundings,
    ) -> None:  # fmt: skip
        self._profile, self._node, self._body = profile, node, body
        self._peer, self._around = peer, around
        group = _part(profile.groupname)
        self.volume = f"swop-{group}-swif-{node.idx}"
        stem = f"{SHARED}/{group}.{node.idx}.{peer[:16]}"
        self._channels = {
            "SL_REQUEST_CHANNEL": f"{stem}.request.pipe",
            "SL_RESPONSE_CHANNEL": f"{stem}.response.pipe",
        }
        self._proxies = proxies_of(profile, around.proxies)

    def sl_env(self, name: str) -> dict[str, str]:
        """Variables of the SL."""
        node = self._node
        own = {
            "THIS_NODE_IP": node.slhostip or name,
            "SWARM_CONTAINER_NAME": name,
            "SL_FS_PORT": str(node.slport or FS_PORT),
            **({"SL_FS_SERVICE": node.slfsservice} if node.slfsservice else {}),
            **sn_of(self._profile, self._around.sn),
            **self._license(),
            **{each.variable: each.path for each in node.identity},
        }
        ml = {**dict(self._body.envvars), **dict(node.usrenvvars)}
        if ml.get("SWARM_LOOPBACK", "").lower() == "true":
            own["SL_ML_CONNECT_TIMEOUT"] = FOREVER  # it never opens its pipes
        given = {**dict(self._profile.envvars), **dict(node.slenvvars)}
        tied = {**self._channels, "SWARM_NODE_UID": self._peer}
        return {**self._proxies, **own, **given, **tied}

    def _license(self) -> dict[str, str]:
        apls = self._profile.apls
        if apls is None:
            return dict(self._around.license)
        stem = "SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY"
        return {f"{stem}_IP": apls.host, f"{stem}_PORT": str(apls.port)}

    def ml_env(self) -> dict[str, str]:
        """Variables of the ML program."""
        given = {**dict(self._body.envvars), **dict(self._node.usrenvvars)}
        return {**self._proxies, **given, **self._channels}

    def sl_mounts(self) -> tuple[Mount, ...]:
        """The shared volume and the identity files."""
        mounts = [self._shared()]
        for each in self._node.identity:
            mounts.append(Mount(_kind(each.mtype), each.src, each.tgt, read_only=True))
        return tuple(dict.fromkeys(mounts))

    def ml_mounts(self, volumes: Mapping[str, str]) -> tuple[Mount, ...]:
        """The shared volume, the node's private data and the task's shared content."""
        mounts = [self._shared()]
        private, place = self._node.privatedata, self._body.private_content
        if private is not None and place:
            mounts.append(Mount(_kind(private.mtype), private.src, place))
        for each in self._body.shared_content:
            source = volumes.get(each.src, each.src)
            mounts.append(Mount(_kind(each.mtype), source, each.tgt))
        return tuple(mounts)

    def _shared(self) -> Mount:
        return Mount(MountKind.VOLUME, self.volume, SHARED)


def _ports(node: NodeDefinition) -> dict[int, int]:
    """Ports of the host that lead to the SL's file server."""
    ports = [node.slport] if node.slport else []
    _, colon, port = (node.slfsservice or "").rpartition(":")
    if colon and port.isdigit():
        ports.append(int(port))
    return dict.fromkeys(ports, FS_PORT)


def _kind(mtype: MountType) -> MountKind:
    return MountKind.BIND if mtype is MountType.BIND else MountKind.VOLUME


def _part(name: str) -> str:
    """A part of a container's or a volume's name; Docker allows few characters."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:LONGEST_PART].lstrip("_.-") or "x"
