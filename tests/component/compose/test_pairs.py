"""Rows about the containers of a real process engine, and which kept logs are pairs'."""

from pathlib import Path

import pytest

from compose import pairs, status
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.core.engine import BuildSpec, ContainerSpec, Role

PEER = "0123456789abcdef" * 2


@pytest.fixture
async def engine(tmp_path):
    engine = ProcessEngine(tmp_path / "engine", "127.0.0.1", "127.0.0.1")
    await engine.check()
    await engine.build(BuildSpec("env:latest", "FROM x", None), lambda line: None)
    return engine


def spec(role, name, program):
    labels = {"swarm.role": role.value, "swarm.peer": PEER}
    return ContainerSpec(role, name, "env:latest", ("python3",), ("-c", program), labels=labels)


async def test_rows(engine, tmp_path):
    assert pairs.rows([tmp_path / "nothing"]) == []
    await engine.start(await engine.create(spec(Role.SL, "g-t-s-0", "import time; time.sleep(99)")))
    await engine.start(await engine.create(spec(Role.ML, "g-t-u-0", "print(5); exit(3)")))
    assert await engine.wait("g-t-u-0") == 3
    sl, ml = pairs.rows([tmp_path / "engine"])
    try:
        assert (sl["name"], sl["kind"], sl["state"], sl["uid"]) == (
            "g-t-s-0",
            "SL",
            "running",
            PEER,
        )
        assert (sl["exit_code"], ml["exit_code"]) == (None, 3)
        assert (ml["kind"], ml["state"], ml["uid"]) == ("ML", "exited", "")
        assert pairs.names([sl, ml]) == {PEER: "g-0"}
        lines = status.table(
            {"run_dir": "/r", "state": "running", "nodes": [sl, ml],
             "contract": {"name": "c", "phase": "", "waiting_for": ""}}
        )  # fmt: skip
        assert [line.split()[:3] for line in lines[2:]] == [
            ["g-t-s-0", "SL", "running"], ["g-t-u-0", "ML", "exited"],
        ]  # fmt: skip
        assert Path(ml["log"]).read_text() == "5\n"
    finally:
        await engine.remove("g-t-s-0")
    await engine.remove("g-t-u-0")
    assert pairs.rows([tmp_path / "engine"]) == []


def test_kept_logs(tmp_path):
    for name in ("swop-1/logs/g-t-u-0-0123456789abcdef.log", "swop-1/logs/build.log",
                 "sn-1/g-t-u-0-0123456789abcdef.log"):  # fmt: skip
        path = tmp_path / "nodes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [path.stem for path in pairs.kept_logs(tmp_path)] == ["g-t-u-0-0123456789abcdef"]
