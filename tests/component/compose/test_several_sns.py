"""`compose.local` with several SNs, all of them fakes: losses, returns, and who is told what."""

import json
import os
import signal
from pathlib import Path

import pytest

from compose import local
from tests.component.compose.conftest import wait_gone

THREE = ("--sns", "3")


def nodes_of(status):
    return {node["name"]: node for node in status.get("nodes", []) if isinstance(node, dict)}


def exited(*names):
    return lambda s: all(nodes_of(s)[name]["state"] == "exited" for name in names)


def running(*names):
    return lambda s: all(nodes_of(s)[name]["state"] == "running" for name in names)


def kill(composition, *names):
    for name in names:
        os.kill(composition.pids[name], signal.SIGKILL)


def end(composition):
    composition.process.terminate()
    return composition.result()


@pytest.fixture
def tell(tmp_path, capsys):
    """Runs `compose.local VERB NODE` against the run; its exit code and what it said."""

    def run(*words, folder="run"):
        capsys.readouterr()
        code = local.main([*words, "--run-dir", str(tmp_path / folder)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_all_well(compose, tmp_path, tell):
    composition = compose("ok", *THREE, nodes=4)
    result = composition.result()
    assert result["exit_code"] == 0
    assert len(result["digests"]) == 4
    composition.assert_nothing_left()
    _, said = tell("status", "--json")
    state = json.loads(said)
    sns = [node for node in state["nodes"] if node["kind"] == "SN"]
    assert [(n["name"], n["sentinel"]) for n in sns] == [
        ("sn-1", True), ("sn-2", False), ("sn-3", False),
    ]  # fmt: skip
    assert state["sn_apis"] == [n["ports"]["api"] for n in sns]
    assert state["sn_api"] == state["sn_apis"][0]
    assert len({n["uid"] for n in sns}) == 3
    names = {path.name for path in (tmp_path / "run" / "certs").glob("sn-*-cert.pem")}
    assert names == {"sn-1-cert.pem", "sn-2-cert.pem", "sn-3-cert.pem"}
    assert not (tmp_path / "run" / "control").exists()


def test_the_loss_of_one_ends_nothing_but_is_a_failure(compose, tell):
    composition = compose("hang", *THREE)
    composition.until_enrolled(2)
    kill(composition, "sn-1")
    state = composition.until(exited("sn-1"))
    assert nodes_of(state)["sn-1"]["exit_code"] == -signal.SIGKILL
    assert "sn-1  " in tell("status")[1]
    result = end(composition)
    assert result["failures"] == {"sn-1": "killed by SIGKILL"}
    assert result["reason"] == "SIGTERM received"
    assert (result["ledger"], result["rounds"]) == ("", 7)  # another SN had it
    composition.assert_nothing_left()


def test_without_a_majority_it_waits_and_then_says_why_it_stops(compose):
    composition = compose("hang", *THREE, "--wait-for-sns", "1.5")
    composition.until_enrolled(2)
    kill(composition, "sn-2", "sn-3")
    words = "the chain waits: 1 of 3 SNs run and it needs 2"
    composition.until(lambda s: s["chain"] == words)
    result = composition.result()
    assert result["exit_code"] == 1
    assert result["reason"] == (
        f"{words}, and none returned in 2 s; sn-2 ended (killed by SIGKILL); "
        "sn-3 ended (killed by SIGKILL)"
    )
    composition.assert_nothing_left()


def test_killed_and_brought_back_is_no_failure(compose, tell):
    composition = compose("hang", *THREE)
    composition.until_enrolled(2)
    before = dict(composition.pids)
    assert tell("kill", "sn-1") == (0, f"sn-1 (pid {before['sn-1']}) killed by SIGKILL\n")
    assert tell("kill", "sn-2")[0] == 0
    composition.until(lambda s: "1 of 3" in s["chain"])
    assert "the chain waits: 1 of 3 SNs run" in tell("status")[1]
    code, said = tell("restart", "sn-1")
    assert code == 0
    assert said.startswith("sn-1 runs again (pid ")
    state = composition.until(lambda s: running("sn-1")(s) and not s["chain"])
    node = nodes_of(state)["sn-1"]
    assert (node["restarts"], node["stopped"]) == (1, "")
    assert node["pid"] != before["sn-1"]
    result = end(composition)
    assert result["failures"] == {}
    composition.assert_nothing_left()
    for pid in before.values():
        wait_gone(pid)


def test_an_sn_that_runs_is_restarted_without_ending_the_run(compose, tell):
    composition = compose("hang")
    composition.until_enrolled(2)
    before = composition.pids["sn-1"]
    assert tell("restart", "sn-1")[0] == 0
    state = composition.until(lambda s: nodes_of(s)["sn-1"]["restarts"] == 1 and running("sn-1")(s))
    assert nodes_of(state)["sn-1"]["pid"] != before
    assert state["state"] == "running"
    assert end(composition)["failures"] == {}


def test_one_that_does_not_start_again_says_why(compose, tmp_path, tell):
    breaks = tmp_path / "breaks"
    composition = compose("hang", *THREE, FAKE_SN_BREAKS=str(breaks))
    composition.until_enrolled(2)
    breaks.write_text("its disk is full")
    assert tell("kill", "sn-3")[0] == 0
    words = "sn-3 ended before it was ready (exit code 1): its disk is full"
    assert tell("restart", "sn-3") == (3, f"error: {words}\n")
    breaks.unlink()
    assert tell("restart", "sn-3")[0] == 0
    assert end(composition)["failures"] == {}


def test_what_cannot_be_told(compose, tell):
    composition = compose("hang", *THREE)
    composition.until_enrolled(2)
    code, said = tell("kill", "sn-9")
    assert code == 5
    assert "no node 'sn-9' in this run; there are ml-1, ml-2, license, sn-1" in said
    assert tell("kill", "sn-2")[0] == 0
    assert tell("kill", "sn-2") == (2, "error: sn-2 does not run (killed by SIGKILL)\n")
    composition.process.kill()
    composition.process.wait()
    code, said = tell("restart", "sn-2")
    assert code == 5
    assert "takes commands: Connection refused" in said


def test_nobody_else_may_command_and_long_paths_do(compose, tmp_path, tell):
    folder = Path("x" * 60, "y" * 60)
    composition = compose("hang", "--run-dir", str(tmp_path / folder))
    composition.until_enrolled(2)
    assert (tmp_path / folder / "control").stat().st_mode & 0o777 == 0o600
    assert tell("kill", "ml-2", folder=folder)[0] == 0
    composition.until(exited("ml-2"))
    end(composition)


def test_the_license_server_of_an_idle_swarm_comes_back(compose, tmp_path, tell):
    waits = tmp_path / "waits"
    waits.touch()
    composition = compose("up", *THREE, nodes=0, FAKE_SN_WAITS=str(waits))
    composition.until(lambda s: "sn-1" in nodes_of(s))
    assert tell("restart", "sn-1") == (2, "error: sn-1 is starting already\n")
    waits.unlink()
    composition.until(lambda s: len(s["nodes"]) == 4 and running("license", "sn-3")(s))
    assert tell("restart", "license")[0] == 0
    assert tell("kill", "sn-2")[0] == 0
    composition.until(exited("sn-2"))
    assert tell("down")[0] == 0
    assert composition.result()["exit_code"] == 0
    composition.assert_nothing_left()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sns", "0"), "--sns 0: must be from 1 to 16"),
        (("--sns", "3", "--sn-api-port", "5000"), "1 --sn-api-port for 3 SNs"),
        (("--wait-for-sns", "-1"), "--wait-for-sns -1.0: must be a finite number from 0"),
    ],
)
def test_wrong_options_are_refused(tmp_path, capsys, options, words):
    folder = ("--run-dir", str(tmp_path / "run"))
    assert local.main(["run", *options, *folder, "--", "true"]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
