"""What every engine does, whatever it runs containers with."""

import asyncio
from pathlib import Path

import pytest

from services.swop.core.engine import (
    LABEL_SWOP,
    BuildSpec,
    ContainerState,
    EngineError,
    Mount,
    MountKind,
)
from tests.component.swop.conftest import Stage

containers = pytest.mark.parametrize("stage", ["docker", "proxy"], indirect=True)
"""Where an image is more than a name: child processes share this host's files."""
LONG = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"


async def _says(stage: Stage, id: str, text: str) -> None:
    """Wait until a container has printed something."""
    async with asyncio.timeout(30):
        while text not in await stage.engine.logs(id, 10):
            await asyncio.sleep(0.02)


async def test_it_can_be_used(stage: Stage):
    await stage.engine.check()


@pytest.mark.parametrize("code", [0, 1, 7, 125])
async def test_exit_code(stage: Stage, code: int):
    assert await stage.run(f"exit {code}") == (code, [])


async def test_output_of_both_streams_is_kept(stage: Stage):
    code, lines = await stage.run("echo one; echo two >&2; echo three")
    assert (code, sorted(lines)) == (0, ["one", "three", "two"])


async def test_only_the_last_lines(stage: Stage):
    id = await stage.engine.create(stage.spec("seq 1 300"))
    await stage.engine.start(id)
    assert await stage.engine.wait(id) == 0
    assert list(await stage.engine.logs(id, 3)) == ["298", "299", "300"]


async def test_the_whole_output_goes_to_a_file(stage: Stage, tmp_path: Path):
    id = await stage.engine.create(stage.spec("seq 1 5000"))
    await stage.engine.start(id)
    await stage.engine.wait(id)
    await stage.engine.save_logs(id, tmp_path / "out.log")
    assert (tmp_path / "out.log").read_text().split() == [str(n) for n in range(1, 5001)]
    assert [file.name for file in tmp_path.glob("out*")] == ["out.log"]


async def test_environment_and_arguments(stage: Stage):
    spec = stage.spec(
        'echo "$A|$B|$1|$2"',
        env={"A": "x y", "B": ""},
        command=("-c", 'echo "$A|$B|$1|$2"', "_", "p q", "'"),
    )
    id = await stage.engine.create(spec)
    await stage.engine.start(id)
    await stage.engine.wait(id)
    assert list(await stage.engine.logs(id, 5)) == ["x y||p q|'"]


async def test_wait_for_one_that_has_ended(stage: Stage):
    id = await stage.engine.create(stage.spec("exit 3"))
    await stage.engine.start(id)
    assert await stage.engine.wait(id) == 3
    assert await stage.engine.wait(id) == 3


async def test_waiting_can_be_cancelled_and_taken_up_again(stage: Stage):
    id = await stage.engine.create(stage.spec(LONG))
    await stage.engine.start(id)
    await _says(stage, id, "ready")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await stage.engine.wait(id)
    waiting = asyncio.create_task(stage.engine.wait(id))
    await stage.engine.stop(id, 20)
    assert await waiting == 5


async def test_stop_kills_what_does_not_listen(stage: Stage):
    id = await stage.engine.create(
        stage.spec("trap '' TERM; echo ready; while :; do sleep 1; done")
    )
    await stage.engine.start(id)
    await _says(stage, id, "ready")
    await stage.engine.stop(id, 1)
    code = await stage.engine.wait(id)
    assert code < 0 or code > 128


async def test_stop_and_remove_are_harmless_twice(stage: Stage):
    id = await stage.engine.create(stage.spec("true"))
    await stage.engine.start(id)
    await stage.engine.wait(id)
    await stage.engine.stop(id, 1)
    await stage.engine.remove(id)
    await stage.engine.remove(id)
    await stage.engine.stop(id, 1)
    assert list(await stage.engine.find(stage.labels)) == []


async def test_remove_ends_what_runs(stage: Stage):
    id = await stage.engine.create(stage.spec(LONG))
    await stage.engine.start(id)
    await _says(stage, id, "ready")
    await stage.engine.remove(id)
    assert list(await stage.engine.find(stage.labels)) == []
    with pytest.raises(EngineError):
        await stage.engine.wait(id)


async def test_find_by_labels(stage: Stage):
    runs = await stage.engine.create(stage.spec(LONG, name="runs"))
    ended = await stage.engine.create(stage.spec("exit 4", name="ended"))
    never = await stage.engine.create(stage.spec("true", name="never"))
    other = stage.labels | {LABEL_SWOP: "swop-2"}
    await stage.engine.create(stage.spec("true", name="other", labels=other))
    await stage.engine.start(runs)
    await stage.engine.start(ended)
    await stage.engine.wait(ended)
    found = {one.id: one for one in await stage.engine.find(stage.labels)}
    assert {id: (one.state, one.exit_code) for id, one in found.items()} == {
        runs: (ContainerState.RUNNING, None),
        ended: (ContainerState.EXITED, 4),
        never: (ContainerState.EXITED, None),
    }
    assert found[runs].name == f"{stage.mark}-runs"
    assert stage.labels.items() <= found[runs].labels.items()


async def test_a_leftover_of_ours_makes_room(stage: Stage):
    first = await stage.engine.create(stage.spec(LONG))
    await stage.engine.start(first)
    second = await stage.engine.create(stage.spec("exit 0"))
    found = [(one.id, one.state) for one in await stage.engine.find(stage.labels)]
    assert found == [(second, ContainerState.EXITED)]


async def test_a_name_of_others_is_refused(stage: Stage):
    other = stage.labels | {LABEL_SWOP: "swop-2"}
    theirs = await stage.engine.create(stage.spec("true", labels=other))
    with pytest.raises(EngineError, match="taken by a container that is not this SWOP's"):
        await stage.engine.create(stage.spec("true"))
    assert [one.id for one in await stage.engine.find(other)] == [theirs]


async def test_never_started_is_not_waited_for(stage: Stage):
    id = await stage.engine.create(stage.spec("true"))
    with pytest.raises(EngineError, match="never started"):
        await stage.engine.wait(id)


async def test_a_folder_of_the_host_is_mounted(stage: Stage):
    (stage.folder / "in.txt").write_text("from the host\n")
    mount = Mount(MountKind.BIND, str(stage.folder), "/tmp/data")
    code, lines = await stage.run(
        "cat /tmp/data/in.txt; echo out > /tmp/data/out.txt", mounts=(mount,)
    )
    assert (code, lines) == (0, ["from the host"])
    assert (stage.folder / "out.txt").read_text() == "out\n"


async def test_a_missing_folder_is_refused(stage: Stage):
    mount = Mount(MountKind.BIND, str(stage.folder / "nothing"), "/tmp/data")
    with pytest.raises(EngineError, match="nothing is missing on this host"):
        await stage.run("true", mounts=(mount,))


async def test_a_volume_is_made_and_shared(stage: Stage):
    volume = f"{stage.mark}-v"
    assert not await stage.engine.has_volume(volume)
    mount = Mount(MountKind.VOLUME, volume, "/tmp/shared")
    assert await stage.run("echo hello > /tmp/shared/x", name="w", mounts=(mount,)) == (0, [])
    assert await stage.engine.has_volume(volume)
    code, lines = await stage.run("cat /tmp/shared/x", name="r", mounts=(mount,))
    assert (code, lines) == (0, ["hello"])


async def test_a_volume_says_who_made_it(stage: Stage):
    name = f"{stage.mark}-v"
    assert await stage.engine.volume_labels(name) is None
    await stage.engine.make_volume(name, stage.labels)
    await stage.engine.make_volume(name, {**stage.labels, "swarm.task": "later"})
    labels = await stage.engine.volume_labels(name)
    assert labels is not None
    assert stage.labels.items() <= labels.items()
    assert "swarm.task" not in labels, "one that exists stays as it is"


async def test_files_into_a_volume(stage: Stage, tmp_path: Path):
    folder = tmp_path / "content"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("old\n")
    (folder / "deep" / "b.txt").write_text("b\n")
    volume = f"{stage.mark}-v"
    await stage.engine.make_volume(volume, stage.labels)
    await stage.engine.make_volume(volume, stage.labels)
    await stage.engine.put_files(volume, folder)
    (folder / "a.txt").write_text("new\n")
    (folder / "deep" / "b.txt").unlink()
    await stage.engine.put_files(volume, folder)
    mount = Mount(MountKind.VOLUME, volume, "/tmp/v")
    code, lines = await stage.run("cat /tmp/v/a.txt /tmp/v/deep/b.txt", mounts=(mount,))
    assert (code, lines) == (0, ["new", "b"])


async def test_files_into_a_missing_volume(stage: Stage, tmp_path: Path):
    with pytest.raises(EngineError, match="is missing on this host"):
        await stage.engine.put_files(f"{stage.mark}-nothing", tmp_path)


@containers
async def test_build_with_files_from_a_volume(stage: Stage, tmp_path: Path):
    folder = tmp_path / "content"
    folder.mkdir()
    (folder / "wheel.txt").write_text("the wheel\n")
    await stage.engine.make_volume(f"{stage.mark}-lib", stage.labels)
    await stage.engine.put_files(f"{stage.mark}-lib", folder)
    tag, lines = f"{stage.mark}:latest", list[str]()
    assert not await stage.engine.has_image(tag)
    spec = BuildSpec(
        tag=tag,
        dockerfile=f"FROM {stage.image}\nARG WHO\nCOPY wheel.txt /w\nRUN echo $WHO > /who\n",
        context_volume=f"{stage.mark}-lib",
        build_args={"WHO": "me"},
        labels=stage.labels,
    )
    for _ in range(2):  # building once more is fine
        await stage.engine.build(spec, lines.append)
    assert any(" : COPY wheel.txt" in line for line in lines)
    assert await stage.engine.has_image(tag)
    assert await stage.run("cat /w /who", image=tag) == (0, ["the wheel", "me"])


@containers
async def test_a_failing_build_names_its_step(stage: Stage):
    spec = BuildSpec(
        tag=f"{stage.mark}:latest",
        dockerfile=f"FROM {stage.image}\nRUN echo no wheel here; exit 3\n",
        context_volume=None,
        labels=stage.labels,
    )
    with pytest.raises(EngineError, match=r"step 2/\d \(RUN echo.*code 3.*no wheel here") as raised:
        await stage.engine.build(spec, lambda _: None)
    assert len(str(raised.value)) < 400
    assert not await stage.engine.has_image(spec.tag)


async def test_build_from_a_missing_volume(stage: Stage):
    spec = BuildSpec(f"{stage.mark}:latest", "FROM scratch\n", f"{stage.mark}-nothing")
    with pytest.raises(EngineError, match="is missing on this host"):
        await stage.engine.build(spec, lambda _: None)


@containers
async def test_no_such_image(stage: Stage):
    with pytest.raises(EngineError, match="is not on this host: run the task that builds"):
        await stage.run("true", image=f"{stage.mark}-nothing:1")


async def test_no_such_program(stage: Stage):
    try:
        code, _ = await stage.run("true", entrypoint=("no-such-program",))
    except EngineError as error:
        assert "no-such-program" in str(error)
    else:
        assert code in {126, 127}
