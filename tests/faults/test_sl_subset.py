"""F17: fewer nodes take part than were asked for; that is never silently a success."""

import sys

import pytest

from tests.faults.conftest import PROGRAM

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]


def test_three_of_four_came_is_no_success_although_all_programs_ended_well(swarm):
    program = f'test "$0" = 4 && exit 0; exec {sys.executable} {PROGRAM} $0 3'
    run = swarm(0, "--min-peers", "3", nodes=4, program=("sh", "-c", program, "{index}"))
    result = run.result()
    assert result["exit_code"] == 1
    assert set(result["failures"]) == {"ml-4"}
    assert "ended without connecting to its SL" in result["failures"]["ml-4"]
    assert set(result["digests"]) == {"sl-1", "sl-2", "sl-3"}
    assert len(run.ends()) == 1, "the three that came have one model"
    ledger = run.ledger()
    assert all(len(r["contributors"]) == 3 for r in ledger)
    assert {r["digest"] for r in ledger[-1:]} == set(result["digests"].values())
    run.assert_nothing_left()
