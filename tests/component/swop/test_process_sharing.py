"""The process engine where SWOPs share it, are killed in it, or are given paths that mean harm."""

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from services.swop.adapters.process_engine import ProcessEngine
from services.swop.core.engine import (
    LABEL_SWOP,
    BuildSpec,
    ContainerSpec,
    EngineError,
    Mount,
    MountKind,
    Role,
)

LABELS = {LABEL_SWOP: "swop-1"}


@pytest.fixture
async def engine(tmp_path: Path) -> ProcessEngine:
    made = ProcessEngine(tmp_path / "engine", "127.0.0.1", "127.0.0.1")
    await made.check()
    await made.build(BuildSpec("ml", "FROM scratch\n", None), print)
    return made


def spec(script: str = "", **more: object) -> ContainerSpec:
    fields: dict[str, object] = {
        "role": Role.ML, "name": "c", "image": "ml", "entrypoint": (sys.executable,),
        "command": ("-c", script), "labels": LABELS,
    }  # fmt: skip
    return ContainerSpec(**{**fields, **more})  # type: ignore[arg-type]


async def test_two_swops_build_the_same_tag_at_once(tmp_path: Path, engine: ProcessEngine):
    other = ProcessEngine(tmp_path / "engine", "127.0.0.1", "127.0.0.1")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("a")
    await engine.make_volume("lib", {})
    await engine.put_files("lib", tmp_path / "files")
    both = threading.Barrier(2, timeout=20)

    def first_step(line: str) -> None:
        if line.startswith("Step 1"):
            both.wait()  # so both are under way

    build = BuildSpec("same", "FROM scratch\nCOPY a /x/\n", "lib")
    for _ in range(3):
        await asyncio.gather(*(each.build(build, first_step) for each in (engine, other)))
    said = spec("print(open('/x/a').read())", image="same")
    await engine.create(said)
    await engine.start("c")
    assert await engine.wait("c") == 0
    assert await engine.logs("c", 1) == ["a"]
    await engine.remove("c")
    assert not list((tmp_path / "engine" / "images").glob(".build-*"))


async def test_a_container_of_a_killed_swop_is_found_half_made(
    tmp_path: Path, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ProcessEngine, "_program", killed)
    (tmp_path / "data").mkdir()
    with pytest.raises(KeyboardInterrupt):
        await engine.create(
            spec(
                mounts=(
                    Mount(MountKind.BIND, str(tmp_path / "data"), "/data"),
                    Mount(MountKind.BIND, str(tmp_path), "/data/all"),
                )
            )
        )
    assert (tmp_path / "data" / "all").is_symlink()
    [found] = await engine.find(LABELS)
    assert found.exit_code is None
    await engine.remove(found.id)
    assert list((tmp_path / "engine" / "containers").iterdir()) == []
    assert list((tmp_path / "data").iterdir()) == []


async def test_what_could_not_be_made_leaves_a_container_that_can_be_removed(
    tmp_path: Path, engine: ProcessEngine
):
    with pytest.raises(EngineError, match=r"mount source .* is missing"):
        await engine.create(spec(mounts=(Mount(MountKind.BIND, "/none/x", "/data"),)))
    [found] = await engine.find(LABELS)
    await engine.remove(found.id)
    assert list((tmp_path / "engine" / "containers").iterdir()) == []


async def test_a_link_of_somebody_else_is_not_removed(tmp_path: Path, engine: ProcessEngine):
    data = tmp_path / "data"
    data.mkdir()
    (data / "all").symlink_to(tmp_path / "engine")  # leads somewhere else than ours would
    mounts = (
        Mount(MountKind.BIND, str(data), "/data"),
        Mount(MountKind.BIND, str(tmp_path), "/data/all"),
    )
    with pytest.raises(EngineError, match="exists already"):
        await engine.create(spec(mounts=mounts))
    await engine.remove("c")
    assert (data / "all").readlink() == tmp_path / "engine"


@pytest.mark.parametrize("target", ["/tmp/..", "//", "/.", "//tmp/.."])
async def test_nothing_is_mounted_over_the_root(tmp_path: Path, engine: ProcessEngine, target: str):
    (tmp_path / "data").mkdir()
    mount = Mount(MountKind.BIND, str(tmp_path / "data"), target)
    with pytest.raises(EngineError, match="over / of the container"):
        await engine.create(spec(mounts=(mount,), working_dir="/made/here"))
    assert list((tmp_path / "data").iterdir()) == []


async def test_two_slashes_do_not_lead_to_the_host(tmp_path: Path, engine: ProcessEngine):
    (tmp_path / "data").mkdir()
    mount = Mount(MountKind.BIND, str(tmp_path / "data"), f"/{tmp_path}/planted")
    await engine.create(spec(mounts=(mount,), working_dir=f"/{tmp_path}/made/here"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "engine"]
    await engine.remove("c")


DAEMON = """
import os, sys, time
for _ in range(2):
    if os.fork():
        break
    os.setsid()
else:
    open(sys.argv[1] + ".new", "w").write(str(os.getpid()))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(1000)
"""


async def test_a_killed_shim_leaves_no_daemon_of_its_program(tmp_path: Path, engine: ProcessEngine):
    note = tmp_path / "daemon"
    await engine.create(spec(DAEMON, command=("-c", DAEMON, str(note))))
    await engine.start("c")
    async with asyncio.timeout(20):
        while not note.exists():
            await asyncio.sleep(0.02)  # another process writes it
    daemon = os.pidfd_open(int(note.read_text()))
    try:
        shim = json.loads((tmp_path / "engine/containers/c/shim.json").read_text())["pid"]
        os.kill(shim, signal.SIGKILL)
        assert await engine.wait("c") == 128 + signal.SIGKILL
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(daemon, ended.set)
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(daemon)
        os.close(daemon)
    await engine.remove("c")


async def test_a_value_that_no_program_can_be_given_is_said(engine: ProcessEngine):
    await engine.create(spec("print(1)", env={"A": "x\ud800"}))
    await engine.start("c")
    assert await engine.wait("c") == 127
    [said] = await engine.logs("c", 1)
    assert said.startswith("cannot start ")
    await engine.remove("c")


async def test_odd_values_arrive_as_they_are(engine: ProcessEngine):
    values = {"LINES": "a\nb\r\n", "WIDE": "\u3042" * 160, "QUOTES": "'\"$(x)`\\", "EMPTY": ""}
    script = f"import os; assert {{k: os.environ[k] for k in {list(values)}}} == {values!r}"
    await engine.create(spec(script, env=values))
    await engine.start("c")
    assert await engine.wait("c") == 0, await engine.logs("c", 5)
    await engine.remove("c")


async def test_of_a_long_log_the_end_is_kept(
    tmp_path: Path, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.swop.adapters.process_container.LARGEST_LOG", 1000)
    await engine.create(spec("print('x' * 5000); print('the end')"))
    await engine.start("c")
    await engine.wait("c")
    await engine.save_logs("c", tmp_path / "c.log")
    text = (tmp_path / "c.log").read_text()
    assert text.startswith("[the first 4009 bytes are left out]\n")
    assert text.endswith("x\nthe end\n")
    await engine.remove("c")


async def test_volumes_know_who_made_them(tmp_path: Path, engine: ProcessEngine):
    await engine.make_volume("made", LABELS)
    await engine.make_volume("made", {"other": "labels"})
    (tmp_path / "engine" / "volumes" / "by-hand").mkdir()
    assert await engine.volume_labels("made") == LABELS
    assert await engine.volume_labels("by-hand") == {}
    assert await engine.volume_labels("none") is None


async def test_a_volume_is_filled_again_and_through_no_link(tmp_path: Path, engine: ProcessEngine):
    files, outside = tmp_path / "files", tmp_path / "outside"
    (files / "sub").mkdir(parents=True)
    outside.mkdir()
    (files / "sub" / "a").write_text("a")
    (files / "link").symlink_to("sub/a")
    await engine.make_volume("v", LABELS)
    volume = tmp_path / "engine" / "volumes" / "v"
    (volume / "sub").symlink_to(outside)  # as a program of an earlier task can leave it
    for _ in range(2):
        await engine.put_files("v", files)
    assert list(outside.iterdir()) == []
    assert (volume / "sub" / "a").read_text() == "a"
    assert (volume / "link").readlink() == Path("sub/a")
