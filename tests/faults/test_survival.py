"""What DESIGN promises about a swarm in which something dies, on real processes."""

import json
import signal

import pytest

pytestmark = pytest.mark.swarm


def digests(swarm):
    """The final digest of each SL that finished."""
    results = [json.loads(p.read_text()) for p in swarm.run_dir.glob("nodes/*/result.json")]
    return {r["final_digest"] for r in results if r.get("outcome") == "completed"}


def test_all_nodes_end_with_the_same_model(swarm):
    run = swarm(8, "--min-peers", "3", nodes=3)
    result = run.result()
    assert result["exit_code"] == 0
    ledger = run.ledger()
    assert len(ledger) == 9  # train begin, seven batch ends, close
    assert all(len(r["contributors"]) == 3 for r in ledger)
    assert len(run.ends()) == 1
    assert digests(run) == {ledger[-1]["digest"]}
    run.assert_nothing_left()


@pytest.mark.parametrize("victim", ["ml", "sl"])
def test_a_killed_node_leaves_the_others_to_finish(swarm, victim):
    run = swarm(25, "--min-peers", "4")
    run.until_round(4)
    run.kill(f"{victim}-2")
    result = run.result()
    assert result["exit_code"] == 1  # a node failed, and says so
    ledger = run.ledger()
    assert len(ledger[-1]["contributors"]) == 4
    assert run.uid("sl-2") not in {c["peer"] for c in ledger[-1]["contributors"]}
    assert len(run.ends()) == 1
    assert digests(run) == {ledger[-1]["digest"]}
    run.assert_nothing_left()


def test_the_killed_leader_of_a_round_is_replaced(swarm):
    run = swarm(30, "--min-peers", "4")
    run.until_round(4)
    name = run.leader(5)
    run.kill(name)
    result = run.result()
    assert result["exit_code"] == 1
    ledger = run.ledger()
    assert len(ledger[-1]["contributors"]) == 4
    assert run.uid(name) not in {c["peer"] for c in ledger[-1]["contributors"]}
    assert len(run.ends()) == 1
    assert digests(run) == {ledger[-1]["digest"]}


def test_a_leader_stopped_for_a_while_comes_back_as_a_normal_peer(swarm):
    run = swarm(40, "--min-peers", "3", nodes=4)
    run.until_round(4)
    name = run.leader(5)
    run.kill(name, signal.SIGSTOP)
    stopped_at = run.last["contract"]["round"]
    run.until_round(stopped_at + 4)
    run.kill(name, signal.SIGCONT)
    result = run.result()
    assert result["exit_code"] == 0
    ledger = run.ledger()
    uid = run.uid(name)
    without = [r for r in ledger if uid not in {c["peer"] for c in r["contributors"]}]
    assert without
    assert uid in {c["peer"] for c in ledger[-1]["contributors"]}
    assert len(run.ends()) == 1


def test_too_few_left_ends_with_a_clear_message(swarm):
    run = swarm(60, "--min-peers", "3", nodes=3)
    run.until_round(4)
    run.kill("ml-1")
    result = run.result()
    assert result["exit_code"] == 1
    assert "every round needs 3" in json.dumps(result)
    run.assert_nothing_left()


def test_the_license_server_may_die(swarm):
    run = swarm(20, "--min-peers", "3", nodes=3)
    run.until_round(4)
    run.kill("license")
    run.result()
    assert len(run.ledger()) == 21
    assert len(run.ends()) == 1


def test_ctrl_c_leaves_nothing_running(swarm):
    run = swarm(500, "--min-peers", "3", nodes=3)
    run.until_round(3)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) != 0
    run.assert_nothing_left()
