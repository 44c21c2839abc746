"""A file is replaced whole or not at all, and its permissions are as asked from its first byte."""

import os

import pytest

from services.common.whole_file import write_whole


def test_it_replaces_what_was_there(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"old and longer")
    (tmp_path / ".key.part").write_bytes(b"half of one")  # a writer was killed
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_the_old_one_stays_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_link_beside_it_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / ".key.part").symlink_to(outside)
    write_whole(tmp_path / "key", b"new")
    assert outside.read_bytes() == b"precious"
