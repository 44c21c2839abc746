"""CD, PWD and LS: no shell, no surprises in names."""

import os

import pytest

from services.swci.adapters import folders
from services.swci.core.reply import Layout


@pytest.fixture
def files(stranger):
    folder = stranger.folder
    for name, size in (("b.yaml", 10), ("a.yaml", 3000), (".hidden", 1)):
        (folder / name).write_bytes(b"x" * size)
    (folder / "sub").mkdir()
    (folder / "sub" / "inner").touch()
    os.utime(folder / "a.yaml", (1, 1))
    os.utime(folder / "b.yaml", (2, 2))
    return folder


async def test_cd_and_pwd(stranger, files):
    reply = await stranger.reply(f"cd {files}/sub")
    assert reply.lines == (f"Current Directory : {files}/sub",)
    assert reply.layout is Layout.PROMPT
    assert await stranger.good("pwd") == [f"{files}/sub"]
    await stranger.good("CD ..")
    assert stranger.interpreter.cwd == files
    assert "not a directory" in await stranger.bad("cd a.yaml")
    assert "No such file" in await stranger.bad("cd nowhere")
    assert stranger.interpreter.cwd == files


async def test_relative_paths_start_at_the_current_folder(stranger, files):
    (files / "sub" / "t.yaml").write_text("Name: [")
    await stranger.good("cd sub")
    assert "t.yaml" in await stranger.bad("CREATE TASK FROM t.yaml")
    assert "no file" in await stranger.bad("CREATE TASK FROM sub/t.yaml")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["a.yaml", "b.yaml", "sub"]),
        ("-1", ["a.yaml", "b.yaml", "sub"]),
        ("-r", ["sub", "b.yaml", "a.yaml"]),
        ("-A", [".hidden", "a.yaml", "b.yaml", "sub"]),
        ("-a", [".", "..", ".hidden", "a.yaml", "b.yaml", "sub"]),
        ("-t *.yaml", ["{}/b.yaml", "{}/a.yaml"]),
        ("-S b.yaml a.yaml", ["{}/a.yaml", "{}/b.yaml"]),
        ("sub", ["inner"]),
        ("-d sub", ["{}/sub"]),
        ("*", ["{}/a.yaml", "{}/b.yaml", "{}/sub:", "inner"]),
        ("-R", ["{}:", "a.yaml", "b.yaml", "sub", "{}/sub:", "inner"]),
    ],
)
async def test_ls(stranger, files, options, expected):
    assert await stranger.good(f"ls {options}") == [line.format(files) for line in expected]


async def test_ls_long(stranger, files):
    (files / "link").symlink_to("a.yaml")
    rows = await stranger.good("ls -lh")
    assert [row.split()[-1] for row in rows] == ["a.yaml", "b.yaml", "a.yaml", "sub"]
    assert rows[0].startswith("-rw")
    assert " 2.9K 1970-01-01 00:00 a.yaml" in rows[0]
    assert rows[2].endswith("link -> a.yaml")


async def test_an_empty_folder_answers_something(stranger):
    assert await stranger.good("ls") == ["total 0"]


@pytest.mark.parametrize(
    "line", ["ls; id", "ls $(id)", "ls `id`", "ls | id", "ls && id", "ls -l;id", "ls --x"]
)
async def test_no_shell_ever_sees_the_options(stranger, line):
    assert "uid=" not in await stranger.bad(line)


async def test_names_with_newlines_and_escapes_are_shown_escaped(stranger):
    (stranger.folder / "a\nERROR b\x1b[2J").touch()
    assert await stranger.good("ls") == ["a\\nERROR b\\x1b[2J"]
    (stranger.folder / "c\udcff").touch()
    for line in await stranger.good("ls -l"):
        line.encode()


async def test_a_huge_folder_is_cut(stranger, monkeypatch):
    monkeypatch.setattr(folders, "MOST_ROWS", 5)
    for number in range(9):
        (stranger.folder / str(number)).touch()
    rows = await stranger.good("ls")
    assert len(rows) == 6
    assert "and more" in rows[-1]
