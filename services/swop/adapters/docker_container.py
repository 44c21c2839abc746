"""A container specification in Docker's terms, and Docker's description of a container in ours."""

from collections.abc import Mapping
from typing import Any

from docker import APIClient
from docker.types import DeviceRequest, LogConfig, Mount

from services.swop.core.engine import (
    ContainerOptions,
    ContainerSpec,
    ContainerState,
    EngineError,
    Found,
    Gpus,
    MountKind,
)
from services.swop.core.engine import Mount as MountSpec

LOG_SIZE, LOG_FILES = "10m", "3"
"""So much of a container's output is kept; a program that prints without end fills no disk."""
NO_NETWORK_NAME = ("", "default")
"""Both mean Docker's default bridge; HPE's profile schema has ``default`` as a value."""
NEVER = "0001-01-01T00:00:00Z"
"""Docker's time of something that has not happened."""
EXITED = frozenset({"created", "exited", "dead", "removing"})


def arguments(api: APIClient, spec: ContainerSpec) -> dict[str, Any]:
    """What `APIClient.create_container` needs for this specification.

    Raises:
        EngineError: Docker has no such thing.
    """
    network = None if (spec.network or "") in NO_NETWORK_NAME else spec.network
    if spec.ip and network is None:
        raise EngineError(
            f"container {spec.name} wants IP address {spec.ip}, which needs a network: "
            "name one that docker network create has made in the profile"
        )
    arguments: dict[str, Any] = {
        "image": spec.image,
        "name": spec.name,
        "command": list(spec.command) or None,
        "entrypoint": None if spec.entrypoint is None else list(spec.entrypoint),
        "working_dir": spec.working_dir,
        "environment": dict(spec.env),
        "user": spec.user,
        "hostname": spec.hostname,
        "labels": dict(spec.labels),
        "detach": True,
        "ports": sorted(set(spec.ports.values())),
        "host_config": _host_config(api, spec, network),
        "use_config_proxy": False,  # SWOP says which proxies a container has
    }
    if spec.ip and network:
        arguments["networking_config"] = api.create_networking_config(
            {network: api.create_endpoint_config(ipv4_address=spec.ip)}  # type: ignore[arg-type]
        )
    return arguments


def _host_config(api: APIClient, spec: ContainerSpec, network: str | None) -> dict[str, Any]:
    return dict(
        api.create_host_config(
            network_mode=network,
            mounts=[_mount(mount, spec.labels) for mount in spec.mounts],
            port_bindings=_ports(spec.ports),
            dns=list(spec.dns) or None,
            log_config=LogConfig(
                type="json-file", config={"max-size": LOG_SIZE, "max-file": LOG_FILES}
            ),
            init=True,  # a program that ignores SIGTERM as process 1 still ends when told to
            restart_policy={"Name": "no"},
            **_options(spec.options),
        )
    )


def _options(options: ContainerOptions) -> dict[str, Any]:
    """Only what is set: some of the SDK's defaults are not the daemon's."""
    values = {
        "devices": list(options.devices),
        "device_requests": [_gpus(options.gpus)] if options.gpus else [],
        "ipc_mode": options.ipc,
        "shm_size": options.shm_size,
        "group_add": list(options.group_add),
        "cap_add": list(options.cap_add),
        "security_opt": list(options.security_opt),
        "privileged": options.privileged,
    }
    return {name: value for name, value in values.items() if value}


def _gpus(gpus: Gpus) -> DeviceRequest:
    """As ``docker run --gpus``."""
    if gpus.ids:
        return DeviceRequest(device_ids=list(gpus.ids), capabilities=[["gpu"]])
    return DeviceRequest(count=gpus.count, capabilities=[["gpu"]])


def _ports(ports: Mapping[int, int]) -> dict[int | str, list[str]]:
    bindings: dict[int | str, list[str]] = {}
    for host, container in ports.items():
        bindings.setdefault(f"{container}/tcp", []).append(str(host))
    return bindings


def _mount(mount: MountSpec, labels: Mapping[str, str]) -> Mount:
    """A bind mount whose source is missing is refused by Docker, not made."""
    if mount.kind is MountKind.BIND:
        return Mount(mount.target, mount.source, type="bind", read_only=mount.read_only)
    return Mount(
        mount.target, mount.source, type="volume", read_only=mount.read_only, labels=dict(labels)
    )


def found(inspected: Mapping[str, Any]) -> Found:
    """What ``inspect`` says, in our terms."""
    state = inspected["State"]
    exited = state.get("Status") in EXITED
    started = state.get("StartedAt", NEVER) != NEVER
    return Found(
        id=str(inspected["Id"]),
        name=str(inspected["Name"]).removeprefix("/"),
        labels=dict(inspected["Config"].get("Labels") or {}),
        state=ContainerState.EXITED if exited else ContainerState.RUNNING,
        exit_code=int(state["ExitCode"]) if exited and started else None,
    )
