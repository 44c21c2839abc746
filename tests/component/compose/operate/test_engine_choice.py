"""Which command is used, and with whose rights."""

import os
from pathlib import Path

import pytest

from compose.operate import engine


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with a socket that is not ours, and nothing on its PATH; adds commands."""
    socket = tmp_path / "docker.sock"
    socket.touch()
    monkeypatch.setattr(engine, "SOCKET", str(socket))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    (tmp_path / "bin").mkdir()

    def install(*names):
        for name in names:
            command = tmp_path / "bin" / name
            command.write_text("#!/bin/sh\n")
            command.chmod(0o755)

    return install


@pytest.fixture(autouse=True)
def _real_which(monkeypatch):
    """`shutil.which` asks `os.access`, which these tests replace."""
    monkeypatch.setattr(
        engine.shutil, "which",
        lambda name: next(
            (f"{folder}/{name}" for folder in os.environ["PATH"].split(":")
             if Path(folder, name).exists()), None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ((), ["docker"]),
        (("docker",), ["docker"]),
        (("docker", "sudo"), ["sudo", "docker"]),
        (("podman", "sudo"), ["podman"]),
        (("docker", "podman", "sudo"), ["sudo", "docker"]),
    ],
)
def test_the_words(host, commands, words):
    host(*commands)
    assert engine.words_of_docker() == words
    assert engine.words_of_docker(with_sudo=True) == ["sudo", words[-1]]


def test_another_engine_needs_no_sudo(host, monkeypatch):
    host("docker", "sudo")
    monkeypatch.setenv("DOCKER_HOST", "tcp://other:2376")
    assert engine.words_of_docker() == ["docker"]


def test_root_needs_no_sudo(host, monkeypatch):
    host("docker", "sudo")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert engine.words_of_docker() == ["docker"]


def test_a_socket_that_is_ours_needs_no_sudo(host, monkeypatch):
    host("docker", "sudo")
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    assert engine.words_of_docker() == ["docker"]
