"""``python -m tests.matrix`` says what it did not try."""

import sys
from pathlib import Path

import pytest

from tests.matrix import __main__ as matrix

HERE = matrix.Combination(f"{sys.version_info[0]}.{sys.version_info[1]}", "1", "2")
NOWHERE = matrix.Combination("3.99", "1", "2")


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(matrix, "CACHE", tmp_path)
    monkeypatch.setattr(matrix, "build", lambda: Path("wheel"))


@pytest.mark.parametrize(
    ("combinations", "arguments", "code", "counts"),
    [
        ([HERE], [], 0, "1 ok, 0 failed, 0 not tested"),
        ([HERE, NOWHERE], [], 0, "1 ok, 0 failed, 1 not tested"),
        ([HERE, NOWHERE], ["--require-all"], 1, "1 ok, 0 failed, 1 not tested"),
        ([NOWHERE], [], 1, "0 ok, 0 failed, 1 not tested"),
    ],
    ids=["all there", "one missing", "one missing but required", "none there"],
)
def test_a_missing_python_is_named(combinations, arguments, code, counts, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "MATRIX", combinations)
    monkeypatch.setattr(matrix, "tried", lambda each, *_: (True, f"ok {each.name}"))
    assert matrix.main(arguments) == code
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == f"matrix: {counts}"
    missing = "NOT TESTED  python 3.99, protobuf 1, numpy 2: no Python 3.99 on PATH"
    assert (missing in output) == (NOWHERE in combinations)


def test_checks_that_fail_are_shown(monkeypatch, tmp_path, capsys):
    (tmp_path / "checks.py").write_text("assert False, 'this numpy is too old'")
    monkeypatch.setattr(matrix, "CHECKS", tmp_path / "checks.py")
    monkeypatch.setattr(matrix, "MATRIX", [HERE])
    monkeypatch.setattr(matrix, "environment", lambda *_: Path(sys.executable))
    monkeypatch.setattr(matrix, "pip", lambda *_: None)
    assert matrix.main([]) == 1
    output = capsys.readouterr().out
    assert f"FAILED  {HERE.name}" in output
    assert "AssertionError: this numpy is too old" in output
