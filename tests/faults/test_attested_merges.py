"""A leader that publishes a poisoned merge, on real processes: exposed and replaced."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.swarm

NODES, BATCHES = 3, 4


def oracle():
    """What `ml_program.py` ends with where every merge is the mean of all models."""
    targets = [np.full((40, 30), float(node), np.float32) for node in range(1, NODES + 1)]
    merged = np.zeros((40, 30), np.float32)
    for _ in range(BATCHES):
        models = [merged + np.float32(0.1) * (target - merged) for target in targets]
        merged = np.mean([model.astype(np.float64) for model in models], axis=0)
        merged = merged.astype(np.float32)
    return float(merged.sum())


def test_a_leader_that_publishes_a_poisoned_merge_is_exposed_and_replaced(swarm, monkeypatch):
    monkeypatch.setenv("SL_MERGE_ATTESTATIONS", "2")
    run = swarm(
        BATCHES, "--min-peers", str(NODES), nodes=NODES, driver="tests.faults.lying_run"
    )  # fmt: skip
    result = run.result()
    assert result["exit_code"] == 0
    ledger = run.ledger()
    assert len(ledger) == BATCHES + 1

    third = ledger[2]
    (exposed,) = third["exposed"]
    liar = exposed["leader"]
    assert (exposed["term"], third["term"]) == (1, 2)
    assert exposed["digest"] != exposed["computed"] == third["digest"]
    assert len(exposed["disputed"]) == 2
    assert [term["reason"] for term in third["leaders"]] == ["quorum", "leader exposed"]
    for record in ledger:
        assert len(record["attested"]) == 2
        assert record["leader"] not in record["attested"]
        assert len(record["contributors"]) == NODES, "the liar's model is as good as any"
    assert liar not in {record["leader"] for record in ledger[2:]}

    (end,) = run.ends()
    total, steps = json.loads(end)
    assert total == pytest.approx(oracle(), rel=1e-6)
    assert steps == BATCHES
    run.assert_nothing_left()
