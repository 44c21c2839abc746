import pytest

from tests.component.sl.scripted_sl import prepared


@pytest.fixture
def loopback(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "True")


@pytest.fixture
async def sl(tmp_path, monkeypatch):
    """A scripted SL, whose pipes and folder this process's environment names."""
    monkeypatch.setenv("SWARM_LOOPBACK", "false")
    async with prepared(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
