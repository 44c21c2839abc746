"""`compose.local run` with fake services: outcomes, and that nothing is ever left running."""

import asyncio
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compose import local, session
from compose.output import TextOutput
from compose.plan import REPOSITORY, Request
from compose.processes import STOP_SECONDS
from services.common.errors import ConfigError, SwarmError
from tests.component.compose.conftest import wait_gone


def test_all_well(compose, tmp_path, capsys):
    composition = compose("ok")
    result = composition.result()
    assert result["exit_code"] == 0
    assert result["digests"] == {"sl-1": "ab" * 32, "sl-2": "ab" * 32}
    composition.assert_nothing_left()
    run = tmp_path / "run"
    assert json.loads((run / "results.json").read_text())["failures"] == {}
    assert len(json.loads((run / "ledger.json").read_text())) == result["rounds"] == 7
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
    table = capsys.readouterr().out
    assert re.search(r"^sl-2 +SL +running +\d+ +fs:\d+ +7 ", table, re.MULTILINE)
    assert re.search(r"^sn-1 +SN sentinel +running ", table, re.MULTILINE)
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


def test_the_loss_of_the_sn_ends_it(compose, tmp_path):
    composition = compose("hang")
    composition.until_enrolled(2)
    os.kill(composition.pids["sn-1"], signal.SIGKILL)
    result = composition.result()
    assert result["reason"] == "sn-1 ended (killed by SIGKILL)"
    assert result["exit_code"] == 1
    assert result["rounds"] == 6  # as the last view said
    chain = tmp_path / "run" / "nodes" / "sn-1" / "chain"
    assert result["ledger"] == f"ledger not fetched: sn-1 is gone; its chain is in {chain}"
    assert not (tmp_path / "run" / "ledger.json").exists()
    composition.assert_nothing_left()


def test_programs_that_train_in_another_contract_are_told(compose):
    composition = compose("hang", "--contract", "mine")
    result = composition.result()
    assert result["exit_code"] == 1
    assert (
        "train in the contract defaultbb.cqdb.sml.hpe, not in --contract mine" in result["reason"]
    )
    assert "trainingContract='mine'" in result["reason"]
    composition.assert_nothing_left()


def test_an_empty_ledger_of_a_training_that_took_place_is_a_failure(compose):
    result = compose("ok", FAKE_CONTRACT="of nobody that the SN lists").result()
    assert result["exit_code"] == 1
    assert "the programs train in another contract" in result["reason"]


def test_the_contract_says_how_many_a_round_needs_not_the_option(compose):
    composition = compose("hang", "--min-peers", "1", FAKE_MIN_PEERS="2")
    composition.until_enrolled(2)
    os.kill(composition.pids["ml-2"], signal.SIGKILL)
    result = composition.result()
    assert "every round needs 2 (minPeers)" in result["reason"]
    composition.assert_nothing_left()


def test_more_min_peers_than_nodes_stop_it_at_once(compose):
    result = compose("hang", FAKE_MIN_PEERS="3").result()
    assert "the programs ask for minPeers=3, but --nodes is 2" in result["reason"]


def test_a_program_that_ends_within_the_training_is_named(compose):
    result = compose("no-train-end", "--min-peers", "1").result()
    assert result["exit_code"] == 1
    words = "ended (exit code 0) without calling on_train_end()"
    for index in "12":
        assert result["failures"][f"ml-{index}"] == words
        assert "closed its pipe" in result["failures"][f"sl-{index}"]
    order = list(result["failures"])
    assert order.index("ml-1") < order.index("sl-1")


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
    words = "the fake is told to break"
    assert result["reason"] == f"license ended before it was ready (exit code 1): {words}"
    assert result["failures"]["license"] == f"exit code 1: {words}"
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
    assert not (tmp_path / "run").exists()
    assert compose("ok").result()["exit_code"] == 0


@pytest.mark.parametrize("name", ["lic-1", "sn-1", "sl-2"])
def test_bad_certificates_are_refused_before_anything_starts(compose, tmp_path, name):
    session.make_certificates(tmp_path / "certs", 2)
    for what in ("key", "cert"):
        good = tmp_path / "certs" / f"{name}-{what}.pem"
        shutil.copy(tmp_path / "certs" / f"swop-1-{what}.pem", good)
    composition = compose("ok", "--certs", str(tmp_path / "certs"))
    error = composition.process.communicate()[1]
    assert composition.process.returncode == 2
    assert f"{name}-cert.pem is a certificate of role SWOP" in error
    assert not (tmp_path / "run").exists()


def test_a_certificate_that_the_others_do_not_trust_is_refused(tmp_path):
    session.make_certificates(tmp_path, 2)
    session.check_certificates(tmp_path, 2)
    (tmp_path / "ca" / "capath" / "ca-2-cert.pem").unlink()
    with pytest.raises(ConfigError, match=r"sl-2-cert.pem: not trusted"):
        session.check_certificates(tmp_path, 2)


def test_start_up_that_fails_leaves_no_scratch_folder(tmp_path, monkeypatch):
    made = []

    def make_scratch(run, run_id):
        made.append(tmp_path / "scratch")
        made[0].mkdir()
        return made[0]

    def no_guard(*_arguments):
        raise OSError(11, "no more processes")

    monkeypatch.setattr(session.run_folder, "make_scratch", make_scratch)
    monkeypatch.setattr(session, "Swarm", no_guard)
    monkeypatch.setattr(session, "_log_to", lambda _: None)
    options = session.Options(Request(1, 1, ("true",)), tmp_path / "run")
    with pytest.raises(SwarmError, match="no more processes"):
        asyncio.run(session.run_session(options, TextOutput(io.StringIO())))
    assert made
    assert not made[0].exists()
    assert not (tmp_path / "run").exists()


def test_a_forgotten_double_dash_is_named(capsys):
    with pytest.raises(SystemExit) as caught:
        local.main(["run", "--nodes", "2", "python", "train.py"])
    assert caught.value.code == 2
    assert "put -- before the program" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        local.main(["run", "-h"])
    assert local.EXAMPLE.split("-- ")[1] in capsys.readouterr().out


def test_ctrl_c_while_importing_leaves_no_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'compose.session':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "compose.local", "status"], capture_output=True, check=False,
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"")


def test_min_peers_0_is_refused(capsys):
    assert local.main(["run", "--min-peers", "0", "--", "true"]) == 2
    assert "--min-peers 0: must be from 1" in capsys.readouterr().err


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
    assert local.main(["logs", "--run-dir", str(tmp_path)]) == 5
    assert "is no run folder" in capsys.readouterr().err
    assert local.main(["logs", *run]) == 0
    assert "==> ml-2" in capsys.readouterr().out
