"""Uploads: what comes in, and that nothing gets out of SWCI's current folder (FAULTS S4)."""

import asyncio
import os

import pytest

from services.swci.web_upload import LARGEST_FILE
from tests.component.swci.web_world import serving_echo
from tests.pki import Pki

YAML = "Name: t\n"


@pytest.fixture
async def world(tmp_path):
    folder = tmp_path / "outer" / "usr"
    folder.mkdir(parents=True)
    (tmp_path / "outer" / "other").mkdir()
    async with serving_echo(Pki(tmp_path), folder) as world:
        yield world


def tree(world):
    """Every path below the folder around SWCI's current one, with what it holds."""
    outer = world.commands.cwd.parent
    return {
        str(path.relative_to(outer)): path.read_bytes() if path.is_file() else None
        for path in outer.rglob("*")
    }


async def send(world, name, text=YAML, field="file", **more):
    """The answer to an upload whose file has exactly this name."""
    return await asyncio.to_thread(
        world.client().post, "/uploadTaskDef", files={field: (name, text)}, **more
    )


@pytest.mark.parametrize("name", ["t.yaml", "T-1_b.YML", "_x.2.yaml"])
async def test_a_definition_arrives_whole(world, name):
    response = await send(world, name, "a: größer\r\nb: [1]\r\n".encode())
    assert response.status_code == 200
    assert response.text == f"Task definition uploaded : {name} (21 bytes)"
    assert (world.commands.cwd / name).read_bytes() == "a: größer\r\nb: [1]\r\n".encode()


FOLDERS = {
    "../other/x1.yaml": "x1.yaml",
    "/etc/x2.yaml": "x2.yaml",
    "..\\..\\x3.yaml": "x3.yaml",
    "C:\\Users\\x4.yaml": "x4.yaml",
    "a/b/../../../x5.yaml": "x5.yaml",
}


async def test_folders_in_the_name_are_dropped(world):
    expected = tree(world)
    for name, bare in FOLDERS.items():
        assert (await send(world, name)).status_code == 200
        expected[f"usr/{bare}"] = YAML.encode()
        assert tree(world) == expected


ODD = [
    "x.txt", "x", ".yaml", "..yaml", "../.bashrc", "x.yaml/", "x.yaml.", "x.yaml\x00.txt",
    "%2e%2e%2fx.yaml", "a b.yaml", "-x.yaml", "x.yaml\n", "é.yaml", "x" * 125 + ".yaml", "..",
    "x.yaml;rm", "CON:.yaml", "",
]  # fmt: skip


async def test_odd_names_are_refused(world):
    before, boundary = tree(world), "b0undary"
    for name in ODD:
        part = f'content-disposition: form-data; name="file"; filename="{name}"'
        body = f"--{boundary}\r\n{part}\r\n\r\n{YAML}\r\n--{boundary}--\r\n"
        response = await asyncio.to_thread(
            world.client().post, "/uploadTaskDef", data=body.encode(),
            headers={"content-type": f"multipart/form-data; boundary={boundary}"},
        )  # fmt: skip
        assert response.status_code == 400, name
        assert response.text.startswith("ERROR : "), name
        assert tree(world) == before, name


async def test_a_regular_file_is_replaced(world):
    target = world.commands.cwd / "t.yaml"
    target.write_text("old")
    other = world.commands.cwd.parent / "other" / "hard.yaml"
    os.link(target, other)
    assert (await send(world, "t.yaml")).status_code == 200
    assert target.read_text() == YAML
    assert other.read_text() == "old"


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "folder", "fifo"])
async def test_what_is_not_a_regular_file_stays(world, kind):
    target, victim = world.commands.cwd / "t.yaml", world.commands.cwd.parent / "other" / "v.yaml"
    match kind:
        case "link to a file":
            victim.write_text("victim")
            target.symlink_to(victim)
        case "link to nothing":
            target.symlink_to(victim)
        case "folder":
            target.mkdir()
        case "fifo":
            os.mkfifo(target)
    before, mode = tree(world), target.lstat().st_mode
    response = await send(world, "t.yaml")
    assert response.status_code == 400
    assert "not a regular file" in response.text
    assert tree(world) == before
    assert target.lstat().st_mode == mode


async def test_the_current_folder_counts(world):
    world.commands.cwd = world.commands.cwd.parent / "other"
    await send(world, "t.yaml")
    assert (world.commands.cwd / "t.yaml").read_text() == YAML


async def test_a_folder_that_is_gone_is_said(world):
    world.commands.cwd /= "gone"
    response = await send(world, "t.yaml")
    assert response.status_code == 507
    assert "cannot write t.yaml" in response.text


@pytest.mark.parametrize(("size", "status"), [(LARGEST_FILE, 200), (LARGEST_FILE + 1, 400)])
async def test_sizes_up_to_the_limit(world, size, status):
    assert (await send(world, "t.yaml", b"#" * size)).status_code == status
    assert ("usr/t.yaml" in tree(world)) == (status == 200)


async def test_a_huge_body_is_not_kept(world):
    response = await send(world, "t.yaml", b"#" * (1 << 20))
    assert response.status_code == 413
    assert tree(world) == {"usr": None, "other": None}


NO_UPLOADS = {
    "no form": {"data": "a: 1"},
    "other field": {"files": {"other": ("t.yaml", YAML)}},
    "text": {"data": {"file": "a: 1"}, "files": {"x": ("t.yaml", YAML)}},
    "two files": {"files": [("file", ("a.yaml", YAML)), ("file", ("b.yaml", YAML))]},
    "no boundary": {"data": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}},
    "wrong boundary": {
        "data": b"--y\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"},
    },
}  # fmt: skip


async def test_what_is_no_upload_is_refused_in_words(world):
    for what, sent in NO_UPLOADS.items():
        response = await asyncio.to_thread(world.client().post, "/uploadTaskDef", **sent)
        assert response.status_code == 400, what
        assert response.text.startswith("ERROR : "), what
        assert tree(world) == {"usr": None, "other": None}, what


async def test_a_failed_write_leaves_nothing(world, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.swci.web_upload.os.rename", full)
    response = await send(world, "t.yaml")
    assert response.status_code == 507
    assert "No space left" in response.text
    assert tree(world) == {"usr": None, "other": None}
