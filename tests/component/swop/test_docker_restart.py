"""Docker itself is killed and started again while a SWOP waits (FAULTS.md, F14).

With a daemon of this test's own, in a network and mounts of its own: one with ``--bridge=none`` on
the host's network would take the bridge of the host's own daemon away.
"""

import asyncio
import gc
import os
import shutil
import signal
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from services.swop.adapters.docker_client import Access
from services.swop.adapters.docker_engine import DockerEngine
from services.swop.adapters.docker_errors import EngineUnreachableError
from services.swop.core.engine import LABEL_GROUP, ContainerSpec, ContainerState, Role
from tests.component.swop import docker_place
from tests.component.swop.conftest import docker_or_skip

LABELS = {LABEL_GROUP: "restart"}


@pytest.fixture(autouse=True)
def sockets_that_the_sdk_forgets():
    """The SDK does not close a socket that it could not connect; here, not in some later test."""
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        gc.collect()


class PrivateDocker:
    """A daemon with folders and a socket of its own, and no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.folder / "docker.pid").unlink(missing_ok=True)
        with (self.folder / "docker.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "unshare", "--net", "--mount", "dockerd",
                "--host", self.url, "--data-root", str(self.folder / "data"),
                "--exec-root", str(self.folder / "exec"),
                "--pidfile", str(self.folder / "docker.pid"),
                "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false",
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        engine = DockerEngine(Access(self.url))
        async with asyncio.timeout(60):
            while True:
                try:
                    await engine.check()
                except EngineUnreachableError:
                    assert self._process.returncode is None, self._log()
                    await asyncio.sleep(0.1)
                else:
                    break
        await engine.close()

    async def end(self, sent: signal.Signals) -> None:
        """End it and the containerd that it started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if sent is signal.SIGKILL:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        async with asyncio.timeout(60):
            await process.wait()

    def _log(self) -> str:
        return (self.folder / "docker.log").read_text()[-2000:]


@asynccontextmanager
async def private_docker(folder: Path) -> AsyncIterator[PrivateDocker]:
    """Start one; in the end nothing of it runs."""
    folder.mkdir()
    private = PrivateDocker(folder)
    try:
        await private.start()
        client = docker.DockerClient(private.url, version="auto")
        docker_place.ensure_image(client)
        client.close()
        yield private
        client = docker.DockerClient(private.url, version="auto")
        for container in client.containers.list(all=True):
            container.remove(force=True)
        client.close()
    finally:
        await private.end(signal.SIGTERM)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_docker_is_restarted(tmp_path_factory: pytest.TempPathFactory, sent: signal.Signals):
    docker_or_skip()
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a daemon of its own needs root, and dockerd")
    folder = tmp_path_factory.mktemp("d") / "e"  # short: a socket's path has 108 bytes
    async with private_docker(folder) as private:
        engine = DockerEngine(Access(private.url))
        id = await engine.create(
            ContainerSpec(
                Role.ML, "lasting", docker_place.IMAGE, ("sleep",), ("600",), labels=LABELS
            )
        )
        await engine.start(id)
        waiting = asyncio.create_task(engine.wait(id))
        await private.end(sent)
        with pytest.raises(EngineUnreachableError):
            await engine.find(LABELS)
        assert not waiting.done()
        await private.start()
        async with asyncio.timeout(60):  # Docker ends its containers when it starts again
            assert await waiting != 0
        (found,) = await engine.find(LABELS)
        assert (found.id, found.state) == (id, ContainerState.EXITED)
        assert found.exit_code == await engine.wait(id)
        await engine.remove(id)
        assert await engine.find(LABELS) == []
        await engine.close()
