"""Our terms in Docker's, and back; without Docker."""

from typing import Any

import pytest
from docker import APIClient

from services.swop.adapters.docker_container import arguments, found
from services.swop.core.engine import (
    ContainerOptions,
    ContainerSpec,
    ContainerState,
    EngineError,
    Gpus,
    Mount,
    MountKind,
    Role,
)

ID = "0123456789abcdef" * 4


@pytest.fixture
def api() -> APIClient:
    """The SDK, which nothing is sent with."""
    return APIClient("unix:///nowhere.sock", version="1.41")


def _spec(**more: Any) -> ContainerSpec:
    return ContainerSpec(**{"role": Role.ML, "name": "n", "image": "i:1", **more})


def _host(api: APIClient, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = arguments(api, _spec(**more))["host_config"]
    return config


def test_what_is_not_asked_for_is_not_sent(api: APIClient):
    config = _host(api)
    assert config["NetworkMode"] == "default"
    assert config["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert config["Init"] is True
    unwanted = {"Privileged", "CapAdd", "SecurityOpt", "Devices", "DeviceRequests", "IpcMode"}
    assert not unwanted & config.keys()


def test_gpus(api: APIClient):
    def requested(gpus: Gpus) -> dict[str, Any]:
        (request,) = _host(api, options=ContainerOptions(gpus=gpus))["DeviceRequests"]
        return dict(request)

    every = requested(Gpus(count=-1))
    assert (every["Count"], every["DeviceIDs"], every["Capabilities"]) == (-1, [], [["gpu"]])
    assert requested(Gpus(count=2))["Count"] == 2
    some = requested(Gpus(ids=("3", "5")))
    assert (some["Count"], some["DeviceIDs"]) == (0, ["3", "5"])


def test_options_of_amd(api: APIClient):
    config = _host(
        api,
        options=ContainerOptions(
            devices=("/dev/kfd", "/dev/dri:/dev/dri:rw"), ipc="host", shm_size="16G",
            group_add=("video",), cap_add=("SYS_PTRACE",), security_opt=("seccomp=unconfined",),
            privileged=True,
        ),
    )  # fmt: skip
    assert [one["PathOnHost"] for one in config["Devices"]] == ["/dev/kfd", "/dev/dri"]
    assert config["Devices"][1]["CgroupPermissions"] == "rw"
    assert config["ShmSize"] == 16 << 30
    assert (config["IpcMode"], config["GroupAdd"], config["CapAdd"]) == (
        "host",
        ["video"],
        ["SYS_PTRACE"],
    )
    assert (config["SecurityOpt"], config["Privileged"]) == (["seccomp=unconfined"], True)


def test_several_ports_of_the_host_for_one(api: APIClient):
    mapped = arguments(api, _spec(ports={30305: 30305, 443: 30305}))
    assert mapped["ports"] == [30305]
    bound = mapped["host_config"]["PortBindings"]["30305/tcp"]
    assert [one["HostPort"] for one in bound] == ["30305", "443"]


def test_mounts(api: APIClient):
    mounts = (
        Mount(MountKind.BIND, "/data", "/tmp/test", read_only=True),
        Mount(MountKind.VOLUME, "swop-g-swif-0", "/tmp/hpe-swarm"),
    )
    bind, volume = _host(api, mounts=mounts, labels={"swarm.group": "g"})["Mounts"]
    assert (bind["Type"], bind["Source"], bind["ReadOnly"]) == ("bind", "/data", True)
    assert (volume["Type"], volume["Source"], volume["Target"]) == (
        "volume", "swop-g-swif-0", "/tmp/hpe-swarm",
    )  # fmt: skip
    assert volume["VolumeOptions"]["Labels"] == {"swarm.group": "g"}
    assert not bind.get("BindOptions")


def test_entrypoint_and_command(api: APIClient):
    kept = arguments(api, _spec())
    assert (kept["entrypoint"], kept["command"]) == (None, None)
    given = arguments(api, _spec(entrypoint=("python3",), command=("a b", "c")))
    assert (given["entrypoint"], given["command"]) == (["python3"], ["a b", "c"])


def test_address_in_a_network(api: APIClient):
    given = arguments(api, _spec(network="net-1", ip="10.1.2.3"))
    endpoint = given["networking_config"]["EndpointsConfig"]["net-1"]
    assert endpoint["IPAMConfig"]["IPv4Address"] == "10.1.2.3"
    assert given["host_config"]["NetworkMode"] == "net-1"
    with pytest.raises(EngineError, match="needs a network"):
        arguments(api, _spec(network="default", ip="10.1.2.3"))


@pytest.mark.parametrize(
    ("status", "started", "expected"),
    [
        ("running", True, (ContainerState.RUNNING, None)),
        ("paused", True, (ContainerState.RUNNING, None)),
        ("restarting", True, (ContainerState.RUNNING, None)),
        ("exited", True, (ContainerState.EXITED, 137)),
        ("dead", True, (ContainerState.EXITED, 137)),
        ("removing", True, (ContainerState.EXITED, 137)),
        ("created", False, (ContainerState.EXITED, None)),
        ("exited", False, (ContainerState.EXITED, None)),
    ],
)  # fmt: skip
def test_found(status: str, started: bool, expected: tuple[ContainerState, int | None]):
    at = "2026-11-25T22:00:00Z" if started else "0001-01-01T00:00:00Z"
    state = {"Status": status, "ExitCode": 137, "StartedAt": at}
    one = found({"Id": ID, "Name": "/n", "Config": {"Labels": None}, "State": state})
    assert (one.state, one.exit_code, one.name, one.labels) == (*expected, "n", {})
