"""What a container may be, and what it may not."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.compose.socket_proxy_place import SEAL, Place, proxied


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with proxied(tmp_path, "sl-cli-lib") as place:
        yield place


GOOD: dict[str, Any] = {
    "Image": "registry:5000/org/sl:1.0",
    "Hostname": "sl1",
    "Domainname": None,
    "User": "1000:1000",
    "Env": ["A=b"],
    "Cmd": ["-c", "true"],
    "Tty": False,
    "Labels": {"swarm.group": "g"},
    "ExposedPorts": {"30305/tcp": {}},
    "HostConfig": {
        "NetworkMode": "default",
        "PortBindings": {"30305/tcp": [{"HostIp": "", "HostPort": "30305"}]},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        "RestartPolicy": {"Name": "no"},
        "Init": True,
        "ShmSize": 1 << 30,
        "GroupAdd": ["video"],
        "DeviceRequests": [
            {"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}
        ],
        "CapAdd": None,
        "Privileged": False,
        "MaskedPaths": [],
        "Binds": [],
    },
}


def _with(**host: Any) -> dict[str, Any]:
    return GOOD | {"HostConfig": GOOD["HostConfig"] | host}


async def test_a_good_one_is_sealed_and_passed_on(place: Place):
    status, _ = await place.create(GOOD)
    assert status == 200
    passed = place.passed()
    assert passed["Labels"] == {"swarm.group": "g"} | SEAL.label("container", "c1")
    assert passed["Env"] == ["A=b"]
    assert passed["HostConfig"]["ShmSize"] == 1 << 30
    # zeros of what is not known are left out: an empty MaskedPaths would unmask /proc
    assert not {"MaskedPaths", "Binds", "CapAdd", "Privileged"} & passed["HostConfig"].keys()


def _mount(kind: str, source: str, **more: Any) -> dict[str, Any]:
    return {"Mounts": [{"Type": kind, "Source": source, "Target": "/x", **more}]}


DEVICE = {"Driver": "local", "Options": {"device": "/", "o": "bind"}}
BAD: dict[str, dict[str, Any]] = {
    "privileged": {"Privileged": True},
    "privileged as text": {"Privileged": "false"},
    "privileged in other case": {"privileged": True},
    "capability": {"CapAdd": ["SYS_ADMIN"]},
    "security": {"SecurityOpt": ["apparmor=unconfined"]},
    "device": {"Devices": [{"PathOnHost": "/dev/sda"}]},
    "device rule": {"DeviceCgroupRules": ["a *:* rwm"]},
    "process namespace": {"PidMode": "host"},
    "ipc namespace": {"IpcMode": "host"},
    "ipc of another": {"IpcMode": "container:db"},
    "uts namespace": {"UTSMode": "host"},
    "user namespace": {"UsernsMode": "host"},
    "cgroup namespace": {"CgroupnsMode": "host"},
    "cgroup": {"CgroupParent": "/"},
    "network of the host": {"NetworkMode": "host"},
    "network of another": {"NetworkMode": "container:db"},
    "network by path": {"NetworkMode": "ns:/proc/1/ns/net"},
    "binds": {"Binds": ["/:/host"]},
    "volumes of another": {"VolumesFrom": ["db"]},
    "volume driver": {"VolumeDriver": "nfs"},
    "runtime": {"Runtime": "other"},
    "sysctl": {"Sysctls": {"kernel.core_pattern": "|/x"}},
    "unmasked": {"MaskedPaths": ["/proc/acpi"]},
    "links": {"Links": ["db:db"]},
    "restart": {"RestartPolicy": {"Name": "always"}},
    "log elsewhere": {"LogConfig": {"Type": "syslog", "Config": {}}},
    "log option": {"LogConfig": {"Type": "json-file", "Config": {"env": "x"}}},
    "no list": {"GroupAdd": {"video": 1}},
    "nested list": {"GroupAdd": [["video"]]},
    "cdi device": {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/x=y"]}]},
    "cdi name": {"DeviceRequests": [{"Driver": "", "DeviceIDs": ["vendor.com/x=y"]}]},
    "device options": {"DeviceRequests": [{"Count": 1, "Options": {"x": "y"}}]},
    "not only a gpu": {"DeviceRequests": [{"Count": 1, "Capabilities": [["gpu", "x"]]}]},
    "what is not known yet": {"FutureOption": 1},
    "mount of another type": _mount("tmpfs", "x"),
    "image as a mount": _mount("image", "x"),
    "mount without source": {"Mounts": [{"Type": "volume", "Target": "/x"}]},
    "path as a volume": _mount("volume", "/etc"),
    "name as a bind": _mount("bind", "etc"),
    "driver of a volume": _mount("volume", "v", VolumeOptions={"DriverConfig": DEVICE}),
    "part of a volume": _mount("volume", "v", VolumeOptions={"Subpath": "../.."}),
    "propagation": _mount("bind", "/tmp", BindOptions={"Propagation": "rshared"}),
    "made source": _mount("bind", "/tmp", BindOptions={"CreateMountpoint": True}),
    "seal on a volume": _mount("volume", "v", VolumeOptions={"Labels": {"swarm.proxy": "1"}}),
}


@pytest.mark.parametrize("name", BAD)
async def test_refused(place: Place, name: str):
    place.things["/networks/host"] = {"Name": "host", "Driver": "host"}
    status, text = await place.create(_with(**BAD[name]))
    assert (status, place.got) == (403, [])
    assert json.loads(text)["message"].startswith("socket-proxy: ")


@pytest.mark.parametrize(
    "more",
    [
        {"Volumes": {"/etc:/x": {}}},
        {"Labels": {"swarm.proxy": "1"}},
        {"MacAddress": "02:42:ac:11:00:02"},
        {"NetworkingConfig": {"EndpointsConfig": {"n": {"DriverOpts": {"a": "b"}}}}},
        {"hostconfig": {"Privileged": True}},
        {"Image": ""},
        {"Image": ["x"]},
        {"Env": [1]},
        {"Entrypoint": {"a": 1}},
        {"OpenStdin": True},
        {"Runtime": "other"},
    ],
    ids=lambda more: next(iter(more)),
)
async def test_refused_beside_host_config(place: Place, more: dict[str, Any]):
    status, _ = await place.create(GOOD | more)
    assert (status, place.got) == (403, [])


TRICKS = {
    "a name twice": (b'{"Image":"x","HostConfig":{},"HostConfig":{"Privileged":true}}', 403),
    "in other case": (b'{"Image":"x","HostConfig":{},"hostConfig":{"Privileged":true}}', 403),
    "deep inside": (
        b'{"Image":"x","HostConfig":{"Mounts":[{"Type":"bind","type":"volume"}]}}',
        403,
    ),
    "long s": ('{"Image":"x","HostConfig":{"Bind\u017f":["/:/x"]}}'.encode(), 403),
    "escaped name": (b'{"Image":"x","HostConfig":{"\\u0050rivileged":true}}', 403),
    "two documents": (b'{"Image":"x"}{"HostConfig":{"Privileged":true}}', 400),
    "not UTF-8": (b'{"Image":"x","User":"\xff"}', 400),
    "byte order mark": (b'\xef\xbb\xbf{"Image":"x"}', 400),
    "half a pair": (b'{"Image":"x","Env":["\\ud800"]}', 400),
    "NaN": (b'{"Image":"x","StopTimeout":NaN}', 400),
    "a list": (b'[{"Image":"x"}]', 403),
    "nothing": (b"", 400),
    "deep": (b'{"Image":' + b"[" * 200_000, 400),
    "NUL": (b'{"Image":"x","WorkingDir":"/a\\u0000b"}', 403),
}


@pytest.mark.parametrize("name", TRICKS)
async def test_tricks_of_json(place: Place, name: str):
    body, expected = TRICKS[name]
    status, _ = await place.create(body)
    assert (status, place.got) == (expected, [])


def _bind(source: object) -> dict[str, Any]:
    return _with(Mounts=[{"Type": "bind", "Source": str(source), "Target": "/x", "ReadOnly": True}])


async def test_a_bind_below_a_root(place: Place):
    (place.root / "data").mkdir()
    (place.root / "link").symlink_to("data")
    status, _ = await place.create(_bind(place.root / "link" / "."))
    assert status == 200
    (mount,) = place.passed()["HostConfig"]["Mounts"]
    assert mount["Source"] == str(place.root / "data")  # what was looked at, not what was asked for
    assert mount["ReadOnly"] is True


async def test_binds_outside(place: Place, tmp_path: Path):
    (tmp_path / "rootless").mkdir()
    (place.root / "up").symlink_to("..")
    (place.root / "etc").symlink_to("/etc")
    (place.root / "loop").symlink_to("loop")
    outside = ["/", "/etc", "/etc/shadow", f"{place.root}/../rootless", f"{place.root}less",
               f"{place.root}/up", f"{place.root}/up/rootless", f"{place.root}/etc",
               f"{place.root}/etc/passwd", f"/proc/self/root{place.root}/../../etc",
               "/nothing/to/be/learned"]  # fmt: skip
    for source in outside:
        status, text = await place.create(_bind(source))
        assert (status, "outside the folders" in text) == (403, True), source
    assert place.got == []


async def test_binds_of_no_folder_or_file(place: Place):
    os.mkfifo(place.root / "fifo")
    status, text = await place.create(_bind(place.root / "fifo"))
    assert (status, "neither a folder nor a file" in text) == (403, True)
    status, text = await place.create(_bind(place.root / "nothing"))
    assert (status, "bind source path does not exist" in text) == (400, True)
    assert place.got == []


def _volume(name: str) -> dict[str, Any]:
    return _with(Mounts=[{"Type": "volume", "Source": name, "Target": "/x"}])


async def test_volumes(place: Place):
    place.things["/volumes/theirs"] = {"Name": "theirs", "Labels": None}
    place.things["/volumes/forged"] = {"Name": "forged", "Labels": SEAL.label("volume", "other")}
    for name in ("theirs", "forged"):
        status, text = await place.create(_volume(name))
        assert (status, "was not made through this proxy" in text) == (403, True)
    assert place.got == []
    place.things["/volumes/ours"] = {"Name": "ours", "Labels": SEAL.label("volume", "ours")}
    place.things["/volumes/sl-cli-lib"] = {"Name": "sl-cli-lib", "Labels": None}
    for name in ("ours", "sl-cli-lib"):
        assert (await place.create(_volume(name)))[0] == 200
    place.got.clear()
    assert (await place.create(_volume("new")))[0] == 200
    (mount,) = place.passed()["HostConfig"]["Mounts"]
    assert mount["VolumeOptions"]["Labels"] == SEAL.label("volume", "new")


async def test_networks(place: Place):
    host_id = "cd" * 32
    place.things["/networks/net-1"] = {"Name": "net-1", "Driver": "bridge"}
    place.things[f"/networks/{host_id}"] = {"Name": "host", "Driver": "host"}
    place.things["/networks/net"] = {"Name": "net-1", "Driver": "bridge"}  # part of an id
    place.things["/networks/alias"] = {"Name": "alias", "Driver": "host"}
    for name, expected in ((host_id, 403), ("net", 403), ("alias", 403), ("nothing", 404)):
        assert (await place.create(_with(NetworkMode=name)))[0] == expected
        endpoint = {"NetworkingConfig": {"EndpointsConfig": {name: {}}}}
        assert (await place.create(GOOD | endpoint))[0] == expected
    assert place.got == []
    endpoint = {"EndpointsConfig": {"net-1": {"IPAMConfig": {"IPv4Address": "172.31.7.7"}}}}
    good = _with(NetworkMode="net-1") | {"NetworkingConfig": endpoint}
    assert (await place.create(good))[0] == 200
    assert place.passed()["NetworkingConfig"] == endpoint


async def test_a_container_needs_a_name(place: Place):
    for target in (
        "/containers/create",
        "/containers/create?name=",
        "/containers/create?name=../x",
    ):
        assert (await place.ask("POST", target, GOOD))[0] == 403
    assert place.got == []
