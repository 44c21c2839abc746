"""Claiming run folders, choosing ports, finding runs."""

import os
import socket
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from compose import ports, run_folder
from services.common.errors import ConfigError, NotFoundError

NOW = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)


def test_default_names_never_meet(tmp_path):
    first = run_folder.default_path("digits", NOW, tmp_path / "runs")
    second = run_folder.default_path("digits", NOW, tmp_path / "runs")
    assert first.name == "20261123-100000-digits"
    assert second.name == "20261123-100000-digits-2"


def test_a_folder_is_held_until_released(tmp_path):
    folder = run_folder.claim(tmp_path / "run")
    assert run_folder.is_running(tmp_path / "run")
    with pytest.raises(ConfigError, match="a swarm is running in"):
        run_folder.claim(tmp_path / "run")
    folder.release()
    assert not run_folder.is_running(tmp_path / "run")
    run_folder.claim(tmp_path / "run").release()  # still empty: fine


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"not empty \(mine.txt"):
        run_folder.claim(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot use"):
        run_folder.claim(tmp_path / "file")


def test_runs_that_cannot_be_made_is_said_with_the_way_out(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match=r"cannot use .*runs as run folder.*--run-dir"):
        run_folder.default_path("digits", NOW, tmp_path / "runs")


def test_a_refused_folder_stays_as_it_was(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError):
        run_folder.claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_we_made_is_taken_back(tmp_path):
    ours = run_folder.claim(tmp_path / "ours")
    (ours.path / "logs").mkdir()
    ours.clear()
    ours.release()
    assert not (tmp_path / "ours").exists()
    default = run_folder.claim(run_folder.default_path("x", NOW, tmp_path / "runs"), made=True)
    default.clear()
    default.release()
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "theirs").mkdir()
    theirs = run_folder.claim(tmp_path / "theirs")
    theirs.clear()
    theirs.release()
    assert list((tmp_path / "theirs").iterdir()) == []


def test_folders_below_the_working_directory_are_shown_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder.shown(tmp_path / "runs" / "1") == "runs/1"
    assert run_folder.shown(tmp_path.parent / "other") == str(tmp_path.parent / "other")


def test_latest_is_the_one_that_runs(tmp_path):
    with pytest.raises(NotFoundError):
        run_folder.latest(tmp_path)
    held = run_folder.claim(tmp_path / "old")
    held.write("state.json", {"pid": 1})
    done = run_folder.claim(tmp_path / "new")
    done.write("state.json", {"pid": 2})
    os.utime(tmp_path / "old" / "state.json", (0, 0))
    done.release()
    assert run_folder.latest(tmp_path).name == "old"
    held.release()
    assert run_folder.latest(tmp_path).name == "new"
    assert run_folder.pid_of(tmp_path / "new") == 2


def test_scratch_needs_room(tmp_path, monkeypatch):
    tmpfs, run = tmp_path / "shm", tmp_path / "run"
    tmpfs.mkdir()
    run.mkdir()
    scratch = run_folder.make_scratch(run, "id", tmpfs)
    assert scratch.parent == tmpfs
    assert scratch.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=64 << 20))
    assert run_folder.make_scratch(run, "id", tmpfs) == run / "scratch"


def test_ports_are_all_different():
    chosen = ports.choose(5)
    numbers = [chosen.license, *chosen.sn_api, *chosen.sn_p2p, *chosen.sl]
    assert len(set(numbers)) == len(numbers) == 8
    chosen = ports.choose(2, 3)
    assert len({chosen.license, *chosen.sn_api, *chosen.sn_p2p, *chosen.sl}) == 9


def test_given_ports_are_taken_or_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {taken} for the API of sn-2"):
            ports.choose(1, 2, sn_api=(0, taken))
    assert ports.choose(1, 2, sn_api=(0, taken)).sn_api[1] == taken


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sn_api": (0, 70_000)}, "port 70000 for the API of sn-2"),
        ({"sn_p2p": (0,)}, "1 --sn-p2p-port for 2 SNs: give one for each"),
        ({"sn_api": (0, 0, 0)}, "3 --sn-api-port for 2 SNs"),
        ({"sl": (1234,)}, "1 --sl-port for 2 SLs"),
    ],
)
def test_bad_ports(options, words):
    with pytest.raises(ConfigError, match=words):
        ports.choose(2, 2, **options)
