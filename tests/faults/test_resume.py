"""A pair that was killed is started again and goes on where the others are."""

import json

import pytest

from compose import control
from services.sl import replay

pytestmark = pytest.mark.swarm


def test_a_killed_pair_that_is_restarted_goes_on_and_ends_with_the_same_model(swarm):
    run = swarm(25, "--min-peers", "2", "--quorum-seconds", "2", nodes=3)
    log = run.run_dir / "logs" / "sl-2.log"
    run.until(lambda _: log.exists() and log.read_text().count("installed merged model") >= 3)
    run.kill("sl-2")
    run.kill("ml-2")
    run.until(lambda s: all(n["exit_code"] for n in s["nodes"] if n["name"] in ("sl-2", "ml-2")))
    said = control.ask(run.run_dir, "restart", "sl-2", 60.0)
    assert said.startswith("ml-2 and sl-2 run again")
    result = run.result()
    assert (result["exit_code"], result["failures"]) == (0, {})
    ledger, uid = run.ledger(), run.uid("sl-2")
    mine = [uid in {c["peer"] for c in record["contributors"]} for record in ledger]
    assert mine[-1]
    assert False in mine[mine.index(True) :], "it was there, was missing, and came back"
    assert len(run.ends()) == 1
    results = [json.loads(p.read_text()) for p in run.run_dir.glob("nodes/*/result.json")]
    assert [r["final_digest"] for r in results] == [ledger[-1]["digest"]] * 3
    for index in (1, 2, 3):
        report = replay.check(run.run_dir / "nodes" / f"sl-{index}" / "journal.jsonl")
        assert report.difference is None, report
        assert report.runs == (2 if index == 2 else 1)
