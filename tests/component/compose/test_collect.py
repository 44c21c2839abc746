"""`collect-logs --run-dir` on what a real composition leaves (its services are fakes)."""

import json
import tarfile

from compose.operate import collect


def test_a_run_goes_in_without_its_keys(compose, tmp_path, capsys):
    composition = compose("ok")
    assert composition.result()["exit_code"] == 0
    run = tmp_path / "run"
    keys = list(run.rglob("*-key.pem"))
    assert keys
    assert collect.main(["--run-dir", str(run), "--output", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("swarm_logs_*.tar.gz")
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.isfile()]
        content = {m.name.partition("/")[2]: archive.extractfile(m).read() for m in members}
    everything = b"\0".join(content.values())
    for key in keys:
        lines = [line for line in key.read_bytes().splitlines()[1:-1] if len(line) > 8]
        assert not any(line in everything for line in lines), key
    assert len(json.loads(content["run/ledger.json"])) == 7
    assert {"run/state.json", "run/results.json", "run/logs/sl-1.log"} <= set(content)
    assert not any(name.endswith(".pem") for name in content)
    summary = content["summary.txt"].decode()
    for node in ("license", "sn-1", "sl-1", "ml-2"):
        assert f"\n{node} " in summary
    assert "== what failed, and why\nnothing\n" in summary, summary
    assert "could not be had\nnothing" in summary, summary
