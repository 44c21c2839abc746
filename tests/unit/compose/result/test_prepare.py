"""What the containers of compose.yaml find on the host, and what they leave there."""

import fcntl
import json
from pathlib import Path

from compose.result import prepare, services
from compose.result.judge import Program
from compose.result.read import Folder, uid_of
from services.common.ids import NodeKind


def test_who_gets_a_certificate():
    nodes = prepare.nodes(2)
    assert (NodeKind.SL, 2) in nodes
    assert (NodeKind.SWCI, 2) in nodes  # the result service's
    assert len(nodes) == len(set(nodes)) == 1 + 3 + 2 + 2


def test_the_first_sn_is_the_active_context():
    lines = prepare.swci_init().strip().splitlines()
    assert lines[-1] == "SWITCH CONTEXT sn-1"
    assert "CREATE CONTEXT sn-3 WITH IP sn-3" in lines


def test_preparing_again_keeps_certificates_and_results(tmp_path: Path):
    prepare.prepare(tmp_path, 1)
    key = (tmp_path / "identity" / "sl-1" / "key.pem").read_bytes()
    (tmp_path / "results" / "pair-1" / "model.pt").write_text("model")
    prepare.prepare(tmp_path, 1)
    assert (tmp_path / "identity" / "sl-1" / "key.pem").read_bytes() == key
    assert (tmp_path / "results" / "pair-1" / "model.pt").exists()


def test_uids_differ_in_what_logs_show():
    assert len({uid_of(index)[:8] for index in range(1, 100)}) == 99
    assert len(uid_of(1)) == 32


def test_what_a_pair_left(tmp_path: Path):
    own = tmp_path / "pair-1"
    own.mkdir()
    folder = Folder(tmp_path)
    assert folder.pair(1, None).program is None
    (own / "ml.json").write_text(
        json.dumps({"state": "runs", "attempt": 2, "attempts": 3, "reason": "", "digest": ""})
    )
    (own / "sl.json").write_text(json.dumps({"outcome": "left", "reason": "stopped"}))
    (own / "result.json").write_text(
        json.dumps({"holds": "digits 1", "alone": {"accuracy": 0.5}, "swarm": {}})
    )
    with (own / "ml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pair = folder.pair(1, None)
        assert pair.program == Program("runs", 2, 3)
    pair = folder.pair(1, None)
    assert pair.program == Program("runs", 2, 3, alive=False)
    assert (pair.sl_reason, pair.holds, pair.numbers) == ("stopped", "digits 1", {"alone": 0.5})


def test_half_a_file_is_none(tmp_path: Path):
    (tmp_path / "pair-1").mkdir()
    (tmp_path / "pair-1" / "result.json").write_text('{"alone": {"acc')
    assert Folder(tmp_path).pair(1, None).numbers == {}


def test_clearing(tmp_path: Path):
    (tmp_path / "pair-1").mkdir()
    for name in ("ml.json", "model.pt", "ml.lock"):
        (tmp_path / "pair-1" / name).touch()
    (tmp_path / "result.json").touch()
    Folder(tmp_path).clear()
    assert [path.name for path in (tmp_path / "pair-1").iterdir()] == ["ml.lock"]
    assert not (tmp_path / "result.json").exists()


def test_a_service_is_told_lost_once_and_back_once():
    said: list[str] = []
    watched = services.Services(["sn-1:30304"], said.append)
    for answered in (True, False, True, False, False, False, True, True):
        watched.seen("sn-1:30304", answered)
    assert said == [
        "sn-1 does not answer any more (lost): going on without it",
        "sn-1 answers again",
    ]
