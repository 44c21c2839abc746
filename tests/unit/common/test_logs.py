"""Log lines: one message, one line, whatever others put into it (FAULTS S8)."""

import logging

import pytest

from services.common import logs


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    """Leave the root logger as it was."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    yield
    for handler in root.handlers:
        handler.close()
    root.setLevel(level)


def test_nobody_writes_log_lines_for_others(capsys):
    logs.configure("INFO")
    name = "sl1\n2026-11-23 10:00:00,123 : swarm.SN : INFO : all is well\x1b[2J\u2028\x9b1m ä"
    logging.getLogger("swarm.test").info("registered %s", name)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert r"registered sl1\n2026" in said
    assert r"well\x1b[2J\u2028\x9b1m ä" in said


def test_a_copy_of_the_log_in_a_folder(tmp_path, capsys):
    file = tmp_path / "logs" / "sn.log"
    logs.configure("INFO", file)
    logging.getLogger("swarm.SN").info("hello")
    said = capsys.readouterr().out
    assert said.endswith(" : swarm.SN : INFO : hello\n")
    assert file.read_text() == said


def test_a_folder_that_cannot_be_used_is_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    logs.configure("INFO", tmp_path / "file" / "sn.log")
    assert "WARNING : no copy of the log in LOGS_DIR" in capsys.readouterr().out


@pytest.mark.parametrize(("level", "number"), [("debug", 10), ("30", 30), ("LOUD", 20)])
def test_levels(level: str, number: int, capsys):
    logs.configure(level)
    assert logging.getLogger().level == number
    assert ("none of DEBUG" in capsys.readouterr().out) == (level == "LOUD")
