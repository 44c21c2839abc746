"""TaskRunner: SWOPs listen, quit, are lost and come back."""

import pytest

from tests.solidity.evm import STRANGER, Event, Evm, RevertedError, uid
from tests.solidity.runner import ACTIVE, ALL, COMPLETE, ERROR, PEERS, TARGET, Runner, moves
from tests.solidity.training import register


@pytest.fixture
def runner(evm: Evm) -> Runner:
    return Runner(evm)


@pytest.fixture
def running(runner: Runner) -> Runner:
    """SWOPs 1 and 2 listen, with two pairs each, and run ``swarm`` for three."""
    runner.listen(1, 2, nodes=2)
    runner.assign(PEERS, 3)
    runner.enrol(1, 100, 101)
    runner.enrol(2, 200, 201)
    return runner


# --- listen and quit


def test_a_fresh_taskrunner_is_idle(runner):
    assert runner.summary == {
        "run": 0, "state": 0, "task": "", "taskType": 0, "mode": 0, "needed": 0, "active": 0,
        "completed": 0, "failed": 0,
    }  # fmt: skip
    assert runner.listeners == set()


def test_listening(runner):
    (event,) = runner.listen(1, nodes=4)
    assert event == Event("Listening", {"run": 0, "swop": uid(1), "nodes": 4})
    assert runner.listen(1, nodes=4) == []
    assert moves(runner.listen(1, nodes=0)) == ["Listening"]
    runner.listen(2)
    assert runner.listeners == {uid(1), uid(2)}
    assert runner.contract.view("swopOf", uid(1))["nodeCount"] == 0
    assert runner.swop(1) == {"listening"}
    assert runner.swop(3) == set()


def test_only_nodes_that_are_alive_listen(runner, refuses):
    detail = refuses("unknown-node", runner.listen, 77)
    assert detail == f"node {uid(77).hex()} is not registered, is lost or has left"
    runner.lose(1)
    refuses("unknown-node", runner.listen, 1)
    runner.evm.nodes.call("leave", uid(2), "bye")
    refuses("unknown-node", runner.listen, 2)


def test_a_swop_has_at_most_250_nodes(runner, refuses):
    assert refuses("bad-value", runner.listen, 1, nodes=251) == "at most 250 nodes per SWOP"
    runner.listen(1, nodes=250)


def test_quitting(runner):
    runner.listen(1, 2, 3)
    (event,) = runner.quit(1, "maintenance")
    assert event == Event("Quit", {"run": 0, "swop": uid(1), "reason": "maintenance"})
    assert runner.quit(1) == runner.quit(9) == []
    assert runner.listeners == {uid(2), uid(3)}
    runner.quit(3)
    runner.listen(1)
    assert runner.listeners == {uid(1), uid(2)}
    runner.quit(2)
    runner.quit(1)
    assert runner.listeners == set()


def test_listeners_outlive_a_reset(running):
    running.reset()
    assert running.listeners == {uid(1), uid(2)}
    assert running.swop(1) == {"listening"}


def test_peers_go_on_after_their_swop_quit(running):
    assert moves(running.quit(1)) == ["Quit"]
    assert running.counts == (4, 0, 0, 3)
    assert running.swop(1) == {"enrolled"}
    assert moves(running.report(1, 100, COMPLETE)) == ["Reported"]


# --- lost


def test_only_lost_nodes_are_reaped(running, refuses):
    assert refuses("not-lost", running.reap, 1) == f"node {uid(1).hex()} is alive"


def test_the_active_peers_of_a_lost_swop_failed(running):
    running.report(1, 100, COMPLETE, "done")
    running.lose(1)
    quit_, reported = running.reap(1)
    assert quit_ == Event("Quit", {"run": 1, "swop": uid(1), "reason": "lost"})
    assert reported.args == {
        "run": 1, "swop": uid(1), "peer": uid(101), "state": ERROR, "description": "SWOP lost",
    }  # fmt: skip
    assert running.counts == (2, 1, 1, 3)
    assert (running.peer(100), running.peer(101)) == (COMPLETE, ERROR)
    assert running.swop(1) == {"enrolled"}


def test_reaping_is_about_this_run_only(running):
    running.reset()
    running.lose(1)
    assert moves(running.reap(1)) == ["Quit"]
    assert running.reap(1) == []
    assert running.reap(77) == []


def test_reaping_takes_out_one_that_has_not_enrolled(runner):
    runner.listen(1, 2)
    runner.assign(PEERS, 2)
    runner.lose(1)
    assert moves(runner.reap(1)) == ["Quit"]
    assert runner.listeners == {uid(2)}
    assert runner.state == "ASSIGNED"


def test_reaping_fails_the_peers_of_one_that_quit_before(running):
    running.quit(1)
    running.evm.nodes.call("leave", uid(1), "stopped")
    assert moves(running.reap(1)) == ["Reported", "Reported", "ERROR"]
    assert running.reap(1) == []
    assert running.counts == (2, 0, 2, 3)


def test_a_lost_swop_comes_back(running, refuses):
    running.report(1, 100, ERROR, "exit 1")
    running.lose(1)
    assert moves(running.reap(1)) == ["Quit", "Reported", "ERROR"]
    assert running.contract.view("peerOf", uid(101)) == {"swop": uid(1), "state": 2, "lost": True}
    detail = refuses("not-listening", running.enrol, 1, 100, 101)
    assert detail == f"SWOP {uid(1).hex()} must listen to the taskrunner first"
    register(running.evm, 1)
    assert moves(running.listen(1, nodes=2)) == ["Listening"]
    reported, changed = running.enrol(1, 100, 101)
    assert reported.args == {
        "run": 1, "swop": uid(1), "peer": uid(101), "state": ACTIVE, "description": "SWOP is back",
    }  # fmt: skip
    assert changed.args == {"run": 1, "state": 2}
    assert (running.peer(100), running.peer(101)) == (ERROR, ACTIVE)
    assert running.enrol(1, 100, 101) == []


def test_a_lost_swop_may_just_report(running):
    running.lose(1)
    running.reap(1)
    assert running.state == "ERROR"
    assert moves(running.report(1, 100, COMPLETE)) == ["Reported", "RUNNING"]
    assert moves(running.report(1, 101, ERROR, "SWOP lost")) == ["Reported"]
    assert not running.contract.view("peerOf", uid(101))["lost"]
    assert running.counts == (2, 1, 1, 3)


def test_a_lost_swop_comes_back_after_the_others_completed(running):
    running.report(1, 100, COMPLETE)
    running.lose(1)
    running.reap(1)
    running.report(2, 200, COMPLETE)
    assert moves(running.report(2, 201, COMPLETE)) == ["Reported", "COMPLETE"]
    register(running.evm, 1)
    running.listen(1, nodes=2)
    assert moves(running.enrol(1, 100, 101)) == ["Reported"]
    assert running.counts == (1, 3, 0, 3)


def test_who_is_lost_brings_nothing(runner):
    runner.listen(1, 2, 3)
    runner.assign(ALL)
    runner.enrol(1, 100)
    assert moves(runner.report(1, 100, ERROR)) == ["Reported", "ERROR"]
    runner.reset()
    runner.assign(PEERS, 2)
    runner.enrol(1, 100)
    assert moves(runner.report(1, 100, ERROR)) == ["Reported"], "2 and 3 may come"
    runner.lose(2)
    assert moves(runner.reap(2)) == ["Quit", "ERROR"]
    register(runner.evm, 2)
    assert moves(runner.listen(2)) == ["Listening", "RUNNING"]
    assert moves(runner.quit(3)) == ["Quit", "ERROR"]


def test_a_lost_swop_that_was_not_reaped_yet_brings_nothing(runner):
    runner.listen(1, 2)
    runner.assign(PEERS, 1)
    runner.enrol(1, 100)
    runner.lose(2)
    assert moves(runner.report(1, 100, ERROR)) == ["Reported", "ERROR"]


# --- who may


def test_strangers_change_nothing(runner):
    calls = {
        "listen": (uid(1), 1), "quit": (uid(1), "r"), "reap": (uid(1),),
        "assign": ("swarm", TARGET, 0, uid(1), uid(99)), "enrol": (1, uid(1), [uid(1)]),
        "report": (1, uid(1), uid(1), 0, ""), "reset": (0, "op"), "refused": (uid(1), "c", "d"),
    }  # fmt: skip
    writes = {
        name for name, entry in runner.contract.functions.items()
        if entry["stateMutability"] not in ("view", "pure")
    }  # fmt: skip
    assert set(calls) == writes
    for function, arguments in calls.items():
        with pytest.raises(RevertedError) as caught:
            runner.contract.call(function, *arguments, sender=STRANGER)
        assert caught.value.code == "not-writer"


def test_refusals_are_on_the_ledger(running):
    (event,) = running.contract.call("refused", uid(7), "busy", "wait")
    said = {"run": 1, "by": uid(7), "code": "busy", "detail": "wait"}
    assert event == Event("RunnerRefused", said)
