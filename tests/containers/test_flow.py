"""The flow of the documentation, with the example's own files, in containers of our images."""

import json

import pytest

from tests.containers.conftest import Composition, grace

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]


def results(composition: Composition) -> list[dict[str, dict[str, float]]]:
    """What the ML programs wrote."""
    files = sorted(composition.run.glob("project/user-*/result.json"))
    found = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    return found


def test_twice_in_a_row(composition: Composition):
    """The second time on the same chain, with what is registered already."""
    composition.edit("swci/taskdefs/swarm*.yaml", '"MAX_EPOCHS": 20', '"MAX_EPOCHS": 10')
    for time in (1, 2):
        done = composition.make("up-swop")
        assert done.returncode == 0, done.stdout[-6000:]
        assert "COMPLETED_PEERS : 4" in done.stdout
        assert "build failed" not in done.stdout
        assert ("Task Registered" in done.stdout) == (time == 1)
        assert composition.pairs("SL", "all") == composition.pairs("ML", "all") == []
        found = results(composition)
        assert len(found) == 4
        assert len({each["swarm"]["accuracy"] for each in found}) == 1
        assert found[0]["swarm"]["accuracy"] > 0.9
        assert max(each["alone"]["accuracy"] for each in found) < 0.5
    down = composition.make("down-swop")
    assert down.returncode == 0, down.stdout
    assert composition.left() == []


def test_as_an_ordinary_user_on_three_sns(composition: Composition):
    """Nobody but the socket proxy is root, and what is left on the host belongs to the user."""
    composition.variables(SWARM_UID="12345", SWARM_GID="12346", COMPOSE_PROFILES="three")
    composition.edit("swci/taskdefs/swarm*.yaml", '"MAX_EPOCHS": 20', '"MAX_EPOCHS": 6')
    done = composition.compose("up", "--exit-code-from", "swci")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "COMPLETED_PEERS : 4" in done.stdout
    for name in ("license", "sn-1", "sn-2", "sn-3", "swop-1", "swop-2", "swci"):
        assert composition.service(name).attrs["Config"]["User"] == "12345:12346"
    owners = {
        (path.stat().st_uid, path.stat().st_gid)
        for path in composition.run.rglob("*")
        if path.name not in ("key", "socket-proxy")  # made by the proxy after `prepare`
    }
    assert owners == {(12345, 12346)}


def test_services_end_soon_when_told_to(composition: Composition):
    """SIGTERM, in the middle of a training."""
    composition.start()
    composition.until(lambda: len(composition.pairs("ML")) == 4, "four programs run")
    client = composition.service("sn-1").client
    for name in ("swci", "swop-1", "swop-2", "sn-1", "license", "socket-proxy"):
        container = composition.service(name)
        container.stop(
            timeout=max(30 if name.startswith("swop") else 0, grace())
        )  # then it would be killed
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0, name
        assert not container.attrs["State"]["OOMKilled"], name
    assert client.containers.list(filters={"name": composition.mark}) == []
