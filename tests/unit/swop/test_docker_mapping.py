"""Our terms in Docker's, and back; without Docker."""

import base64
import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import docker.errors
import pytest
import requests
from docker import APIClient

from services.common.errors import ConfigError
from services.swop.adapters import docker_tar, docker_volumes
from services.swop.adapters.docker_auth import auth_config
from services.swop.adapters.docker_build import LONGEST_LINE, BuildError, BuildOutput
from services.swop.adapters.docker_client import DEFAULT_URL, Access
from services.swop.adapters.docker_container import arguments, found
from services.swop.adapters.docker_errors import (
    LONGEST,
    EngineUnreachableError,
    sentence,
    translate,
)
from services.swop.adapters.docker_self import Traces, read_traces, sl_image
from services.swop.core.engine import (
    ContainerOptions,
    ContainerSpec,
    ContainerState,
    EngineError,
    Gpus,
    Mount,
    MountKind,
    PullSpec,
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


WORDS = {
    "driver failed programming external connectivity on endpoint n (0f): "
    "Bind for 0.0.0.0:30305 failed: port is already allocated": "port 30305 of this host is in use",
    "Error starting userland proxy: listen tcp4 0.0.0.0:16000: bind: "
    "address already in use": "port 16000 of this host is in use",
    "failed to set up container networking: Address already in use": "IP address is in use",
    'invalid mount config for type "bind": '
    "bind source path does not exist: /a b": "mount source /a b is missing",
    'could not select device driver "" with capabilities: [[gpu]]': "no NVIDIA GPUs",
    "No such image: user-env:latest": "image user-env:latest is not on this host",
    "network host-1-net not found": "network host-1-net is missing",
    'OCI runtime create failed: exec: "pyton3": executable file not found': "program pyton3 cannot",
    "pull access denied for x/y, repository does not exist": "image x/y may not be pulled",
    "write /var/lib/docker/tmp/x: no space left on device": "this host's disk is full",
    "socket-proxy: HostConfig.Privileged is not allowed": "proxy refused: HostConfig.Privileged",
    "socket-proxy: bind source path does not exist: /x": "mount source /x is missing",
    "something\nelse  entirely": "Docker refused: something else entirely",
}


@pytest.mark.parametrize("index", range(len(WORDS)))
def test_sentences(index: int):
    said, expected = list(WORDS.items())[index]
    assert expected in sentence(said)
    assert "\n" not in sentence(said)


def test_sentences_are_bounded():
    assert len(sentence("x" * 10_000)) == LONGEST + len("Docker refused: ")
    assert len(sentence("network " + "x" * 10_000 + " not found")) <= LONGEST + 20


def _api_error(status: int, explanation: str) -> docker.errors.APIError:
    response = requests.Response()
    response.status_code = status
    return docker.errors.APIError("x", response=response, explanation=explanation)


def test_who_is_to_blame():
    url = "unix:///s"
    down = _api_error(503, "socket-proxy: Docker does not answer at /s: Connection refused")
    assert isinstance(translate(down, url), EngineUnreachableError)
    assert not isinstance(translate(_api_error(409, "Conflict."), url), EngineUnreachableError)
    stuck = translate(requests.exceptions.ReadTimeout(), url)
    assert isinstance(stuck, EngineUnreachableError)
    assert "stuck" in str(stuck)
    broken = requests.exceptions.ConnectionError(("Connection aborted.", ConnectionResetError()))
    assert isinstance(translate(broken, url), EngineUnreachableError)
    full = translate(OSError(28, "No space left on device", "/logs/x"), url)
    assert str(full) == "on this host: No space left on device: /logs/x"
    old = translate(docker.errors.InvalidVersion("API versions below 1.24 are no longer"), url)
    assert "this Docker is too old" in str(old)


def _build(*messages: dict[str, Any]) -> tuple[BuildOutput, list[str]]:
    lines: list[str] = []
    output = BuildOutput(lines.append)
    for message in messages:
        output.take(message)
    return output, lines


def test_output_of_a_build():
    output, lines = _build(
        {"stream": "Step 1/2 : FROM x"}, {"stream": "\n"},
        {"status": "Pulling", "progressDetail": {}},
        {"status": "Downloading", "progressDetail": {"current": 1}},
        {"stream": " ---> abc\nStep 2/2 : RUN a \\\n  b\n"},
        {"stream": "par"}, {"stream": "tial\r\n"},
        {"aux": {"ID": "sha256:1"}},
    )  # fmt: skip
    output.finish()
    assert lines == [
        "Step 1/2 : FROM x", "Pulling", " ---> abc", "Step 2/2 : RUN a \\", "  b", "partial",
    ]  # fmt: skip


def test_a_failed_step_is_named_with_its_last_lines():
    with pytest.raises(BuildError) as raised:
        _build(
            {"stream": "Step 3/9 : RUN pip install --upgrade   x.whl && " + "y" * 200 + "\n"},
            *({"stream": f"line {n}\n"} for n in range(20)),
            {"errorDetail": {"code": 3, "message": "m"}, "error": "returned a non-zero code: 3"},
        )
    text = str(raised.value)
    assert text.startswith("build failed at step 3/9 (RUN pip install --upgrade x.whl && y")
    assert text.endswith(
        "…): ended with code 3; last lines: line 15 | line 16 | line 17 | line 18 | line 19"
    )
    assert len(text) <= LONGEST
    assert raised.value.step.startswith("3/9 : RUN pip")


def test_a_failure_without_a_code_keeps_dockers_words():
    with pytest.raises(BuildError, match=r"at step 2/2 \(COPY x /\): COPY failed: no x"):
        _build({"stream": "Step 2/2 : COPY x /\n"}, {"error": "COPY failed: no x"})
    with pytest.raises(BuildError, match="at its start: BuildSteps are wrong"):
        _build({"error": "dockerfile parse error on line 1: unknown instruction: FROMM"})


def test_lines_without_end_are_broken():
    _, lines = _build(
        *({"stream": "x" * 1000} for _ in range(100)), {"stream": "y" * 10_000 + "\n"}
    )
    assert max(map(len, lines)) == LONGEST_LINE
    assert "".join(lines) == "x" * 100_000 + "y" * 10_000


def test_a_build_that_broke_off():
    output, _ = _build({"stream": "Step 1/2 : FROM x\n"})
    with pytest.raises(BuildError, match=r"broke off at step 1/2 \(FROM x\)"):
        output.finish()


def test_a_user_of_the_task():
    assert auth_config(PullSpec("a/b:1")) is None
    spec = PullSpec("a/b:1", username="u", password="p")
    assert auth_config(spec) == {"username": "u", "password": "p"}


def _config(tmp_path: Path, value: object) -> str:
    path = tmp_path / "config.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_a_user_of_a_config_file(tmp_path: Path):
    auth = base64.b64encode(b"u:p:q").decode()
    path = _config(tmp_path, {"auths": {"registry:5000": {"auth": auth}, "other": {"auth": "!"}}})
    with pytest.raises(EngineError, match="cannot be decoded"):
        auth_config(PullSpec("registry:5000/a:1", auth_file=path))
    path = _config(tmp_path, {"auths": {"registry:5000": {"auth": auth}, "other": {}}})
    found = auth_config(PullSpec("registry:5000/a:1", auth_file=path))
    assert found is not None
    assert (found["username"], found["password"]) == ("u", "p:q")
    for image in ("other:5000/a:1", "a:1"):
        with pytest.raises(EngineError, match="has no entry for"):
            auth_config(PullSpec(image, auth_file=path))


def test_no_helper_program_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    helper = tmp_path / "docker-credential-evil"
    helper.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = {
        "credsStore": "evil",
        "credHelpers": {"registry:5000": "evil"},
        "auths": {"registry:5000": {}},
    }
    with pytest.raises(EngineError, match="does not run"):
        auth_config(PullSpec("registry:5000/a:1", auth_file=_config(tmp_path, config)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, " " * ((1 << 20) + 1) + "{}"],
                         ids=["empty", "list", "open", "deep", "long"])  # fmt: skip
def test_files_that_are_no_config(tmp_path: Path, content: str):
    with pytest.raises(EngineError, match="Auth file"):
        auth_config(PullSpec("a:1", auth_file=_config(tmp_path, content)))
    with pytest.raises(EngineError, match="cannot be read"):
        auth_config(PullSpec("a:1", auth_file=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("registry/org/swop:tag", "registry/org/sl:tag"),
        ("registry:5000/org/swop:2.3", "registry:5000/org/sl:2.3"),
        ("swop", "sl"),
        ("registry:5000/swop", "registry:5000/sl"),
    ],
)
def test_image_of_sl(own: str, expected: str):
    assert sl_image(own, None) == expected
    assert sl_image(own, "given:1") == "given:1"


@pytest.mark.parametrize("own", [None, "sha256:00", "org/swop@sha256:00"])
def test_image_of_sl_that_cannot_be_told(own: str | None):
    with pytest.raises(ConfigError, match="set SWOP_SL_IMAGE"):
        sl_image(own, None)
    assert sl_image(own, "given:1") == "given:1"


MOUNTINFO = f"""
712 700 254:1 / / rw - overlay overlay rw
730 712 254:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw
731 712 254:1 /var/lib/docker/containers/{"f" * 64}/x /data rw - ext4 /dev/vda rw
"""


def test_traces_of_the_own_container(tmp_path: Path):
    assert Traces(mountinfo=MOUNTINFO).ids() == [ID]
    podman = f"1 2 0:1 /containers/storage/overlay-containers/{ID}/userdata/hosts /etc/hosts rw"
    assert Traces(mountinfo=podman).ids() == [ID]
    assert Traces(cgroup=f"12:pids:/docker/{ID}\n0::/\n").ids() == [ID]
    assert Traces(cgroup=f"0::/system.slice/docker-{ID}.scope\n").ids() == [ID]
    assert Traces(cgroup="0::/\n", hostname="0123456789ab").ids() == ["0123456789ab"]
    assert Traces(hostname="swop1").ids() == []
    info = Traces(info=f"{ID}\nregistry/org/swop:1\nsha256:00\n")
    assert (info.ids(), info.info_image()) == ([ID], "registry/org/swop:1")
    for bad in ("", "x", f"{ID}\n", f"{ID}\n../../x y\n", "id\nimage\n"):
        assert (Traces(info=bad).ids(), Traces(info=bad).info_image()) == ([], None)
    assert read_traces(tmp_path / "a", tmp_path, tmp_path) == Traces()


def test_where_docker_is():
    assert Access.from_env({}) == Access(DEFAULT_URL)
    assert Access.from_env({"DOCKER_HOST": "tcp://h:2375"}) == Access("tcp://h:2375")
    secured = {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1", "HOME": "/h"}
    assert Access.from_env(secured).certs == Path("/h/.docker")
    assert Access.from_env(secured | {"DOCKER_CERT_PATH": "/c"}).certs == Path("/c")


def test_a_folder_for_a_volume(tmp_path: Path):
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d" / "f").write_text("x")
    (tmp_path / "d" / "f").chmod(0o600)
    (tmp_path / "link").symlink_to("d/f")
    out = io.BytesIO()
    docker_tar.of_folder(tmp_path, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = {one.name: (one.mode & 0o777, one.uid, one.issym()) for one in archive}
    assert members == {
        "d": (0o755, 0, False), "d/f": (0o644, 0, False), "link": (0o777, 0, True),
    }  # fmt: skip


def _archive(*members: tuple[str, bytes | None, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content, link in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.LNKTYPE if link else tarfile.DIRTYPE
                member.linkname = link
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content or b""))
    return out.getvalue()


@pytest.mark.parametrize("size", [1, 7, 512, 100_000])
def test_a_build_context(size: int):
    given = _archive(
        ("files", None, ""), ("files/a", b"x" * 2000, ""), ("files/b", None, "files/a")
    )
    pieces = (given[at : at + size] for at in range(0, len(given), size))
    out = io.BytesIO()
    docker_tar.build_context("Dockerfile.swop", "FROM x\n", pieces, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.getnames() == ["a", "b", "Dockerfile.swop"]
        assert archive.getmember("b").linkname == "a"
        file = archive.extractfile("Dockerfile.swop")
        assert file is not None
        assert file.read() == b"FROM x\n"


def test_a_build_context_that_is_too_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docker_tar, "LARGEST_CONTEXT", 100)
    given = _archive(("files/a", b"x" * 101, ""))
    with pytest.raises(EngineError, match="too large"):
        docker_tar.build_context("D", "", iter([given]), io.BytesIO())


class _Listing:
    """The part of the SDK that leftovers are looked for with."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.listed = listed
        self.removed: list[str] = []

    def containers(self, **asked: Any) -> list[dict[str, Any]]:
        assert asked == {"all": True, "filters": {"label": [docker_volumes.LABEL_HELPER]}}
        return list(self.listed)

    def remove_container(self, id: str, **_: Any) -> None:
        if id == "gone":
            raise docker.errors.NotFound("gone")
        self.removed.append(id)


def test_only_old_helpers_that_never_ran_are_left_over():
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    old, new = (int((now - timedelta(minutes=ago)).timestamp()) for ago in (61, 59))
    api = _Listing(
        {"Id": "old", "State": "created", "Created": old},
        {"Id": "gone", "State": "created", "Created": old},
        {"Id": "new", "State": "created", "Created": new},
        {"Id": "running", "State": "running", "Created": old},
    )
    assert docker_volumes.remove_leftovers(cast("APIClient", api), now) == 2
    assert api.removed == ["old"]
