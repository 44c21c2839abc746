"""`compose.local run` with fake services: outcomes, and that nothing is ever left running."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from compose import local
from compose.processes import STOP_SECONDS
from tests.component.compose.conftest import wait_gone


def test_all_well(compose, tmp_path, capsys):
    composition = compose("ok")
    result = composition.result()
    assert result["exit_code"] == 0
    assert result["digests"] == {"sl-1": "ab" * 32, "sl-2": "ab" * 32}
    composition.assert_nothing_left()
    run = tmp_path / "run"
    assert json.loads((run / "results.json").read_text())["failures"] == {}
    assert json.loads((run / "ledger.json").read_text()) == []
    for name in ("license", "sn-1", "sl-1", "sl-2", "ml-1", "ml-2"):
        assert (run / "logs" / f"{name}.log").exists()
    assert not list(run.glob("**/*.channel"))
    assert local.main(["status", "--json", "--run-dir", str(run)]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["state"] == "finished"
    assert {n["kind"] for n in state["nodes"]} == {"LIC", "SN", "SL", "ML"}
    assert all(n["state"] == "exited" and n["exit_code"] == 0 for n in state["nodes"])


def test_status_tells_pid_uid_ports_round_and_leader(compose, tmp_path, capsys):
    composition = compose("hang")
    composition.until_enrolled(2)
    assert local.main(["status", "--json", "--run-dir", str(tmp_path / "run")]) == 0
    nodes = {n["name"]: n for n in json.loads(capsys.readouterr().out)["nodes"]}
    sls = [nodes["sl-1"], nodes["sl-2"]]
    assert [n["leader"] for n in sorted(sls, key=lambda n: n["uid"])] == [True, False]
    for sl in sls:
        assert sl["round"] == 7
        assert len(sl["uid"]) == 32
        assert sl["state"] == "running"
        assert sl["ports"]["fs"] != nodes["sn-1"]["ports"]["api"]
        # the PID is the real one's, not a wrapper's
        command = Path(f"/proc/{sl['pid']}/cmdline").read_bytes().split(b"\0")
        assert command[1].endswith(b"fake_service.py")
        assert command[2] == b"SL"
        assert f"SWARM_NODE_UID={sl['uid']}".encode() in environment_of(sl["pid"])
    assert b"NODE_ID=ml-2" in environment_of(nodes["ml-2"]["pid"])
    assert local.main(["status", "--run-dir", str(tmp_path / "run")]) == 0
    assert re.search(r"^sl-2 +SL +running +\d+ +fs:\d+ +7 ", capsys.readouterr().out, re.MULTILINE)
    assert local.main(["down", "--run-dir", str(tmp_path / "run")]) == 0
    assert composition.result()["exit_code"] == 128 + signal.SIGTERM
    composition.assert_nothing_left()


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def grandchildren(run: Path) -> list[int]:
    return [int((run / "nodes" / f"ml-{i}" / "child").read_text()) for i in (1, 2)]


def scratch_of(composition) -> Path:
    line = next(
        one for one in environment_of(composition.pids["sl-1"]) if one.startswith(b"SL_STORE_DIR=")
    )
    return Path(line.split(b"=", 1)[1].decode()).parent.parent


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_leaves_nothing(compose, tmp_path, sent):
    composition = compose("hang")
    composition.until_enrolled(2)
    scratch = scratch_of(composition)
    assert (scratch / "sl-1" / "request.channel").exists()
    composition.process.send_signal(sent)
    result = composition.result()
    assert result["exit_code"] == 128 + sent
    assert result["reason"] == f"{sent.name} received"
    assert result["failures"] == {}
    composition.assert_nothing_left()
    for pid in grandchildren(tmp_path / "run"):
        wait_gone(pid)
    assert not scratch.exists()


def test_killed_it_leaves_nothing_either(compose, tmp_path, capsys):
    composition = compose("hang")
    composition.until_enrolled(2)
    scratch = scratch_of(composition)
    guard = guard_of(composition.process.pid)
    composition.process.kill()
    composition.process.wait()
    composition.assert_nothing_left()
    for pid in grandchildren(tmp_path / "run"):
        wait_gone(pid)
    wait_gone(guard)
    assert not scratch.exists()
    assert local.main(["status", "--json", "--run-dir", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "killed"


def guard_of(parent: int) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            status = (entry / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"compose/guard.py" in words and f"PPid:\t{parent}\n" in status:
            return int(entry.name)
    raise AssertionError("no guard")


def test_a_stubborn_program_is_killed(compose):
    composition = compose("stubborn")
    composition.until_enrolled(2)
    composition.process.terminate()
    composition.result()
    composition.assert_nothing_left()
    assert STOP_SECONDS < 10


def test_a_second_signal_kills_at_once(compose):
    composition = compose("stubborn")
    composition.until_enrolled(2)
    composition.process.terminate()
    composition.until(lambda status: status["state"] == "stopping")
    composition.process.terminate()
    composition.result()
    composition.assert_nothing_left()


def test_the_swarm_survives_a_crash_but_the_exit_code_tells(compose, tmp_path):
    composition = compose("crash-2", "--min-peers", "1")
    result = composition.result()
    assert result["exit_code"] == 1
    assert result["reason"] == ""
    assert result["failures"]["ml-2"] == "exit code 1: ValueError: the user's own bug"
    assert list(result["digests"]) == ["sl-1"]
    composition.assert_nothing_left()
    assert "the user's own bug" in (tmp_path / "run" / "logs" / "ml-2.log").read_text()


def test_below_min_peers_it_stops_with_words(compose):
    composition = compose("hang", "--min-peers", "2")
    composition.until_enrolled(2)
    os.kill(composition.pids["sl-2"], signal.SIGKILL)
    result = composition.result()
    assert result["exit_code"] == 1
    assert result["failures"]["sl-2"] == "killed by SIGKILL"
    assert "only 1 of 2 nodes are left (failed: 2)" in result["reason"]
    composition.assert_nothing_left()


def test_the_loss_of_the_sn_ends_it(compose):
    composition = compose("hang")
    composition.until_enrolled(2)
    os.kill(composition.pids["sn-1"], signal.SIGKILL)
    result = composition.result()
    assert result["reason"] == "sn-1 ended (killed by SIGKILL)"
    assert result["exit_code"] == 1
    composition.assert_nothing_left()


def test_a_program_that_never_connects_is_a_failure(compose):
    composition = compose("never-connects", "--min-peers", "1")
    result = composition.result()
    assert result["exit_code"] == 1
    assert "without connecting to its SL" in result["failures"]["ml-1"]
    assert result["failures"]["ml-2"] == result["failures"]["ml-1"]
    composition.assert_nothing_left()


def test_different_models_are_said_loudly(compose):
    result = compose("ok", FAKE_DIGEST="own").result()
    assert result["exit_code"] == 1
    assert len(set(result["digests"].values())) == 2


def test_a_service_that_does_not_start(compose):
    composition = compose("hang", FAKE_LICENSE="broken")
    result = composition.result()
    assert result["exit_code"] == 1
    assert result["reason"] == "license ended before it was ready (exit code 1)"
    composition.assert_nothing_left()


def test_told_to_stop_while_starting(compose):
    composition = compose("hang")
    composition.until(lambda status: len(status["nodes"]) >= 3)
    composition.process.terminate()
    assert composition.result()["exit_code"] == 128 + signal.SIGTERM
    composition.assert_nothing_left()


def test_what_cannot_start_leaves_no_trace(compose, tmp_path):
    composition = compose("ok", "--certs", str(tmp_path / "none"))
    error = composition.process.communicate()[1]
    assert composition.process.returncode == 2
    assert f"{tmp_path}/none/swci-1-key.pem: no such file" in error
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    assert compose("ok").result()["exit_code"] == 0


def test_a_second_run_in_the_same_folder_is_refused(compose, tmp_path):
    first = compose("hang")
    first.until_enrolled(2)
    second = compose("ok")
    error = second.process.communicate()[1]
    assert second.process.returncode == 2
    assert f"a swarm is running in {tmp_path / 'run'} (pid {first.process.pid})" in error
    first.process.terminate()
    first.result()
    third = compose("ok")
    error = third.process.communicate()[1]
    assert third.process.returncode == 2
    assert "is not empty" in error
    first.assert_nothing_left()


def test_up_and_down(compose, tmp_path, capsys):
    composition = compose("up", nodes=1)
    state = composition.until(lambda s: [n["state"] for n in s.get("nodes", [])] == ["running"] * 3)
    assert [n["name"] for n in state["nodes"]] == ["license", "sn-1", "sl-1"]
    assert local.main(["down", "--run-dir", str(tmp_path / "run")]) == 0
    assert composition.result()["exit_code"] == 0
    composition.assert_nothing_left()
    assert local.main(["down", "--run-dir", str(tmp_path / "run")]) == 0
    assert "nothing runs in" in capsys.readouterr().out


def test_logs(compose, tmp_path, capsys):
    compose("ok").result()
    run = ["--run-dir", str(tmp_path / "run")]
    assert local.main(["logs", "sl-1", *run]) == 0
    assert capsys.readouterr().out.startswith("Opening pipes")
    assert local.main(["logs", "sl-1", "-f", *run]) == 0  # the run is over: it does not wait
    assert capsys.readouterr().out.startswith("Opening pipes")
    assert local.main(["logs", "sl-9", *run]) == 5
    assert "there are" in capsys.readouterr().err
    assert local.main(["logs", *run]) == 0
    assert "==> ml-2" in capsys.readouterr().out
