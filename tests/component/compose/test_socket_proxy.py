"""Which requests the proxy lets through, and on whose things."""

import asyncio
import json
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from compose.socket_proxy.daemon import Daemon
from compose.socket_proxy.gate import Gate
from compose.socket_proxy.roots import Roots
from compose.socket_proxy.seal import Seal, read_key
from compose.socket_proxy.server import Server
from tests.component.compose.socket_proxy_place import ID, SEAL, Place, proxied


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with proxied(tmp_path) as place:
        yield place


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /info", "GET /events", "GET /system/df", "POST /auth", "GET /networks",
        "POST /networks/create", "POST /networks/n/connect", "DELETE /networks/n",
        "GET /volumes", "DELETE /volumes/v", "POST /volumes/prune", "GET /images/json",
        "POST /images/load", "GET /images/get", "POST /images/x/push", "POST /images/x/tag",
        "DELETE /images/x", "POST /commit", "POST /session", "POST /grpc", "GET /plugins",
        "POST /plugins/pull", "POST /swarm/init", "GET /secrets", "POST /services/create",
        "POST /containers/c1/exec", "POST /exec/x/start", "POST /containers/c1/attach",
        "GET /containers/c1/attach/ws", "POST /containers/c1/update", "POST /containers/c1/rename",
        "POST /containers/c1/kill", "POST /containers/c1/wait", "POST /containers/c1/restart",
        "GET /containers/c1/export", "GET /containers/c1/changes", "POST /containers/prune",
        "HEAD /containers/c1/archive", "PUT /containers/c1/start", "GET /containers/c1/start",
        "OPTIONS /_ping", "GET /", "GET //version", "GET /version/", "GET /./version",
        "GET /images/../containers/c1/export/json", "GET /images/x/../../info/json",
        "GET /%69nfo", "GET /containers/c1%2Fexport/json", "GET /containers/%2e%2e/json",
        "GET /containers/../json", "GET /v1.45/v1.45/version", "GET /v2.0/version",
        "GET /v1.045/version", "GET /debug/vars",
    ],
)  # fmt: skip
async def test_not_on_the_list(place: Place, request_line: str):
    place.own("c1")
    status, text = await place.ask(*request_line.split())
    assert (status, "not among the requests" in text) == (403, True)
    assert place.got == []


async def test_an_old_api_is_refused(place: Place):
    place.own("c1")
    assert (await place.ask("POST", "/v1.22/containers/c1/start"))[0] == 400
    assert place.got == []


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "start"), ("POST", "stop?t=1"), ("DELETE", "?v=True&link=False&force=True"),
     ("GET", "logs?stdout=1"), ("GET", "json"), ("GET", "archive?path=/x"),
     ("PUT", "archive?path=/x")],
)  # fmt: skip
async def test_only_on_containers_of_its_own(place: Place, method: str, target: str):
    target = f"/containers/c1{'' if target.startswith('?') else '/'}{target}"
    inherited = SEAL.label("container", "c0") | SEAL.label("image", "c1")
    for labels in ({}, {"swarm.proxy": "1", "swarm.group": "g"}, inherited):
        place.container("c1", labels, "created")
        status, text = await place.ask(method, target)
        assert (status, "was not made through this proxy" in text) == (403, True)
    assert place.got == []
    place.own("c1", "created")
    assert (await place.ask(method, target))[0] == 200
    assert f" /containers/{ID}".encode() in place.got[0]  # by id: a name may change hands


async def test_one_container_of_others_may_be_looked_at(place: Place):
    place.container("swop1", {})
    assert (await place.ask("GET", "/containers/swop1/json"))[0] == 200
    place.got.clear()
    assert (await place.ask("POST", "/containers/swop1/stop"))[0] == 403
    assert place.got == []


async def test_files_only_while_a_container_never_ran(place: Place):
    place.own("c1", "running")
    for method in ("GET", "PUT"):
        status, text = await place.ask(method, "/containers/c1/archive?path=/x")
        assert (status, "never started" in text) == (403, True)
    assert place.got == []


async def test_start_takes_no_parameters(place: Place):
    place.own("c1", "created")
    for parameter in ("checkpoint=x", "checkpoint-dir=/", "detachKeys=x"):
        assert (await place.ask("POST", f"/containers/c1/start?{parameter}"))[0] == 403
    assert place.got == []


def _query(place: Place) -> dict[str, list[str]]:
    return parse_qs(urlsplit(place.got[0].split()[1].decode()).query)


async def test_only_its_own_are_listed(place: Place):
    filters = quote(json.dumps({"label": ["swarm.group=g"]}))
    target = f"/containers/json?all=1&limit=-1&size=0&trunc_cmd=0&filters={filters}"
    assert (await place.ask("GET", target))[0] == 200
    assert _query(place) == {
        "all": ["1"],
        "filters": [json.dumps({"label": ["swarm.group=g", SEAL.by]})],
    }
    place.got.clear()
    assert (await place.ask("GET", "/containers/json"))[0] == 200
    assert _query(place) == {"filters": [json.dumps({"label": [SEAL.by]})]}
    place.got.clear()
    for bad in ('{"name":["x"]}', '{"label":{"a":true}}', "[]", "{", '{"label":[],"Label":["x"]}'):
        assert (await place.ask("GET", f"/containers/json?filters={quote(bad)}"))[0] in {400, 403}
    assert place.got == []


BUILD = "/build?t=user-env:latest&dockerfile=Dockerfile.swop&rm=1&forcerm=1"


async def test_a_build_is_sealed(place: Place):
    arguments, labels = quote('{"http_proxy":"x"}'), quote('{"a":"b"}')
    target = f"{BUILD}&buildargs={arguments}&labels={labels}"
    assert (await place.ask("POST", target, b"tar"))[0] == 200
    query = _query(place)
    assert json.loads(query["labels"][0]) == {"a": "b"} | SEAL.label("image", "user-env:latest")
    assert json.loads(query["buildargs"][0]) == {"http_proxy": "x"}
    assert place.got[0].endswith(b"\r\n\r\n3\r\ntar\r\n0\r\n\r\n")
    assert b"Content-Type: application/x-tar" in place.got[0]


@pytest.mark.parametrize(
    "more",
    ["networkmode=host", "remote=http://x/y.git", "extrahosts=a:1", "version=2", "session=x",
     "cgroupparent=/", "securityopt=%5B%5D", "outputs=%5B%5D", "cachefrom=%5B%22x%22%5D",
     "ulimits=x", "shmsize=1", "platform=x", "target=x", "pull=1", "isolation=x",
     "NetworkMode=host", "buildargs=%5B%5D", "buildargs=%7B%22a%22%3A1%7D",
     "labels=%7B%22swarm.proxy%22%3A%22x%22%7D", "labels=%7B%22swarm.proxy.by%22%3A%22x%22%7D"],
)  # fmt: skip
async def test_builds_of_another_kind(place: Place, more: str):
    assert (await place.ask("POST", f"{BUILD}&{more}", b"tar"))[0] == 403
    assert place.got == []


async def test_a_build_replaces_no_image_of_others(place: Place):
    path = "/images/user-env:latest/json"
    for labels in (None, SEAL.label("image", "base:1")):  # the second: inherited from its base
        place.things[path] = {"Config": {"Labels": labels}}
        status, text = await place.ask("POST", BUILD, b"tar")
        assert (status, "was not built through this proxy" in text) == (403, True)
    assert place.got == []
    place.things[path] = {"Config": {"Labels": SEAL.label("image", "user-env:latest")}}
    assert (await place.ask("POST", BUILD, b"tar"))[0] == 200


async def test_pull_and_its_user(place: Place):
    head = b"POST /images/create?fromImage=org%2Fname&tag=1 HTTP/1.1\r\n"
    assert (await place.send(head + b"X-Registry-Auth: abc\r\n\r\n"))[0] == 200
    assert b"\r\nX-Registry-Auth: abc\r\n" in place.got[0]
    place.got.clear()
    for query in (
        "fromSrc=-&repo=x",
        "fromImage=x&tag=1&changes=USER",
        "fromImage=-",
        "fromImage=x",
    ):
        assert (await place.ask("POST", f"/images/create?{query}"))[0] == 403
    assert place.got == []


async def test_a_pull_replaces_no_image_made_here(place: Place):
    target, path = "/images/create?fromImage=org/sl&tag=1", "/images/org/sl:1/json"
    place.things[path] = {"RepoDigests": [], "Config": {"Labels": None}}
    status, text = await place.ask("POST", target)
    assert (status, "was made on this host" in text, place.got) == (403, True, [])
    place.things[path] = {"RepoDigests": ["org/sl@sha256:00"], "Config": {"Labels": None}}
    assert (await place.ask("POST", target))[0] == 200
    place.things[path] = {"RepoDigests": [], "Config": {"Labels": SEAL.label("image", "org/sl:1")}}
    assert (await place.ask("POST", target))[0] == 200


async def test_images_by_digest_may_be_asked_for(place: Place):
    digest = "sha256%3A" + "0" * 64
    assert (await place.ask("GET", f"/images/org/name%40{digest}/json"))[0] == 200
    assert b"/images/org/name@sha256:000" in place.got[0]


async def test_volumes_are_sealed(place: Place):
    body = {"Name": "v", "Driver": None, "DriverOpts": None, "Labels": {"a": "b"}}
    assert (await place.ask("POST", "/volumes/create", body))[0] == 200
    assert place.passed() == {"Name": "v", "Labels": {"a": "b"} | SEAL.label("volume", "v")}


@pytest.mark.parametrize(
    "more",
    [{"DriverOpts": {"device": "/", "o": "bind", "type": "none"}}, {"Driver": "nfs"},
     {"ClusterVolumeSpec": {"Group": "g"}}, {"Labels": {"swarm.proxy": "x"}}, {"Name": None},
     {"driveropts": {"device": "/"}}],
    ids=lambda more: next(iter(more)),
)  # fmt: skip
async def test_volumes_of_another_kind(place: Place, more: dict[str, object]):
    assert (await place.ask("POST", "/volumes/create", {"Name": "v", **more}))[0] == 403
    assert place.got == []


def test_seals_are_bound_to_kind_name_and_key():
    labels = SEAL.label("container", "a")
    assert SEAL.holds("container", "a", labels)
    assert not SEAL.holds("container", "b", labels)
    assert not SEAL.holds("image", "a", labels)
    assert not SEAL.holds("container", "a", None)
    assert not Seal(b"x" * 32).holds("container", "a", labels)


def test_the_key_stays_the_same_and_is_private(tmp_path: Path):
    path = tmp_path / "deep" / "key"
    assert read_key(path) == read_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="does not hold a key"):
        read_key(path)


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "/root", "/var/lib/docker", "relative", "/nothing/here", "//"]
)
def test_roots_that_give_the_host_away(folder: str):
    with pytest.raises(ValueError, match="--root"):
        Roots([Path(folder)])


async def test_the_program(tmp_path: Path):
    """It makes a socket for its owner and group, tells what it refuses, and ends when told to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "compose.socket_proxy", "--listen", str(tmp_path / "s"),
        "--upstream", str(tmp_path / "none"), "--key", str(tmp_path / "key"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert b"Docker socket proxy listening on" in await process.stdout.readline()
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"GET /info\x1b HTTP/1.1\r\n\r\n")
        assert b"WARNING : Refused: ?: malformed request" in await process.stdout.readline()
        writer.write_eof()
        writer.close()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_it_takes_the_place_of_a_killed_one_and_of_nothing_else(tmp_path: Path):
    daemon = Daemon(tmp_path / "none")
    server = Server(Gate(daemon, SEAL, Roots([])), daemon)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    async with server.listening(tmp_path / "s", 0o600, os.getgid()):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        async with server.listening(tmp_path / "file", 0o600, None):
            pass
    assert (tmp_path / "file").read_text() == "precious"
