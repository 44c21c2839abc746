"""Engines to test with: Docker, Docker behind the socket proxy, child processes."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.swop.adapters.docker_client import Access
from services.swop.adapters.docker_engine import DockerEngine
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.core.engine import (
    LABEL_GROUP,
    LABEL_SWOP,
    BuildSpec,
    ContainerSpec,
    Engine,
    Role,
)
from tests.component.swop import docker_place


@dataclass(frozen=True, slots=True)
class Stage:
    """An engine under test, and names that nothing else on this host has."""

    engine: Engine
    kind: str
    """``docker``, ``proxy`` or ``process``."""
    image: str
    """An image with a shell."""
    mark: str
    """Beginning of every name."""
    folder: Path
    """A folder whose files may be mounted."""
    labels: dict[str, str] = field(default_factory=dict)

    def spec(self, script: str, name: str = "c", **more: object) -> ContainerSpec:
        """A container that runs a shell script."""
        fields: dict[str, object] = {
            "role": Role.ML,
            "name": f"{self.mark}-{name}",
            "image": self.image,
            "entrypoint": ("sh",),
            "command": ("-c", script),
            "labels": self.labels,
        }
        return ContainerSpec(**{**fields, **more})  # type: ignore[arg-type]

    async def run(self, script: str, **more: object) -> tuple[int, list[str]]:
        """Run a script to its end; its exit code and its output."""
        id = await self.engine.create(self.spec(script, **more))
        try:
            await self.engine.start(id)
            async with asyncio.timeout(60):
                code = await self.engine.wait(id)
            return code, list(await self.engine.logs(id, 100))
        finally:
            await self.engine.remove(id)


def docker_or_skip() -> None:
    """Skip the test, loudly, where there is no engine."""
    if reason := docker_place.why_not():
        pytest.skip(f"CONTAINER TESTS DID NOT RUN: {reason}")


@asynccontextmanager
async def proxy(listen: Path, *more: str) -> AsyncIterator[str]:
    """The socket proxy as a process in front of the engine; its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "compose.socket_proxy", "--listen", str(listen),
        "--upstream", docker_place.URL.removeprefix("unix://"),
        "--key", str(listen.with_suffix(".key")), *more,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while b"listening" not in (line := await process.stdout.readline()):
                assert line, "the proxy ended"
        yield f"unix://{listen}"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def mark() -> str:
    """Beginning of the names of this test."""
    return f"swarmtest-{uuid.uuid4().hex[:12]}"


async def process_stage(tmp_path: Path, mark: str, folder: Path) -> Stage:
    """Child processes, with an image in which nothing is."""
    engine = ProcessEngine(tmp_path / "engine", "127.0.0.1", "127.0.0.1")
    await engine.check()
    await engine.build(BuildSpec("shell", "FROM scratch\n", None), print)
    labels = {LABEL_GROUP: mark, LABEL_SWOP: "swop-1"}
    return Stage(engine, "process", "shell", mark, folder, labels)


@pytest.fixture(params=["docker", "proxy", "process"])
async def stage(request: pytest.FixtureRequest, mark: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Every engine in turn."""
    async with AsyncExitStack() as stack:
        folder = tmp_path / "host"
        folder.mkdir(mode=0o777)
        if request.param == "process":
            made = await process_stage(tmp_path, mark, folder)
            yield made
            for each in await made.engine.find({}):
                await made.engine.remove(each.id)
            return
        docker_or_skip()
        stack.enter_context(docker_place.swept(mark))
        url = docker_place.URL
        if request.param == "proxy":
            url = await stack.enter_async_context(
                proxy(tmp_path / "proxy.sock", "--root", str(folder))
            )
        engine = DockerEngine(Access(url))
        stack.push_async_callback(engine.close)
        labels = {
            LABEL_GROUP: mark,
            LABEL_SWOP: "swop-1",
            docker_place.LABEL: mark,
        }
        yield Stage(engine, request.param, docker_place.IMAGE, mark, folder, labels)
