"""A training on three SNs, on real processes: SNs die, hang and return, and it goes on."""

import signal
import subprocess
import sys
from itertools import pairwise

import pytest

from compose.plan import REPOSITORY

pytestmark = pytest.mark.swarm

OPTIONS = ("--sns", "3", "--min-peers", "4", "--quorum-seconds", "60")
"""Every round needs all four, so that an SL which lost its SN for good would stop the training."""


NOTICED = 25
"""Seconds in which an SL notices that its SN hangs; a write or a long poll there takes longer."""


def states(status):
    return {n["name"]: n["state"] for n in status.get("nodes", []) if isinstance(n, dict)}


def begin(run, *words):
    """`compose.local WORDS`; until it ends the composition must be read."""
    return subprocess.Popen(
        [sys.executable, "-m", "compose.local", *words, "--run-dir", str(run.run_dir)],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def end(command):
    said, _ = command.communicate(timeout=60)
    assert command.returncode == 0, said
    return said


def tell(run, verb, node, state):
    command = begin(run, verb, node)
    run.until(lambda s: states(s)[node] == state)
    end(command)


def goes_on(run, rounds=4):
    """Wait for some more rounds than there are now."""
    run.until_round(run.last["contract"]["round"] + rounds)


def check_end(run, batches):
    result = run.result()
    assert result["exit_code"] == 0, result
    ledger = run.ledger()
    assert len(ledger) == batches + 1  # begin, batch ends, close
    assert all(len(r["contributors"]) == 4 for r in ledger)
    assert {r["digest"] for r in ledger[-1:]} == set(result["digests"].values())
    assert len(result["digests"]) == 4
    assert len(run.ends()) == 1
    run.assert_nothing_left()


def test_the_sentinel_is_killed_and_brought_back_then_another_is_killed(swarm):
    run = swarm(45, *OPTIONS, nodes=4)
    run.until_round(4)
    tell(run, "kill", "sn-1", "exited")
    goes_on(run)
    assert run.last["chain"] == ""
    tell(run, "restart", "sn-1", "running")
    audit = begin(run, "history")
    goes_on(run)
    assert "the same on 3 SNs" in end(audit)
    tell(run, "kill", "sn-2", "exited")
    goes_on(run)
    check_end(run, 45)


def test_an_sn_that_hangs_is_left_by_its_sls(swarm):
    run = swarm(30, *OPTIONS, nodes=4)
    run.until_round(4)
    run.kill("sn-2", signal.SIGSTOP)  # of sl-2; every round needs sl-2
    goes_on(run)
    run.kill("sn-2", signal.SIGCONT)
    check_end(run, 30)
    times = [record["time"] for record in run.ledger()]
    assert max(after - before for before, after in pairwise(times)) < NOTICED


def test_without_a_majority_the_training_waits_for_a_return(swarm):
    run = swarm(25, *OPTIONS, nodes=4)
    run.until_round(4)
    tell(run, "kill", "sn-1", "exited")
    tell(run, "kill", "sn-3", "exited")
    run.until(lambda s: "1 of 3 SNs run" in s["chain"])
    tell(run, "restart", "sn-3", "running")
    goes_on(run)
    assert run.last["chain"] == ""
    check_end(run, 25)
