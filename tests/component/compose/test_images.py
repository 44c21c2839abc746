"""`python -m compose.images` with a fake docker that writes down what it is asked for."""

import gzip
import json
import stat
from pathlib import Path

import pytest

from compose.images.__main__ import main
from compose.images.catalogue import BY_DEFAULT, full_name

FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(words) + "\\n")
state = json.loads((here / "state").read_text())
match words:
    case ["buildx", "version"] if state["buildx"]: pass
    case ["version", *_] if state["engine"]: print("26.1")
    case ["image", "inspect", "--format", "{{.Size}}", image]: print(183_000_000)
    case ["image", "inspect", "--format", "{{.Id}}", image] if image in state["images"]: print("id")
    case ["image", "inspect", image] if image in state["images"]: pass
    case ["buildx", "build", *_] if state["builds"]: pass
    case ["buildx", "build", *_]:
        print("\\n".join(f"line {n}" for n in range(60)), file=sys.stderr)
        sys.exit(1)
    case ["import", "-", image]: (here / "tar").write_bytes(sys.stdin.buffer.read())
    case ["save", *images]:
        print("archive of", *images)
        sys.exit(0 if state["saves"] else "no space left")
    case ["load", "--input", file]: print("Loaded image: x")
    case _: sys.exit(f"Cannot do {words}")
"""


class FakeDocker:
    """The command, and what it says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = {"buildx": True, "engine": True, "builds": True, "saves": True,
                      "images": ["python:3.11-slim-bookworm"]}  # fmt: skip
        command = folder / "docker"
        command.write_text(FAKE)
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        self.set()

    def set(self, **changes: object) -> None:
        """Change what it says."""
        self.state |= changes
        (self._folder / "state").write_text(json.dumps(self.state))

    def asked(self, *words: str) -> list[list[str]]:
        """What it was asked for that begins with these words."""
        lines = (self._folder / "asked").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return [each for each in found if each[: len(words)] == list(words)]

    @property
    def tar(self) -> bytes:
        return (self._folder / "tar").read_bytes()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for name in ("SSL_CERT_FILE", "PIP_CONFIG_FILE", "SWARM_TAG"):
        monkeypatch.delenv(name, raising=False)
    return FakeDocker(folder)


def test_all_images_in_order(fake, capsys):
    assert main([]) == 0
    built = [words[words.index("--tag") + 1] for words in fake.asked("buildx", "build")]
    assert built == [full_name(name) for name in BY_DEFAULT]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(BY_DEFAULT)
    assert lines[0].split()[:3] == ["swarm-learning/base:0.1.0", "183", "MB"]


def test_the_proxy_is_built_when_it_is_named_from_a_mirror_that_is_given(fake, monkeypatch):
    monkeypatch.setenv("DEBIAN_MIRROR", "http://mirror/debian")
    assert main(["proxy"]) == 0
    [words] = fake.asked("buildx", "build")
    assert "DEBIAN_MIRROR=http://mirror/debian" in words
    assert not any(each.startswith("SWARM_BASE") for each in words)


def test_secrets_come_from_the_environment(fake, tmp_path, monkeypatch):
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null/none")
    assert main(["base"]) == 0
    [words] = fake.asked("buildx", "build")
    assert [w for w in words if w.startswith("id=")] == [f"id=ca,src={tmp_path}/ca.pem"]


def test_wheels_become_an_image_once(fake, tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "torch-1-py3-none-any.whl").write_text("wheel")
    (folder / "notes.txt").write_text("no wheel")
    assert main(["sl", "--wheels", str(folder)]) == 0
    [[_, _, image]] = fake.asked("import")
    assert image.startswith("swarm-learning/wheels:")
    assert b"torch-1-py3-none-any.whl" in fake.tar
    assert b"notes" not in fake.tar
    assert f"WHEELS_IMAGE={image}" in fake.asked("buildx", "build")[0]
    fake.set(images=[*fake.state["images"], image])
    assert main(["sl", "--wheels", str(folder)]) == 0
    assert len(fake.asked("import")) == 1


@pytest.mark.parametrize(
    ("state", "arguments", "code", "text"),
    [
        ({"buildx": False}, [], 2, "buildx plugin is missing"),
        ({"engine": False}, [], 2, "the Docker engine does not answer"),
        ({"images": []}, [], 2, "no image python:3.11-slim-bookworm here, and Docker cannot pull"),
        ({}, ["--wheels", "/nowhere"], 2, "--wheels /nowhere: there is no such folder"),
        ({}, ["mine"], 2, "no image called 'mine'"),
        ({"builds": False}, ["sn"], None, "building base failed:\nline 35\n"),
        ({}, ["sn", "--save", "x.tar"], 2, "no image swarm-learning/sn:0.1.0 here: build it first"),
        ({}, ["--load", "/nowhere.tar"], 2, "no file /nowhere.tar"),
    ],
    ids=["buildx", "engine", "base", "wheels", "name", "build", "save", "load"],
)
def test_what_cannot_work(fake, capsys, state, arguments, code, text):
    fake.set(**state)
    result = main(arguments)
    assert result == code if code is not None else result != 0
    assert text in capsys.readouterr().err


def test_no_docker(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 2
    assert "no docker command here" in capsys.readouterr().err


def test_save_and_load(fake, tmp_path, capsys):
    images = [full_name("sn"), full_name("sl")]
    fake.set(images=images)
    for file in (tmp_path / "all.tar", tmp_path / "all.tar.gz"):
        assert main(["sn", "sl", "--save", str(file)]) == 0
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt") as saved:
            assert saved.read() == f"archive of {' '.join(images)}\n"
    assert main(["--load", str(tmp_path / "all.tar")]) == 0
    assert "Loaded image: x" in capsys.readouterr().out


def test_a_file_that_is_not_complete_is_not_left(fake, tmp_path, capsys):
    fake.set(images=[full_name("sn")], saves=False)
    (tmp_path / "all.tar").write_text("the last one")
    assert main(["sn", "--save", str(tmp_path / "all.tar")]) != 0
    assert "the engine broke off: no space left" in capsys.readouterr().err
    assert (tmp_path / "all.tar").read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir()].count("all.tar.part") == 0
