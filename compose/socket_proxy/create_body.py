"""What a container may be: the body of ``POST /containers/create``."""

from dataclasses import dataclass
from typing import Any

from compose.socket_proxy.fields import Check, empty, flag, integer, items, mapping, record, text
from compose.socket_proxy.refusal import Refused
from compose.socket_proxy.strict_json import Json

NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}"
"""Of a container, a volume or a network."""
IMAGE = r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,511}"
PATH = r"/[^\x00-\x1f\x7f]{0,4095}"
LABEL = "swarm.proxy"
"""The seal on what was made through this proxy (`ownership.py`); nobody else may write it."""

_ANY = text()


def labels(value: Json, where: str) -> Json:
    """Labels, without the seal."""
    checked = mapping(r"[^\x00]{1,255}", _ANY)(value, where)
    if any(name.startswith(LABEL) for name in checked):
        raise Refused(f"{where}.{LABEL} is the proxy's own label")
    return checked


def _strings(value: Json, where: str) -> Json:
    """A list of strings, or one string, as Entrypoint and Cmd may be."""
    return _ANY(value, where) if isinstance(value, str) else items(_ANY)(value, where)


def _gpu(value: Json, where: str) -> Json:
    if value != ["gpu"]:
        raise Refused(f"{where} asks for something else than a GPU")
    return value


_MOUNT = record(
    {
        "Type": text(r"bind|volume"),
        "Source": text(rf"{NAME}|{PATH}"),
        "Target": text(PATH),
        "ReadOnly": flag,
        "VolumeOptions": record({"NoCopy": flag, "Labels": labels}),
        "BindOptions": empty,
    }
)

_DEVICE_REQUEST = record(
    {
        "Driver": text(r"(nvidia)?"),
        "Count": integer(-1, 1024),
        "DeviceIDs": items(text(r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]{1,80}")),
        "Capabilities": items(_gpu),
        "Options": empty,
    }
)

_HOST_CONFIG = record(
    {
        "NetworkMode": text(NAME),
        "Mounts": items(_MOUNT),
        "PortBindings": mapping(
            r"[0-9]{1,5}/(tcp|udp)",
            items(
                record({"HostIp": text(r"[0-9A-Fa-f.:]{0,45}"), "HostPort": text(r"[0-9]{0,5}")})
            ),
        ),
        "Dns": items(text(r"[0-9A-Za-z.:-]{1,253}")),
        "LogConfig": record(
            {
                "Type": text(r"json-file"),
                "Config": mapping(r"max-size|max-file", text(r"[0-9]{1,6}[bkm]?")),
            }
        ),
        "RestartPolicy": record({"Name": text(r"(no)?"), "MaximumRetryCount": integer(0, 0)}),
        "Init": flag,
        "ShmSize": integer(0, 1 << 40),
        "GroupAdd": items(text(r"[a-z_0-9][a-z0-9_-]{0,31}")),
        "IpcMode": text(r"(none|private|shareable)?"),
        "DeviceRequests": items(_DEVICE_REQUEST),
    }
)
"""Not here, and so refused: Privileged, CapAdd, SecurityOpt, Devices, DeviceCgroupRules, PidMode,
UTSMode, UsernsMode, CgroupnsMode, CgroupParent, Binds, VolumesFrom, VolumeDriver, Runtime, Sysctls,
MaskedPaths, ReadonlyPaths, Links, ExtraHosts, Tmpfs, StorageOpt, Ulimits, OomKillDisable, ..."""

_ENDPOINT = record(
    {
        "IPAMConfig": record({"IPv4Address": text(r"[0-9.]{0,15}")}),
        "Aliases": items(text(NAME)),
    }
)

_BODY: Check = record(
    {
        "Image": text(IMAGE),
        "Hostname": text(r"[0-9A-Za-z._-]{0,253}"),
        "User": text(r"[0-9A-Za-z._-]{0,64}(:[0-9A-Za-z._-]{1,64})?"),
        "Env": items(_ANY),
        "Cmd": _strings,
        "Entrypoint": _strings,
        "WorkingDir": text(rf"({PATH})?"),
        "Labels": labels,
        "ExposedPorts": mapping(r"[0-9]{1,5}/(tcp|udp)", empty),
        "AttachStdout": flag,
        "AttachStderr": flag,
        "HostConfig": _HOST_CONFIG,
        "NetworkingConfig": record({"EndpointsConfig": mapping(NAME, _ENDPOINT)}),
    }
)


@dataclass(frozen=True, slots=True)
class Create:
    """A body that is allowed as far as it can be told without looking around."""

    body: dict[str, Any]
    """To be passed on; its mounts and labels are still to be sealed."""

    @property
    def mounts(self) -> list[dict[str, Any]]:
        """Its mounts, bind and volume."""
        found: list[dict[str, Any]] = self.body["HostConfig"].get("Mounts", [])
        return found

    @property
    def networks(self) -> set[str]:
        """Names of the networks it joins, without Docker's default."""
        joined = set(self.body.get("NetworkingConfig", {}).get("EndpointsConfig", {}))
        mode = self.body["HostConfig"].get("NetworkMode", "default")
        return joined | ({mode} - {"default", "bridge", "none"})


def check(value: Json) -> Create:
    """Check a parsed body.

    Raises:
        Refused: it asks for something that SWOP does not need.
    """
    body = _BODY(value, "")
    if "Image" not in body:
        raise Refused("Image is missing")
    body.setdefault("HostConfig", {})
    for index, mount in enumerate(body["HostConfig"].get("Mounts", [])):
        _check_mount(mount, f"HostConfig.Mounts[{index}]")
    return Create(body)


def _check_mount(mount: dict[str, Any], where: str) -> None:
    source = mount.get("Source", "")
    if "Target" not in mount or "Type" not in mount or not source:
        raise Refused(f"{where} must have Type, Source and Target")
    if (mount["Type"] == "bind") != source.startswith("/"):
        raise Refused(f"{where}.Source does not fit its Type")
