"""The ML program's runner: what ended a program, and that it never waits for ever."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.result import ml_program

CLOSED = "127.0.0.1:1"


@pytest.fixture
def sl() -> Iterator[socket.socket]:
    """An SL, as far as the runner looks."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def listening(sl: socket.socket) -> str:
    """Where it listens."""
    return f"127.0.0.1:{sl.getsockname()[1]}"


def start(folder: Path, program: str, sl: str, **more: str) -> "subprocess.Popen[str]":
    (folder / "train.py").write_text(program)
    environment = {
        **os.environ, "ML_SL": sl, "ML_STATE_DIR": str(folder), "ML_SL_PATIENCE": "0.2",
        "SL_REQUEST_CHANNEL": str(folder / "request"), **more,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, ml_program.__file__, str(folder / "train.py"), "one"],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(folder: Path, program: str, sl: str, **more: str) -> tuple[int, str, dict[str, object]]:
    with start(folder, program, sl, **more) as process:
        out, _ = process.communicate(timeout=60)
    return process.returncode, out, json.loads((folder / "ml.json").read_text())


def test_a_program_that_ends_well(tmp_path: Path, listening: str):
    program = "import sys; print('INFO : Final model digest: abc'); print(sys.argv[1:])"
    code, out, state = run(tmp_path, program, listening, ML_ARGUMENTS="--more 'a b'")
    assert code == 0
    assert "['one', '--more', 'a b']" in out
    assert (state["state"], state["digest"], state["attempt"]) == ("done", "abc", 1)


def test_a_program_that_fails_is_started_again_and_given_up(tmp_path: Path, listening: str):
    code, out, state = run(
        tmp_path, "raise SystemExit('no data')", listening, ML_RESTARTS="1"
    )  # fmt: skip
    assert code == 1
    assert out.count("no data\n") >= 2
    assert "giving up: ended with exit code 1: no data" in out
    assert (state["state"], state["attempt"], state["attempts"]) == ("failed", 2, 2)


def test_a_program_that_is_killed_once_and_then_ends_well(tmp_path: Path, listening: str):
    program = (
        "import os, pathlib, signal\n"
        f"mark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
        "if not mark.exists():\n"
        "    mark.touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code, out, state = run(tmp_path, program, listening, ML_RESTARTS="2")
    assert code == 0
    assert "attempt 1 of 3: was killed by SIGKILL" in out
    assert (state["state"], state["attempt"]) == ("done", 2)


def test_an_sl_that_is_gone_is_not_waited_for_for_ever(tmp_path: Path):
    code, out, state = run(tmp_path, "print('began')", CLOSED, ML_RESTARTS="5")
    assert code == 1
    assert "began" not in out
    assert "its SL 127.0.0.1 does not answer" in str(state["reason"])


def test_a_program_that_waits_for_a_dead_sl_is_ended(
    tmp_path: Path, sl: socket.socket, listening: str
):
    """It hangs where the client does: before it has the pipe open."""
    with start(tmp_path, "print('hangs'); import time; time.sleep(999)", listening) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        sl.close()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "giving up: its SL 127.0.0.1 does not answer" in out


def test_told_to_stop(tmp_path: Path, listening: str):
    with start(tmp_path, "print('up'); import time; time.sleep(999)", listening) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads((tmp_path / "ml.json").read_text())["state"] == "stopped"
