"""Images from a registry that wants to know who asks, directly and through the socket proxy."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from services.swop.core.engine import EngineError, PullSpec
from tests.component.swop import docker_place
from tests.component.swop.conftest import Stage, docker_or_skip
from tests.component.swop.registry import AUTH, NAME, PASSWORD, TAG, USER, registry

pytestmark = pytest.mark.parametrize("stage", ["docker", "proxy"], indirect=True)


@pytest.fixture
def host() -> Iterator[str]:
    docker_or_skip()
    with registry() as host:
        yield host
        client = docker.DockerClient(docker_place.URL, version="auto")
        for image in client.images.list(f"{host}/{NAME}"):
            client.images.remove(image.id, force=True)
        client.close()


async def test_as_a_user(stage: Stage, host: str):
    image = f"{host}/{NAME}:{TAG}"
    assert not await stage.engine.has_image(image)
    await stage.engine.pull(PullSpec(image, username=USER, password=PASSWORD))
    assert await stage.engine.has_image(image)
    await stage.engine.pull(PullSpec(image, username=USER, password=PASSWORD))


async def test_by_a_config_file(stage: Stage, host: str, tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {host: {"auth": AUTH}, "other.example": {}}}))
    image = f"{host}/{NAME}:{TAG}"
    await stage.engine.pull(PullSpec(image, auth_file=str(config)))
    assert await stage.engine.has_image(image)


@pytest.mark.parametrize(
    "given", [{}, {"username": USER, "password": "wrong"}], ids=["none", "wrong"]
)
async def test_the_wrong_user(stage: Stage, host: str, given: dict[str, str]):
    with pytest.raises(EngineError, match="correct Auth of the task"):
        await stage.engine.pull(PullSpec(f"{host}/{NAME}:{TAG}", **given))


async def test_no_such_tag(stage: Stage, host: str):
    with pytest.raises(EngineError, match="does not exist in its registry"):
        await stage.engine.pull(PullSpec(f"{host}/{NAME}:2", username=USER, password=PASSWORD))


async def test_no_registry(stage: Stage):
    with pytest.raises(EngineError, match="the registry cannot be reached from this host"):
        await stage.engine.pull(PullSpec("127.0.0.1:9/org/name:1"))
