"""What SWOP gets told where the socket proxy refuses, with a real Docker behind it."""

import socket
from pathlib import Path

import httpx
import pytest

from services.swop.adapters.docker_client import Access
from services.swop.adapters.docker_engine import DockerEngine
from services.swop.core.engine import BuildSpec, ContainerOptions, EngineError, Mount, MountKind
from tests.component.swop import docker_place
from tests.component.swop.conftest import Stage, proxy

pytestmark = pytest.mark.parametrize("stage", ["proxy"], indirect=True)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"options": ContainerOptions(privileged=True)}, "HostConfig.Privileged is not allowed"),
        ({"options": ContainerOptions(ipc="host")}, "HostConfig.IpcMode = 'host' is not allowed"),
        ({"options": ContainerOptions(cap_add=("SYS_ADMIN",))}, "HostConfig.CapAdd is not"),
        ({"options": ContainerOptions(devices=("/dev/sda",))}, "HostConfig.Devices is not"),
        ({"options": ContainerOptions(security_opt=("seccomp=unconfined",))}, "SecurityOpt is not"),
        ({"network": "host"}, "network host is not allowed"),
        ({"network": "no-such-network"}, "network no-such-network is missing on this host"),
        ({"mounts": (Mount(MountKind.BIND, "/etc", "/x"),)}, "'/etc' is outside the folders"),
        ({"mounts": (Mount(MountKind.BIND, "/var/run/docker.sock", "/x"),)}, "is outside the"),
    ],
    ids=["privileged", "ipc", "capability", "device", "seccomp", "host network", "no network",
         "bind", "socket"],
)  # fmt: skip
async def test_refusals_are_told(stage: Stage, more: dict[str, object], text: str):
    with pytest.raises(EngineError, match=text):
        await stage.engine.create(stage.spec("true", **more))
    assert list(await stage.engine.find(stage.labels)) == []


async def test_the_network_of_the_host_by_its_id(stage: Stage):
    with docker_place.connected() as client:
        (host,) = client.networks.list(names=["host"])
        for name in (host.id, host.id[:12]):
            with pytest.raises(EngineError, match="is not allowed"):
                await stage.engine.create(stage.spec("true", network=name))


async def test_a_link_that_an_ml_program_makes(stage: Stage):
    """A container writes a link into a folder that it may write to, and the next one mounts it."""
    mount = Mount(MountKind.BIND, str(stage.folder), "/tmp/data")
    link = "busybox ln -s /etc /tmp/data/inner"
    assert await stage.run(f"/bin/{link}", mounts=(mount,)) == (0, [])
    inner = Mount(MountKind.BIND, str(stage.folder / "inner"), "/tmp/data")
    with pytest.raises(EngineError, match="outside the folders"):
        await stage.engine.create(stage.spec("true", mounts=(inner,)))


async def test_things_of_others_are_left_alone(stage: Stage, tmp_path: Path):
    """Also where they carry SWOP's labels, or a copy of the proxy's."""
    mine = await stage.engine.create(stage.spec("true", name="mine"))
    with docker_place.connected() as client:
        copied = client.containers.get(mine).labels
        others = client.containers.run(
            docker_place.IMAGE, ["sleep", "600"], detach=True, labels=copied, init=True
        )
        for use in (
            stage.engine.stop(others.id, 1),
            stage.engine.remove(others.id),
            stage.engine.start(others.id),
            stage.engine.logs(others.id, 5),
            stage.engine.wait(others.id),
            stage.engine.save_logs(others.id, tmp_path / "log"),
        ):
            with pytest.raises(EngineError, match="was not made through this proxy"):
                await use
        others.reload()
        assert others.status == "running"
        client.volumes.create(f"{stage.mark}-theirs", labels=copied)
        volume = Mount(MountKind.VOLUME, f"{stage.mark}-theirs", "/tmp/x")
        with pytest.raises(EngineError, match="allow it with --volume"):
            await stage.engine.create(stage.spec("true", name="v", mounts=(volume,)))
        with pytest.raises(EngineError, match="allow it with --volume"):
            await stage.engine.put_files(f"{stage.mark}-theirs", stage.folder)
        client.images.get(docker_place.IMAGE).tag(f"{stage.mark}-image", "latest")
        with pytest.raises(EngineError, match="was not built through this proxy"):
            await stage.engine.build(
                BuildSpec(f"{stage.mark}-image:latest", "FROM scratch\nLABEL a=b\n", None), print
            )
        others.remove(force=True)


async def test_its_own_things_are_known_again_after_a_restart(stage: Stage, tmp_path: Path):
    """Another proxy with the same key; one with another key knows nothing."""
    id = await stage.engine.create(stage.spec("exit 3"))
    for folder, knows in ((tmp_path, True), (tmp_path / "other", False)):
        folder.mkdir(exist_ok=True)
        listen = folder / "again.sock"
        if knows:
            (folder / "again.key").write_bytes((tmp_path / "proxy.key").read_bytes())
        async with proxy(listen) as url:
            engine = DockerEngine(Access(url))
            if knows:
                await engine.start(id)
                assert await engine.wait(id) == 3
            else:
                with pytest.raises(EngineError, match="was not made through this proxy"):
                    await engine.remove(id)
            await engine.close()


async def test_no_connection_is_handed_over(stage: Stage, tmp_path: Path):
    """As the docker command attaches and executes; it shows its user why not."""
    id = await stage.engine.create(stage.spec("true"))
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "proxy.sock"))
    ) as client:
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        answer = await client.post(f"http://docker/containers/{id}/attach", headers=upgrade)
        assert answer.status_code == 403
        assert "connections are not handed over" in answer.json()["message"]
        answer = await client.get("http://docker/info")
        assert "not among the requests that SWOP needs" in answer.json()["message"]


async def test_who_may_use_it(stage: Stage, tmp_path: Path):
    path = tmp_path / "proxy.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as idle:  # one that says nothing keeps nobody waiting
        idle.connect(str(path))
        await stage.engine.check()
