"""What only Docker can do wrong, and what only Docker can do."""

import asyncio
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from services.swop.adapters import docker_tar, docker_volumes
from services.swop.adapters.docker_client import MOST_WAITING, Access, Client, Request
from services.swop.adapters.docker_engine import DockerEngine
from services.swop.adapters.docker_errors import EngineUnreachableError
from services.swop.core.engine import (
    BuildSpec,
    ContainerOptions,
    EngineError,
    Gpus,
    Mount,
    MountKind,
)
from tests.component.swop import docker_place
from tests.component.swop.conftest import Stage, docker_or_skip, proxy

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
async def docker_stage(mark: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Docker without a proxy."""
    docker_or_skip()
    with docker_place.swept(mark):
        engine = DockerEngine(Access(docker_place.URL))
        labels = {"swarm.group": mark, "swarm.swop": "swop-1", docker_place.LABEL: mark}
        yield Stage(engine, "docker", docker_place.IMAGE, mark, tmp_path, labels)
        await engine.close()


@dataclass(frozen=True, slots=True)
class Network:
    """A network with addresses to choose from."""

    name: str
    prefix: str
    """Of its addresses: ``172.31.7.``."""


@pytest.fixture
def network(mark: str) -> Iterator[Network]:
    docker_or_skip()
    with docker_place.connected() as client:
        made = _make_network(client, f"{mark}-net")
        yield made
        for container in client.containers.list(all=True, filters={"network": made.name}):
            container.remove(force=True)
        client.networks.get(made.name).remove()


def _make_network(client: docker.DockerClient, name: str) -> Network:
    """In the first range that no network here has."""
    for third in range(100, 250):
        pool = docker.types.IPAMPool(subnet=f"172.31.{third}.0/24")
        ipam = docker.types.IPAMConfig(pool_configs=[pool])
        try:
            client.networks.create(name, ipam=ipam, driver="bridge")
        except docker.errors.APIError as error:
            assert "overlap" in str(error)
        else:
            return Network(name, f"172.31.{third}.")
    raise AssertionError("no free range")


async def _start(stage: Stage, script: str = "true", **more: object) -> str:
    id = await stage.engine.create(stage.spec(script, **more))
    await stage.engine.start(id)
    return id


async def test_port_in_use(docker_stage: Stage):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"^port {port} of this host is in use"):
            await _start(docker_stage, ports={port: 30305})
    await _start(docker_stage, "sleep 60", name="a", ports={port: 30305})
    with pytest.raises(EngineError, match=f"^port {port} of this host is in use"):
        await _start(docker_stage, name="b", ports={port: 30305})


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"options": ContainerOptions(gpus=Gpus(-1))}, "gives containers no NVIDIA GPUs"),
        ({"options": ContainerOptions(gpus=Gpus(ids=("3", "5")))}, "no NVIDIA GPUs"),
        (
            {"options": ContainerOptions(devices=("/dev/nothing",))},
            "device /dev/nothing is missing",
        ),
        ({"network": "no-such-network"}, "network no-such-network is missing on this host"),
        ({"ip": "172.31.1.1"}, "needs a network"),
        ({"user": "nobody-here"}, "user nobody-here does not exist in this image"),
        ({"image": "UPPER CASE"}, "this is no valid image name"),
    ],
    ids=["gpus", "gpu ids", "device", "network", "ip", "user", "image"],
)
async def test_what_this_host_has_not(docker_stage: Stage, more: dict[str, object], text: str):
    with pytest.raises(EngineError, match=text) as raised:
        await _start(docker_stage, **more)
    assert len(str(raised.value)) < 400


async def test_options_reach_the_container(docker_stage: Stage):
    options = ContainerOptions(
        devices=("/dev/null:/dev/my-null:r",), ipc="private", shm_size="32m",
        group_add=("4242",), cap_add=("SYS_PTRACE",), security_opt=("no-new-privileges",),
    )  # fmt: skip
    code, lines = await docker_stage.run(
        "ls -d /dev/my-null; id -G; id -u; pwd; cat /etc/hostname", options=options,
        user="1234:1234", working_dir="/tmp", hostname="ml-host",
    )  # fmt: skip
    assert (code, lines) == (0, ["/dev/my-null", "1234 4242", "1234", "/tmp", "ml-host"])


async def test_network_address_and_dns(docker_stage: Stage, network: Network):
    name, ip = network.name, f"{network.prefix}77"
    code, lines = await docker_stage.run(
        "cat /etc/hosts; cat /etc/resolv.conf", network=name, ip=ip, hostname="sl1",
        dns=("172.31.99.9",),
    )  # fmt: skip
    assert code == 0
    assert any(line.split() == [ip, "sl1"] for line in lines)
    assert any("172.31.99.9" in line for line in lines)
    with pytest.raises(EngineError, match="correct 'ip' in the profile"):
        await _start(docker_stage, network=name, ip="10.9.9.9")
    await _start(docker_stage, "sleep 60", name="a", network=name, ip=ip)
    with pytest.raises(EngineError, match="IP address is in use"):
        await _start(docker_stage, name="b", network=name, ip=ip)


async def test_default_means_dockers_own_network(docker_stage: Stage):
    assert (await docker_stage.run("true", network="default"))[0] == 0


async def test_a_read_only_mount(docker_stage: Stage):
    mount = Mount(MountKind.BIND, str(docker_stage.folder), "/tmp/data", read_only=True)
    code, _ = await docker_stage.run("echo x > /tmp/data/x", mounts=(mount,))
    assert code != 0


async def test_output_does_not_fill_the_disk(docker_stage: Stage, tmp_path: Path):
    """40 MB are printed; about 30 MB are kept, and they are the last ones."""
    line = "x" * 1000
    id = await _start(
        docker_stage, f"i=0; while [ $i -lt 40000 ]; do echo {line}; i=$((i+1)); done; echo end"
    )
    assert await docker_stage.engine.wait(id) == 0
    await docker_stage.engine.save_logs(id, tmp_path / "out.log")
    assert 5 << 20 < (tmp_path / "out.log").stat().st_size < 32 << 20
    assert list(await docker_stage.engine.logs(id, 1)) == ["end"]


async def test_a_cancelled_build_ends(docker_stage: Stage):
    spec = BuildSpec(
        f"{docker_stage.mark}:latest",
        f"FROM {docker_stage.image}\nLABEL a={docker_stage.mark}\nRUN echo begun; sleep 300\n",
        None,
    )
    begun = asyncio.Event()
    building = asyncio.create_task(
        docker_stage.engine.build(spec, lambda line: begun.set() if line == "begun" else None)
    )
    async with asyncio.timeout(60):
        await begun.wait()
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await _no_build(docker_stage.mark)


async def test_a_build_that_prints_without_end(docker_stage: Stage):
    """Nobody takes its lines for a while; they do not pile up, and it can be cancelled."""
    text = f"FROM {docker_stage.image}\nLABEL a={docker_stage.mark}\nRUN while :; do echo y; done\n"
    context = io.BytesIO()
    docker_tar.build_context("D", text, None, context)
    context.seek(0)
    messages: list[object] = []
    client = Client(Access(docker_place.URL))
    request = Request.build(BuildSpec(f"{docker_stage.mark}:latest", text, None), "D", context)
    building = asyncio.create_task(client.follow(request, messages.append))
    async with asyncio.timeout(60):
        while {"stream": "y\n"} not in messages:
            await asyncio.sleep(0.01)
    seen = len(messages)
    time.sleep(1)  # the loop stands still
    await asyncio.sleep(0)
    assert seen < len(messages) <= seen + MOST_WAITING + 1
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await _no_build(docker_stage.mark)
    await client.close()


async def _no_build(mark: str) -> None:
    """Wait until nothing is being built any more."""
    with docker_place.connected() as client:
        deadline = time.monotonic() + 30
        while client.containers.list(filters={"label": f"a={mark}"}):
            assert time.monotonic() < deadline, "the build still runs"
            await asyncio.sleep(0.1)


async def test_a_helper_that_may_be_in_use_is_left_alone(docker_stage: Stage):
    with docker_place.connected() as client:
        await docker_stage.engine.make_volume(f"{docker_stage.mark}-v", {})
        await docker_stage.engine.put_files(f"{docker_stage.mark}-v", Path(__file__).parent)
        using = {"volume": f"{docker_stage.mark}-v"}
        assert client.containers.list(all=True, filters=using) == []
        used = client.api.create_container(
            docker_volumes.HELPER_IMAGE, ["/never-started"],
            labels={docker_volumes.LABEL_HELPER: "volume", docker_place.LABEL: docker_stage.mark},
        )["Id"]  # fmt: skip
        await docker_stage.engine.check()
        client.containers.get(used)


async def test_nobody_there(tmp_path: Path):
    engine = DockerEngine(Access(f"unix://{tmp_path}/none.sock"))
    with pytest.raises(EngineUnreachableError, match="there is no Docker socket"):
        await engine.check()
    (tmp_path / "dead.sock").touch()
    engine = DockerEngine(Access(f"unix://{tmp_path}/dead.sock"))
    with pytest.raises(EngineUnreachableError, match="Docker does not answer"):
        await engine.check()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        engine = DockerEngine(Access(f"tcp://127.0.0.1:{free.getsockname()[1]}"))
        with pytest.raises(EngineUnreachableError, match="Docker does not answer"):
            await engine.check()


async def test_waiting_survives_the_way_to_docker(docker_stage: Stage, tmp_path: Path):
    """The proxy in between is ended and comes back, as Docker does when it is updated."""
    listen = tmp_path / "proxy.sock"
    engine = DockerEngine(Access(f"unix://{listen}"))
    async with proxy(listen):
        id = await engine.create(
            docker_stage.spec("trap 'exit 6' TERM; while :; do sleep 0.1; done")
        )
        await engine.start(id)
        waiting = asyncio.create_task(engine.wait(id))
        await engine.find(docker_stage.labels)
    with pytest.raises(EngineUnreachableError):
        await engine.find(docker_stage.labels)
    assert not waiting.done()
    async with proxy(listen):
        assert [one.id for one in await engine.find(docker_stage.labels)] == [id]
        await engine.stop(id, 20)
        async with asyncio.timeout(30):
            assert await waiting == 6
    await engine.close()


async def test_waiting_is_given_up_in_the_end(docker_stage: Stage, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("services.swop.adapters.docker_engine.PATIENCE_SECONDS", 0.2)
    engine = DockerEngine(Access(f"unix://{tmp_path}/none.sock"))
    with pytest.raises(EngineUnreachableError):
        await engine.wait("some-id")


PROBE = """
import asyncio, sys
from services.swop.adapters.docker_engine import DockerEngine
engine = DockerEngine()
own = asyncio.run(engine.own_container())
print(own.name, own.image, *own.networks, asyncio.run(engine.own_image()))
"""


@pytest.mark.parametrize("by", ["name", "id"])
async def test_its_own_container(mark: str, network: Network, by: str):
    """In a container, with this host's Python."""
    with docker_place.swept(mark) as client:
        image = client.images.get(docker_place.IMAGE)
        image.tag(f"{mark}/swop", "1.0")
        given = f"{mark}/swop:1.0" if by == "name" else image.id
        folders = {
            sys.base_prefix,
            str(Path(sys.prefix).resolve()),
            str(REPOSITORY),
            "/lib",
            "/usr/lib",
        }
        folders |= {"/lib64"} & {str(folder) for folder in Path("/").iterdir()}
        socket_path = docker_place.URL.removeprefix("unix://")
        output = client.containers.run(
            given, [str(Path(sys.prefix).resolve() / "bin" / "python"), "-c", PROBE],
            name=f"{mark}-swop", hostname="swop1", network=network.name, remove=True, stderr=True,
            labels={docker_place.LABEL: mark},
            environment={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            volumes={folder: {"bind": folder, "mode": "ro"} for folder in sorted(folders)}
            | {socket_path: {"bind": "/var/run/docker.sock", "mode": "rw"}},
        ).decode().split()  # fmt: skip
    name, own, joined, image_name = output[-4:]
    assert (name, joined) == (f"{mark}-swop", network.name)
    assert own == image_name
    if by == "name":
        assert own == f"{mark}/swop:1.0"
    else:  # any of its tags: Docker does not keep which one was meant
        assert ":" in own
        assert not own.startswith("sha256:")


def test_a_stuck_daemon_does_not_keep_a_swop_from_ending(tmp_path: Path):
    """Something accepts connections and never answers."""
    path = tmp_path / "stuck.sock"
    program = f"""
import asyncio
from pathlib import Path
from services.swop.adapters.docker_client import MOST_WAITING, Access, Client, Request
from services.swop.adapters.docker_engine import DockerEngine
async def main():
    try:
        async with asyncio.timeout(0.5):
            await DockerEngine(Access("unix://{path}")).check()
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(path))
        stuck.listen(5)
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    assert ended.stdout == "gave up\n"
