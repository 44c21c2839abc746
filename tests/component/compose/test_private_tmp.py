"""A program with a /tmp/hpe-swarm of its own, in real mount namespaces."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from compose.plan import PRIVATE_TMP, Request
from compose.session import Options, _make_handovers
from services.common.errors import ConfigError


def run(*command, **named):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **named)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "handover"
    made.mkdir()
    made.chmod(0o777)
    probe = run(*PRIVATE_TMP, str(made), "true")
    if probe.returncode and os.geteuid() != 0:
        pytest.skip(f"needs the right to make mount namespaces: {probe.stderr}")
    assert probe.returncode == 0, probe.stderr
    return made


def seen_by(script, folder, *before):
    done = run(*before, *PRIVATE_TMP, str(folder), "sh", "-ec", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_folder_is_there_and_the_machines_tmp_stays_as_it_was(folder):
    mark = Path(f"/tmp/made-by-a-program-{os.getpid()}")
    had = Path("/tmp/hpe-swarm").exists()
    script = f"echo one > /tmp/hpe-swarm/file; touch {mark}; stat -c %i /tmp/hpe-swarm {folder}"
    inodes = seen_by(script, folder)
    assert inodes == [str(folder.stat().st_ino)] * 2
    assert (folder / "file").read_text() == "one\n"
    assert Path("/tmp/hpe-swarm").exists() == had
    if not had:  # else there is no need for a /tmp of its own
        assert not mark.exists()


def test_what_is_in_tmp_is_seen_and_can_be_changed(folder):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        tmp = Path(name)
        (tmp / "link").symlink_to(folder)
        (tmp / "old").touch()
        seen_by(f"echo two > {tmp}/link/file; echo three > {tmp}/new; rm {tmp}/old", folder)
        assert (folder / "file").read_text() == "two\n"
        assert (tmp / "new").read_text() == "three\n"
        assert not (tmp / "old").exists()


def test_a_folder_that_is_there_already_is_covered(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    seen_by("echo four > /tmp/hpe-swarm/file", folder, *PRIVATE_TMP, str(other))
    assert (folder / "file").read_text() == "four\n"
    assert list(other.iterdir()) == []


def test_an_ordinary_user_needs_no_root(folder):
    if os.geteuid() != 0:
        pytest.skip("is one")
    dropped = (sys.executable, "-c", "import os, sys; os.setgroups([]); os.setgid(65534); "
               "os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])")  # fmt: skip
    python = "/usr/bin/env"
    probe = run(*dropped, python, "unshare", "--user", "--mount", "true")
    if probe.returncode:
        pytest.skip(f"this system does not allow user namespaces: {probe.stderr}")
    target = Path("/tmp") / f"handover-{os.getpid()}"
    target.mkdir(mode=0o777)
    try:
        launcher = Path(PRIVATE_TMP[-1]).read_text()
        words = (python, "python3", "-I", "-S", "-c", launcher, str(target))
        done = run(*dropped, *words, "sh", "-c", "id -u; ls -d /tmp/hpe-swarm")
        assert done.stdout.split() == ["65534", "/tmp/hpe-swarm"], done.stderr
    finally:
        target.rmdir()


def test_a_program_that_cannot_start_is_said(folder):
    done = run(*PRIVATE_TMP, str(folder), "/no/such/program")
    assert done.returncode == 127
    assert "cannot start '/no/such/program'" in done.stderr


def test_what_is_not_possible_is_a_clear_error(tmp_path):
    done = run(*PRIVATE_TMP, str(tmp_path / "missing"), "true")
    assert done.returncode == 126
    assert "cannot give the program a /tmp/hpe-swarm of its own" in done.stderr
    assert "root" in done.stderr


def test_only_linux_can(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Options(Request(1, 1, ("x",), foreign=True)).request.foreign
    with pytest.raises(ConfigError, match="only Linux"):
        _make_handovers(None)
