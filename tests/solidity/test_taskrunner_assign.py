"""TaskRunner: an operator assigns tasks, lets SWOPs join or try again, and resets."""

import pytest

from tests.solidity.evm import Event, Evm, uid
from tests.solidity.runner import ALL, COMPLETE, ERROR, NOBODY, PEERS, TARGET, Runner, moves
from tests.solidity.training import register


@pytest.fixture
def runner(evm: Evm) -> Runner:
    return Runner(evm)


@pytest.fixture
def three(runner: Runner) -> Runner:
    """SWOPs 1 to 3 listen, with as many pairs as their number."""
    for swop in (1, 2, 3):
        runner.listen(swop, nodes=swop)
    return runner


# --- what begins a run


def test_assigning_leaves_idle_at_once(runner):
    assigned, changed = runner.assign(PEERS, 2, request=uid(50))
    assert assigned == Event(
        "Assigned",
        {
            "run": 1, "task": "swarm", "taskType": 1, "mode": PEERS, "needed": 2,
            "target": NOBODY, "request": uid(50),
        },
    )  # fmt: skip
    assert changed == Event("StateChanged", {"run": 1, "state": 1})
    assert runner.summary == {
        "run": 1, "state": 1, "task": "swarm", "taskType": 1, "mode": PEERS, "needed": 2,
        "active": 0, "completed": 0, "failed": 0,
    }  # fmt: skip


def test_only_a_target_is_named(three):
    assigned, _ = three.assign(PEERS, 2, target=uid(1))
    assert assigned.args["target"] == NOBODY
    assert three.swop(1) == {"listening"}


@pytest.mark.parametrize("task, needed", [("swarm", 6), ("build", 3)])
def test_all_are_those_that_listen(three, task, needed):
    three.assign(ALL, task=task)
    assert three.counts == (0, 0, 0, needed)


@pytest.mark.parametrize("task, needed", [("swarm", 4), ("build", 2)])
def test_all_are_those_that_are_alive(three, task, needed):
    three.lose(2)
    three.assign(ALL, task=task)
    assert three.counts == (0, 0, 0, needed)


@pytest.mark.parametrize("task, needed", [("swarm", 3), ("build", 1)])
def test_a_target_alone(three, task, needed):
    assigned, _ = three.assign(TARGET, 3, task=task)
    assert assigned.args["target"] == uid(3)
    assert three.counts == (0, 0, 0, needed)
    assert three.swop(3) == {"listening", "target"}
    assert three.swop(2) == {"listening"}


def test_tasks_that_cannot_be_assigned(three, refuses):
    three.tasks.create("open")
    three.tasks.append("open", 1, "x")
    for mode, number in ((PEERS, 1), (ALL, 0), (TARGET, 1)):
        assert refuses("unknown-task", three.assign, mode, number, task="x") == "there is no task x"
        detail = refuses("not-final", three.assign, mode, number, task="open")
        assert detail == "finalize the task first: open"
        detail = refuses("bad-value", three.assign, mode, number, task="ROOTTASK")
        assert detail == "nothing to run in ROOTTASK"
    assert (three.state, three.run) == ("IDLE", 0)


def test_assignments_that_make_no_sense(three, refuses):
    refuses("bad-value", three.assign, PEERS, 0)
    assert refuses("bad-value", three.assign, 3) == "no such mode: 3"
    refuses("bad-value", three.assign, PEERS, 1, request=bytes(16))


def test_nobody_to_assign_to(runner, refuses):
    refuses("no-swop", runner.assign, ALL)
    runner.listen(1, nodes=0)
    refuses("no-swop", runner.assign, ALL)
    detail = refuses("no-swop", runner.assign, TARGET, 1)
    assert detail == f"SWOP {uid(1).hex()} has no nodes in its profile"
    runner.assign(ALL, task="build")
    runner.reset()
    runner.lose(1)
    refuses("no-swop", runner.assign, ALL, task="build")
    detail = refuses("no-swop", runner.assign, TARGET, 1, task="build")
    assert detail == f"SWOP {uid(1).hex()} is lost or has left"
    detail = refuses("no-swop", runner.assign, TARGET, 2)
    assert detail == f"SWOP {uid(2).hex()} does not listen to the taskrunner"


def test_a_busy_taskrunner_says_what_to_do(three, refuses):
    three.assign(PEERS, 1)
    for mode, number in ((PEERS, 1), (ALL, 0)):
        detail = refuses("busy", three.assign, mode, number)
        assert detail == (
            "task swarm is ASSIGNED: use RESET TASKRUNNER before assigning another one"
        )
    refuses("busy", three.assign, TARGET, 1, task="swarm2")
    refuses("busy", three.assign, TARGET, 1, task="nothing")


def test_after_the_end_only_reset_helps(three, refuses):
    three.assign(PEERS, 1)
    three.enrol(1, 100)
    three.report(1, 100, COMPLETE)
    for mode in (PEERS, ALL, TARGET):
        assert "is COMPLETE" in refuses("busy", three.assign, mode, 1)
    three.reset()
    assert moves(three.assign(PEERS, 1)) == ["Assigned", "ASSIGNED"]
    assert three.run == 2


def test_after_an_error_a_target_may_help(three, refuses):
    three.assign(TARGET, 1)
    three.enrol(1, 100)
    three.report(1, 100, ERROR)
    assert three.state == "ERROR"
    assert "is ERROR" in refuses("busy", three.assign, PEERS, 1)
    refuses("busy", three.assign, ALL)
    assert moves(three.assign(TARGET, 2)) == ["Targeted"], "3 needed, 2 can come"
    assert three.state == "ERROR"
    assert moves(three.assign(TARGET, 1)) == ["Targeted", "RUNNING"], "before it enrols"


# --- requests


def test_repeating_an_assignment_is_harmless_until_the_reset(three, refuses):
    three.assign(TARGET, 1, request=uid(50))
    assert three.assign(TARGET, 1, request=uid(50)) == []
    three.assign(TARGET, 2, request=uid(51))
    assert three.assign(TARGET, 1, request=uid(50)) == []
    assert three.assign(TARGET, 2, request=uid(51)) == []
    three.enrol(1, 100)
    three.enrol(2, 200, 201)
    for swop, peer in ((1, 100), (2, 200), (2, 201)):
        three.report(swop, peer, COMPLETE)
    assert three.state == "COMPLETE"
    assert three.assign(TARGET, 1, request=uid(50)) == []
    three.reset()
    detail = refuses("stale-request", three.assign, TARGET, 1, request=uid(50))
    assert detail == "it was carried out already, in run 1"
    three.assign(TARGET, 1)
    refuses("stale-request", three.assign, TARGET, 1, request=uid(50))
    assert three.run == 2


@pytest.mark.parametrize("other", [{"task": "build"}, {"peers": 2}, {"mode": ALL}])
def test_a_request_is_for_one_call_only(three, refuses, other):
    three.assign(PEERS, 1, request=uid(50))
    refuses("stale-request", three.assign, PEERS, 1, **{"request": uid(50), **other})


def test_a_refused_assignment_does_not_use_up_its_request(runner, refuses):
    refuses("no-swop", runner.assign, TARGET, 1, request=uid(50))
    runner.listen(1)
    assert moves(runner.assign(TARGET, 1, request=uid(50))) == ["Assigned", "ASSIGNED"]


# --- targets join


def test_targets_join_a_run_of_targets(three, refuses):
    three.assign(TARGET, 1)
    (event,) = three.assign(TARGET, 3, request=uid(51))
    said = {"run": 1, "target": uid(3), "needed": 4, "request": uid(51)}
    assert event == Event("Targeted", said)
    refuses("not-target", three.enrol, 2, 200, 201)
    three.enrol(1, 100)
    three.report(1, 100, COMPLETE)
    assert three.state == "RUNNING"
    three.enrol(3, 300, 301, 302)
    assert three.counts == (3, 1, 0, 4)


def test_naming_a_target_twice_does_not_count_twice(three):
    three.assign(TARGET, 1)
    assert moves(three.assign(TARGET, 1)) == ["Targeted"]
    assert moves(three.assign(TARGET, 2)) == moves(three.assign(TARGET, 2)) == ["Targeted"]
    assert three.counts == (0, 0, 0, 3)


@pytest.mark.parametrize("mode, needed", [(PEERS, 1), (ALL, 3)])
def test_a_target_joins_a_run_for_all(three, refuses, mode, needed):
    three.assign(mode, 1, task="build")
    three.enrol(1)
    if mode == PEERS:
        detail = refuses("not-needed", three.enrol, 2)
        assert detail == "the task has its 1 SWOPs already"
    (event,) = three.assign(TARGET, 2, task="build")
    assert event.args["needed"] == needed
    assert three.swop(2) == {"listening", "target"}
    assert moves(three.enrol(2)) == ["SwopEnrolled"]
    assert three.counts == (2, 0, 0, needed)


def test_a_target_must_listen_and_be_alive(three, refuses):
    three.assign(TARGET, 1)
    refuses("no-swop", three.assign, TARGET, 9)
    three.listen(4, nodes=0)
    refuses("no-swop", three.assign, TARGET, 4)
    three.lose(2)
    refuses("no-swop", three.assign, TARGET, 2)
    assert three.counts == (0, 0, 0, 1)


def test_targets_are_of_one_run(three, refuses):
    three.assign(TARGET, 1)
    three.reset()
    assert three.swop(1) == {"listening"}
    three.assign(TARGET, 2)
    refuses("not-target", three.enrol, 1, 100)


# --- targets try again


def test_only_one_whose_peers_failed_tries_again(three, refuses):
    three.assign(TARGET, 2)
    three.enrol(2, 200, 201)
    detail = refuses("enrolled", three.assign, TARGET, 2)
    assert detail == f"SWOP {uid(2).hex()} takes part, and nothing failed"
    three.report(2, 200, COMPLETE)
    refuses("enrolled", three.assign, TARGET, 2)
    three.report(2, 201, ERROR)
    assert moves(three.assign(TARGET, 2)) == ["Targeted", "RUNNING"]
    assert three.counts == (0, 1, 1, 2)
    assert three.swop(2) == {"listening", "enrolled", "target", "retry"}


def test_failures_of_the_run_before_allow_nothing(three, refuses):
    three.assign(TARGET, 2)
    three.enrol(2, 200, 201)
    three.report(2, 200, ERROR)
    three.assign(TARGET, 2)
    three.reset()
    three.assign(TARGET, 2)
    three.enrol(2, 200, 201)
    refuses("enrolled", three.assign, TARGET, 2)
    refuses("enrolled", three.enrol, 2, 200, 202)
    three.report(2, 201, ERROR)
    three.assign(TARGET, 2)
    three.report(2, 200, COMPLETE)
    three.enrol(2, 200, 202)
    assert three.counts == (1, 1, 0, 2)
    three.report(2, 202, ERROR)
    refuses("enrolled", three.enrol, 2, 200, 203)


def test_trying_again_with_another_peer(three, refuses):
    three.assign(TARGET, 2)
    three.enrol(2, 200, 201)
    three.report(2, 200, COMPLETE)
    three.report(2, 201, ERROR)
    refuses("enrolled", three.enrol, 2, 200, 202)
    three.assign(TARGET, 2)
    (event,) = three.enrol(2, 200, 202)
    assert event.args == {"run": 1, "swop": uid(2), "peers": [uid(200), uid(202)]}
    assert three.counts == (1, 1, 0, 2)
    assert [three.peer(n) for n in (200, 201, 202)] == [COMPLETE, None, 0]
    assert three.swop(2) == {"listening", "enrolled", "target"}
    refuses("not-enrolled", three.report, 2, 201, COMPLETE)
    assert three.enrol(2, 200, 202) == []
    refuses("enrolled", three.enrol, 2, 200, 201)
    assert moves(three.report(2, 202, COMPLETE)) == ["Reported", "COMPLETE"]


def test_trying_again_with_the_same_peer(three):
    three.assign(PEERS, 1, task="build")
    three.enrol(1)
    three.report(1, 1, ERROR, "no disk")
    assert three.enrol(1) == [], "not before an operator says so"
    assert three.peer(1) == ERROR
    three.assign(TARGET, 1, task="build")
    assert moves(three.enrol(1)) == ["SwopEnrolled"]
    assert three.peer(1) == 0
    assert three.enrol(1) == []
    assert three.counts == (1, 0, 0, 1)
    assert three.report(1, 1, 0) == [], "its description is empty again"


def test_trying_again_in_an_error_runs_at_once(three):
    """Else who waits for the taskrunner would see ERROR right after the assignment."""
    three.assign(ALL)
    three.enrol(1, 100)
    three.report(1, 100, ERROR)
    assert three.state == "ERROR"
    assert moves(three.assign(TARGET, 1)) == ["Targeted", "RUNNING"]
    assert moves(three.quit(1)) == ["Quit", "ERROR"]
    assert moves(three.listen(1)) == ["Listening", "RUNNING"]
    assert moves(three.enrol(1, 101)) == ["SwopEnrolled"]
    assert moves(three.report(1, 101, ERROR)) == ["Reported", "ERROR"]


def test_what_was_allowed_once_is_not_allowed_later(three, refuses):
    """A lost SWOP may try again, but its peer completed after all; later another one fails."""
    three.assign(TARGET, 2)
    three.enrol(2, 200, 201)
    three.report(2, 201, 0, "going on")
    three.lose(2)
    three.reap(2)
    register(three.evm, 2)
    three.listen(2, nodes=2)
    three.assign(TARGET, 2)
    three.report(2, 200, 0)
    assert three.swop(2) == {"listening", "enrolled", "target", "retry"}
    three.report(2, 201, 0)
    assert three.swop(2) == {"listening", "enrolled", "target"}
    three.report(2, 200, ERROR)
    refuses("enrolled", three.enrol, 2, 202, 203)


def test_trying_again_is_too_late_once_complete(three, refuses):
    three.assign(PEERS, 1)
    three.enrol(1, 100)
    three.enrol(2, 200, 201)
    three.report(1, 100, ERROR)
    three.assign(TARGET, 1)
    three.report(2, 200, COMPLETE)
    detail = refuses("wrong-state", three.enrol, 1, 101)
    assert detail == "the task is COMPLETE"


# --- reset


def test_a_reset_forgets_the_run(three, refuses):
    three.assign(TARGET, 1)
    three.enrol(1, 100)
    reset, changed = three.reset(by="op")
    assert reset == Event("RunnerReset", {"run": 1, "by": "op"})
    assert changed == Event("StateChanged", {"run": 1, "state": 0})
    assert three.summary == {
        "run": 1, "state": 0, "task": "", "taskType": 0, "mode": 0, "needed": 0, "active": 0,
        "completed": 0, "failed": 0,
    }  # fmt: skip
    assert three.contract.view("enrolledCount") == 0
    assert three.contract.view("peersOf", uid(1)) == []
    assert (three.peer(100), three.swop(1)) == (None, {"listening"})
    for call in (lambda: three.enrol(1, 100), lambda: three.report(1, 100, COMPLETE)):
        assert refuses("wrong-run", call) == "run 1 was reset"


def test_resetting_twice_is_harmless(runner, refuses):
    assert runner.reset() == []
    runner.assign(PEERS, 1)
    runner.reset()
    assert runner.reset() == []
    runner.assign(PEERS, 1)
    detail = refuses("wrong-run", runner.reset, run=1)
    assert detail == "the contract is at run 2, the call at 1"
    assert runner.state == "ASSIGNED"


@pytest.mark.parametrize("state", ["ASSIGNED", "RUNNING", "COMPLETE", "ERROR"])
def test_any_run_can_be_reset(three, state):
    three.assign(TARGET, 1)
    if state != "ASSIGNED":
        three.enrol(1, 100)
    if state in ("COMPLETE", "ERROR"):
        three.report(1, 100, COMPLETE if state == "COMPLETE" else ERROR)
    assert three.state == state
    assert moves(three.reset()) == ["RunnerReset", "IDLE"]
    assert moves(three.assign(TARGET, 1)) == ["Assigned", "ASSIGNED"]
    three.enrol(1, 100)
    assert three.counts == (1, 0, 0, 1)
