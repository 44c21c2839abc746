"""Our client, a 2.3 one and a 2.2 one train one model in one swarm of real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compose.plan import REPOSITORY
from tests.foreign.model import Digits
from tests.foreign.train import digits

PROGRAM = """
case {index} in
1) exec python -m tests.foreign.mixed {index} {node_dir};;
2) exec python -m tests.foreign.train --api 2.3 --batches 26 $0;;
3) exec python -m tests.foreign.train --api 2.2 --batches 12 $0;;
esac
"""
OPTIONS = "--index {index} --nodes 3 --min-peers {min_peers} --out {node_dir}"


@pytest.mark.swarm
def test_three_clients_end_with_one_model(tmp_path):
    tmp_before = Path("/tmp/hpe-swarm").exists()
    run = tmp_path / "run"
    script = PROGRAM.replace("$0", OPTIONS)
    done = subprocess.run(
        [sys.executable, "-m", "compose.local", "run", "--foreign-client", "--nodes", "3",
         "--run-dir", str(run), "--json", "--", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    logs = "\n".join(path.read_text()[-3000:] for path in run.glob("logs/ml-*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    ledger = json.loads((run / "ledger.json").read_text())
    results = [json.loads(path.read_text()) for path in run.glob("nodes/sl-*/result.json")]
    assert {result["final_digest"] for result in results} == {ledger[-1]["digest"]}
    assert len(results) == len(ledger[-1]["contributors"]) == 3
    ours = np.load(run / "nodes/ml-1/state.npz")
    theirs = {
        (index, file): np.load(run / f"nodes/ml-{index}/{file}.npz")
        for index in (2, 3)
        for file in ("merged", "state")
    }
    for (_, file), found in theirs.items():
        assert set(found) == set(ours)
        for name in ours:
            expected = ours[name]
            if file == "merged":  # as it came: 0-d entries are floats
                expected = expected if expected.ndim else expected.astype(np.float64)
            elif name == "scale":  # torch.Tensor() makes float32 of it
                expected = expected.astype(np.float32).astype(np.float64)
            assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
            assert found[name].tobytes() == expected.tobytes(), (file, name)
    model = Digits(*digits(1, 1), 0)
    model.load({name: np.asarray(a) for name, a in theirs[2, "merged"].items()})
    assert model.evaluate()[1] > 0.8
    assert Path("/tmp/hpe-swarm").exists() == tmp_before
