"""Logs of containers that are gone: the newest stay."""

import os
from pathlib import Path

from services.swop.adapters.kept_logs import remove_old


def write(folder: Path, name: str, age: int, size: int = 1) -> str:
    path = folder / name
    path.write_bytes(b"x" * size)
    os.utime(path, (1_000_000 - age,) * 2)
    return name


def log(group: str, number: int) -> str:
    return f"{group}-run-u-{number}-{number:016x}.log"


def left(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_the_newest_of_a_group_stay(tmp_path: Path):
    mine = [write(tmp_path, log("demo", age), age) for age in range(5)]
    others = {write(tmp_path, log("other", 9), 9), write(tmp_path, "demo-notes.log", 9)}
    assert remove_old(tmp_path, "demo-", files=2) == 3
    assert left(tmp_path) == {*mine[:2], *others}


def test_their_bytes_are_limited_but_one_stays(tmp_path: Path):
    mine = [write(tmp_path, log("demo", age), age, 10) for age in range(4)]
    assert remove_old(tmp_path, "demo-", size=20) == 2
    assert left(tmp_path) == set(mine[:2])
    assert remove_old(tmp_path, "demo-", size=5) == 1
    assert left(tmp_path) == {mine[0]}


def test_no_folder_no_logs(tmp_path: Path):
    assert remove_old(tmp_path / "none", "demo-") == 0
