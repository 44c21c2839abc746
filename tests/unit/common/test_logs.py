"""Log lines: one message, one line, whatever others put into it (FAULTS S8)."""

import logging

from services.common import logs


def test_nobody_writes_log_lines_for_others(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    level = logging.getLogger().level
    try:
        logs.configure("INFO")
        name = "sl1\n2026-11-23 10:00:00,123 : swarm.SN : INFO : all is well\x1b[2J\u2028\x9b1m ä"
        logging.getLogger("swarm.test").info("registered %s", name)
    finally:
        logging.getLogger().setLevel(level)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert r"registered sl1\n2026" in said
    assert r"well\x1b[2J\u2028\x9b1m ä" in said
