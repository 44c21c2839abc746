"""What only the process engine does: images that are records, paths that are translated."""

import json
import os
import sys
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.swop.adapters.process_engine import ProcessEngine
from services.swop.adapters.state import held_state
from services.swop.core.engine import (
    BuildSpec,
    ContainerOptions,
    ContainerSpec,
    EngineError,
    Gpus,
    Mount,
    MountKind,
    PullSpec,
    Role,
)

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"


class Place:
    """An engine and a user folder."""

    def __init__(self, folder: Path) -> None:
        self.engine = ProcessEngine(
            folder / "engine", "127.0.0.1", "127.0.0.1", ("LD_*", "PYTHON*")
        )
        self.folder, self.lines = folder, list[str]()

    async def context(self, **files: str) -> str:
        """A volume with these files."""
        folder = self.folder / "context"
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        await self.engine.make_volume("lib", {})
        await self.engine.put_files("lib", folder)
        return "lib"

    async def build(self, *steps: str, volume: str | None = None) -> None:
        spec = BuildSpec("ml", "\n".join(steps), volume, {"ARG": "given"})
        await self.engine.build(spec, self.lines.append)

    async def run(self, *words: str, **more: object) -> str:
        """Run a program to its end; its output."""
        fields: dict[str, object] = {
            "role": Role.ML, "name": "c", "image": "ml", "entrypoint": ("python3",),
            "command": words,
        }  # fmt: skip
        id = await self.engine.create(ContainerSpec(**{**fields, **more}))
        await self.engine.start(id)
        code = await self.engine.wait(id)
        said = "\n".join(await self.engine.logs(id, 50))
        await self.engine.remove(id)
        assert code == 0, said
        return said


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    await made.engine.check()
    return made


async def test_build_steps(place: Place):
    volume = await place.context(a_dot_txt="a", sub__b_dot_txt="b", w_dot_whl="wheel")
    await place.build(
        "# a comment", "FROM some/image:1 ", " ", "ARG ARG", "ENV GREETING=hello\\",
        "  NAME='big world'", "ENV OLD form of it", "WORKDIR /app", "COPY *.whl /tmp/",
        "COPY sub sub", "COPY a.txt $ARG.txt",
        "RUN pip install --no-cache-dir 'numpy>=1.0' -r x.txt httpx==0.1 && echo done",
        "RUN apt-get update; touch /tmp/executed", "EXPOSE 80", volume=volume,
    )  # fmt: skip
    assert await place.engine.has_image("ml")
    assert await place.engine.has_image("ml:latest")
    assert not await place.engine.has_image("ml:2")
    assert "  numpy is installed" in place.lines
    assert "  httpx is installed" in place.lines
    assert "  skipped: a process engine executes no build steps" in place.lines
    reads = "import sys; print([open(each).read() for each in sys.argv[1:]])"
    said = await place.run("-c", reads, "/app/sub/b.txt", "/tmp/w.whl", "given.txt")
    assert said == "['b', 'wheel', 'a']"
    _, env, _ = json.loads(await place.run("-c", SHOW))
    assert {key: env[key] for key in ("GREETING", "NAME", "OLD")} == {
        "GREETING": "hello", "NAME": "big world", "OLD": "form of it",
    }  # fmt: skip
    assert not Path("/tmp/executed").exists()


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("RUN pip install no-such-distribution==1", "no-such-distribution is not installed"),
        ("RUN python3 -m pip install a /x/none_there-1-py3.whl", "a is not installed"),
        ("COPY missing /x", "missing is not in the build context"),
        ("COPY ../../secret /x", "secret is not in the build context"),
        ("COPY --from=other /x /y", "only files of the build context"),
        ("ADD http://host/x /x", "ADD of a URL or an archive"),
        ("ADD a.tar.gz /x", "ADD of a URL or an archive"),
        ("ENV LD_PRELOAD=/x", "build step 2 would set LD_PRELOAD"),
        ("ENV PYTHONPATH /x", "would set PYTHONPATH"),
        ("RUN <<EOF", "heredocs"),
        ("RUN echo 'open", "build step 2: No closing quotation"),
        ("COPY link /x", "not in the build context"),
    ],
)
async def test_steps_that_are_refused(place: Place, step: str, error: str):
    volume = await place.context(a_dot_txt="a")
    (place.folder / "engine" / "volumes" / "lib" / "link").symlink_to("/etc/passwd")
    with pytest.raises(EngineError, match=error):
        await place.build("FROM x", step, volume=volume)
    assert not await place.engine.has_image("ml")


async def test_a_link_inside_a_folder_is_not_copied(place: Place):
    volume = await place.context(sub__a_dot_txt="a")
    (place.folder / "engine" / "volumes" / "lib" / "sub" / "link").symlink_to("../../../..")
    with pytest.raises(EngineError, match="symbolic links are not copied"):
        await place.build("FROM x", "COPY sub /sub", volume=volume)


async def test_no_context_and_no_start(place: Place):
    with pytest.raises(EngineError, match="names no BuildContext"):
        await place.build("FROM x", "COPY a /a")
    with pytest.raises(EngineError, match="have no FROM"):
        await place.build("RUN true")


async def test_mounts_inside_mounts(place: Place):
    """The documented example: private data at /tmp/test/, the model at /tmp/test/model."""
    private, shared = place.folder / "private", place.folder / "shared"
    private.mkdir()
    shared.mkdir()
    (private / "data.csv").write_text("private")
    (shared / "train.py").write_text(
        "print(open('data.csv').read(), open('model/train.py').read()[:5])\nopen('out', 'w')\n"
    )
    await place.build("FROM x")
    mounts = (
        Mount(MountKind.BIND, str(shared), "/tmp/test/model"),
        Mount(MountKind.BIND, str(private), "/tmp/test/"),
    )
    said = await place.run("model/train.py", working_dir="/tmp/test", mounts=mounts)
    assert said == "private print"
    assert sorted(each.name for each in private.iterdir()) == ["data.csv", "out"]


async def test_a_mount_does_not_hide_what_is_there(place: Place):
    private = place.folder / "private"
    (private / "model").mkdir(parents=True)
    (private / "model" / "precious").touch()
    await place.build("FROM x")
    mounts = (
        Mount(MountKind.BIND, str(private), "/t"),
        Mount(MountKind.BIND, "/usr", "/t/model"),
    )
    with pytest.raises(EngineError, match="model exists already"):
        await place.run("-c", "0", mounts=mounts)
    assert (private / "model" / "precious").exists()


async def test_what_a_program_sees(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SWARM_ID_KEY", "/secret.pem")
    await place.build("FROM x", "ENV A=image B=image")
    volume = Mount(MountKind.VOLUME, "v", "/tmp/hpe-swarm")
    env = {"B": "task", "SL_REQUEST_CHANNEL": "/tmp/hpe-swarm/x.pipe", "PLAIN": "/tmp/other"}
    options = ContainerOptions(gpus=Gpus(ids=("1", "3")))
    said = await place.run(
        "-c", SHOW, "--data=/work/x", mounts=(volume,), env=env, options=options,
        working_dir="/work",
    )  # fmt: skip
    words, seen, cwd = json.loads(said)
    shared = str(place.folder / "engine" / "volumes" / "v")
    assert seen["SL_WEIGHTS_DIR"] == shared
    assert seen["SL_REQUEST_CHANNEL"] == f"{shared}/x.pipe"
    assert (seen["A"], seen["B"], seen["PLAIN"]) == ("image", "task", "/tmp/other")
    assert seen["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert "SWARM_ID_KEY" not in seen, "what the SWOP knows is not the program's"
    assert words == [f"--data={cwd}/x"]


async def test_an_sl_gets_a_port_and_a_store_of_its_own(place: Place):
    for name, ports in (("a", {}), ("b", {16000: 30305})):
        spec = ContainerSpec(
            role=Role.SL, name=name, image="process/sl", ports=ports,
            env={"THIS_NODE_IP": "sl1", "SL_FS_PORT": "16000", "SL_FS_SERVICE": "fs:1"},
        )  # fmt: skip
        await place.engine.create(spec)
    folder = place.folder / "engine" / "containers"
    own, published = (json.loads((folder / n / "start.json").read_text()) for n in ("a", "b"))
    assert own["argv"] == [sys.executable, "-m", "services.sl"]
    env = own["env"]
    assert env["SL_FS_PORT"] == env["SL_FS_LISTEN_PORT"] != "16000"
    assert (env["THIS_NODE_IP"], env["SL_FS_SERVICE"]) == ("127.0.0.1", "")
    assert env["SL_STORE_DIR"] == str(folder / "a" / "store")
    env = published["env"]
    assert (env["SL_FS_PORT"], env["SL_FS_LISTEN_PORT"]) == ("16000", "16000")
    assert (env["THIS_NODE_IP"], env["SL_FS_SERVICE"]) == ("sl1", "fs:1")


async def test_pulling_takes_what_was_built(place: Place):
    await place.build("FROM x")
    await place.engine.pull(PullSpec("ml:latest"))
    with pytest.raises(EngineError, match="cannot pull other:1: build it with"):
        await place.engine.pull(PullSpec("other:1"))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 300])
async def test_names_are_no_paths(place: Place, name: str):
    with pytest.raises(EngineError, match="cannot be the name"):
        await place.engine.make_volume(name, {})
    with pytest.raises(EngineError, match="cannot be the name"):
        await place.engine.remove(name)


async def test_what_was_half_made_is_in_nobodys_way(place: Place):
    await place.build("FROM x")
    half = place.folder / "engine" / "containers" / "c"
    half.mkdir()
    (half / "start.json").write_text("{}")
    assert list(await place.engine.find({})) == []
    assert await place.run("-c", "print(1)") == "1"


async def test_no_program_outlives_its_container(place: Place):
    """Not even one that left its process group."""
    await place.build("FROM x")
    script = (
        "import subprocess, time; "
        "print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)"
    )
    pid = int(await place.run("-c", script))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_uid_is_kept_and_the_folder_is_ours(tmp_path: Path):
    again = pytest.raises(ConfigError, match="another SWOP uses")
    with held_state(tmp_path / "s", "") as first, again, held_state(tmp_path / "s", ""):
        pass
    with held_state(tmp_path / "s", "") as second:
        assert second == first
    with held_state(tmp_path / "s", "a" * 32) as given:
        assert given == "a" * 32
    (tmp_path / "s" / "uid").write_text("nonsense")
    with pytest.raises(ConfigError, match="32 hex digits"), held_state(tmp_path / "s", ""):
        pass
