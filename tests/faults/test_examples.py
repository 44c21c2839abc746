"""The examples as `make demo` runs them."""

import json
import subprocess
import sys

import pytest

from compose.pairs import kept_logs
from compose.plan import REPOSITORY

pytestmark = pytest.mark.swarm


def run_program(folder, *words):
    """Runs an example to its end; gives the JSON object of its last line, and its ledger."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.run", *words, "--run-dir", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    last = json.loads(done.stdout.splitlines()[-1])
    ledger = json.loads((folder / "ledger.json").read_text())
    assert last["run_dir"] == str(folder)
    assert last["rounds"] == len(ledger)
    assert [r["round"] for r in ledger] == list(range(1, len(ledger) + 1))
    assert (folder / "accuracy.png").stat().st_size > 10_000
    return last, ledger


def run_example(name, folder):
    """The same, started by the composition itself; all hold the model of the ledger."""
    last, ledger = run_program(folder, name)
    finals = set()
    for number in range(1, last["nodes"] + 1):
        result = json.loads((folder / "nodes" / f"sl-{number}" / "result.json").read_text())
        finals.add(result["final_digest"])
        log = (folder / "logs" / f"ml-{number}.log").read_text()
        finals.add(log.split("Final model digest: ")[1].split()[0])
    assert finals == {ledger[-1]["digest"]}  # the programs', the SLs' and the ledger's
    return last, ledger


def test_digits(tmp_path):
    last, ledger = run_example("digits", tmp_path / "run")
    assert last["nodes"] == 5
    assert max(last["local"]) < 0.25
    assert last["swarm"] >= 0.95
    assert last["central"] > last["swarm"] - 0.01
    assert len(ledger[-1]["contributors"]) == 5


def test_digits_by_swops(tmp_path):
    last, ledger = run_program(tmp_path / "run", "digits", "--flow", "swop")
    assert last["nodes"] == 4
    assert max(last["local"]) < 0.4
    assert last["swarm"] >= 0.95
    assert last["central"] > last["swarm"] - 0.01
    logs = [log.read_text() for log in kept_logs(tmp_path / "run")]
    finals = [log.split("Final model digest: ")[1].split()[0] for log in logs if "Final m" in log]
    assert finals == [ledger[-1]["digest"]] * 4


def test_a_flow_that_is_not_there(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.run", "breast-cancer", "--flow", "swop"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--flow swop runs digits" in done.stderr


def test_breast_cancer(tmp_path):
    last, _ = run_example("breast-cancer", tmp_path / "run")
    assert last["nodes"] == 3
    assert last["swarm"] > min(last["local"]) + 0.1
    assert last["swarm"] >= 0.95


def test_digits_with_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setenv("MAX_EPOCHS", "3")  # all of its parts; the accuracy takes more
    last, ledger = run_example("digits-hf", tmp_path / "run")
    assert last["nodes"] == 5
    assert max(last["local"]) < 0.25 < last["swarm"]
    assert len(ledger) == 1 + (3 * 18 - 1) // 3 + 1
    assert len(ledger[-1]["contributors"]) == 5


@pytest.mark.parametrize("name", ["digits-keras", "digits-sklearn"])
def test_digits_in_other_frameworks(name, tmp_path, monkeypatch):
    """A quarter of the demo's epochs: the same swarm, in a quarter of the time."""
    monkeypatch.setenv("MAX_EPOCHS", "5")
    last, ledger = run_example(name, tmp_path / "run")
    assert (last["nodes"], len(ledger)) == (5, 24)  # begin, 22 in 5 x 18 batches, end
    assert max(last["local"]) < 0.25
    assert last["swarm"] >= 0.85
    assert len(ledger[-1]["contributors"]) == 5
