"""What the Docker engine reads and packs: logins, traces of its own container, archives."""

import base64
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import docker.errors
import pytest
from docker import APIClient

from services.common.errors import ConfigError
from services.swop.adapters import docker_tar, docker_volumes
from services.swop.adapters.docker_auth import auth_config
from services.swop.adapters.docker_client import DEFAULT_URL, Access
from services.swop.adapters.docker_self import Traces, read_traces, sl_image
from services.swop.core.engine import (
    EngineError,
    PullSpec,
)

ID = "0123456789abcdef" * 4


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


@pytest.fixture
def deep_stack() -> Iterator[None]:
    """As where py-evm was imported: Python's own JSON parser would end the process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, " " * ((1 << 20) + 1) + "{}"],
                         ids=["empty", "list", "open", "deep", "long"])  # fmt: skip
@pytest.mark.usefixtures("deep_stack")
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
