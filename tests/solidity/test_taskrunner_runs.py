"""TaskRunner: SWOPs enrol and report; what the state of a run follows from."""

import pytest

from tests.solidity.evm import Event, Evm, uid
from tests.solidity.runner import ACTIVE, ALL, COMPLETE, ERROR, PEERS, TARGET, Runner, moves


@pytest.fixture
def runner(evm: Evm) -> Runner:
    return Runner(evm)


@pytest.fixture
def swarm(runner: Runner) -> Runner:
    """SWOPs 1 to 3 listen, with two pairs each; ``swarm`` needs four."""
    runner.listen(1, 2, 3, nodes=2)
    runner.assign(PEERS, 4)
    return runner


@pytest.fixture
def build(runner: Runner) -> Runner:
    """SWOPs 1 to 3 listen; ``build`` needs two."""
    runner.listen(1, 2, 3)
    runner.assign(PEERS, 2, task="build")
    return runner


# --- enrol


def test_enrolling(swarm):
    enrolled, changed = swarm.enrol(1, 100, 101)
    said = {"run": 1, "swop": uid(1), "peers": [uid(100), uid(101)]}
    assert enrolled == Event("SwopEnrolled", said)
    assert changed == Event("StateChanged", {"run": 1, "state": 2})
    assert moves(swarm.enrol(2, 200, 201)) == ["SwopEnrolled"]
    assert swarm.counts == (4, 0, 0, 4)
    assert swarm.contract.view("enrolledCount") == 2
    assert swarm.contract.view("enrolledAt", 1) == uid(2)
    assert swarm.contract.view("peersOf", uid(1)) == [uid(100), uid(101)]
    assert swarm.swop(1) == {"listening", "enrolled"}
    assert swarm.contract.view("peerOf", uid(100)) == {"swop": uid(1), "state": 0, "lost": False}
    assert swarm.peer(1) is None


def test_more_than_needed_may_run_a_swarm(swarm):
    for swop in (1, 2, 3):
        swarm.enrol(swop, 100 * swop, 100 * swop + 1)
    swarm.listen(4, nodes=2)
    swarm.enrol(4, 400, 401)
    assert swarm.counts == (8, 0, 0, 4)


def test_exactly_as_many_swops_as_needed_do_other_tasks(build, refuses):
    build.enrol(1)
    build.enrol(2)
    refuses("not-needed", build.enrol, 3)
    build.report(1, 1, COMPLETE)
    refuses("not-needed", build.enrol, 3)


def test_another_swop_steps_in_for_one_that_failed(build, refuses):
    build.enrol(1)
    build.enrol(2)
    assert moves(build.report(1, 1, ERROR)) == ["Reported"], "3 can step in"
    assert moves(build.enrol(3)) == ["SwopEnrolled"]
    build.listen(4)
    refuses("not-needed", build.enrol, 4)
    build.report(2, 2, COMPLETE)
    assert moves(build.report(3, 3, COMPLETE)) == ["Reported", "COMPLETE"]
    assert build.counts == (0, 2, 1, 2)


@pytest.mark.parametrize("run", [0, 2, 7])
def test_enrolling_is_for_the_present_run(swarm, refuses, run):
    detail = refuses("wrong-run", swarm.enrol, 1, 100, 101, run=run)
    assert detail == f"the contract is at run 1, the call at {run}"
    swarm.enrol(1, 100, 101)
    refuses("wrong-run", swarm.report, 1, 100, ACTIVE, run=run)


def test_before_the_first_run_nobody_enrols(runner, refuses):
    runner.listen(1)
    assert refuses("wrong-run", runner.enrol, 1) == "no task was ever assigned"
    refuses("wrong-run", runner.report, 1, 1, ACTIVE)


def test_a_call_of_the_run_before_is_refused(swarm, refuses):
    swarm.enrol(1, 100, 101)
    swarm.reset()
    swarm.assign(PEERS, 4)
    refuses("wrong-run", swarm.enrol, 1, 100, 101, run=1)
    refuses("wrong-run", swarm.report, 1, 100, COMPLETE, run=1)
    refuses("not-enrolled", swarm.report, 1, 100, COMPLETE)
    assert moves(swarm.enrol(1, 100, 101)) == ["SwopEnrolled", "RUNNING"]


def test_after_the_end_nobody_enrols(swarm, refuses):
    for swop in (1, 2):
        swarm.enrol(swop, 100 * swop, 100 * swop + 1)
        swarm.report(swop, 100 * swop, COMPLETE)
        swarm.report(swop, 100 * swop + 1, COMPLETE)
    assert refuses("wrong-state", swarm.enrol, 3, 300, 301) == "the task is COMPLETE"
    assert swarm.enrol(1, 100, 101) == [], "a repeat is harmless"


def test_only_listeners_enrol(swarm, refuses):
    refuses("not-listening", swarm.enrol, 4, 400, 401)
    swarm.quit(1)
    refuses("not-listening", swarm.enrol, 1, 100, 101)


def test_a_swop_brings_one_peer_per_node(swarm, refuses):
    for peers in ([], [uid(100)], [uid(100), uid(101), uid(102)]):
        detail = refuses("bad-value", swarm.enrol, 1, peers=peers)
        assert detail == f"the SWOP must bring 2 (at least 1) peers, not {len(peers)}"
    swarm.listen(1, nodes=0)
    refuses("bad-value", swarm.enrol, 1, peers=[])
    swarm.listen(1, nodes=1)
    assert moves(swarm.enrol(1, 100)) == ["SwopEnrolled", "RUNNING"]


def test_in_other_tasks_the_peer_is_the_swop(build, refuses):
    detail = refuses("bad-value", build.enrol, 1, 100)
    assert detail == "in such a task the peer is the SWOP itself"
    refuses("bad-value", build.enrol, 1, 1, 2)
    refuses("bad-value", build.enrol, 1, peers=[])
    build.listen(1, nodes=7)
    assert moves(build.enrol(1)) == ["SwopEnrolled", "RUNNING"]


def test_a_peer_is_of_one_swop_and_enrolled_once(swarm, refuses):
    refuses("duplicate-peer", swarm.enrol, 1, 100, 100)
    refuses("bad-value", swarm.enrol, 1, peers=[uid(100), bytes(16)])
    swarm.enrol(1, 100, 101)
    detail = refuses("duplicate-peer", swarm.enrol, 2, 200, 101)
    assert detail == f"{uid(101).hex()} was enrolled already in this run"
    assert swarm.counts == (2, 0, 0, 4)
    swarm.report(1, 101, ERROR)
    swarm.assign(TARGET, 1)
    refuses("duplicate-peer", swarm.enrol, 1, 102, 102)
    refuses("duplicate-peer", swarm.enrol, 1, 100, 100)
    swarm.enrol(1, 100, 102)
    refuses("duplicate-peer", swarm.enrol, 2, 200, 101)
    swarm.report(1, 100, ERROR)
    swarm.assign(TARGET, 1)
    refuses("duplicate-peer", swarm.enrol, 1, 101, 102)


def test_a_retry_may_leave_out_any_peer(swarm):
    """SWOP stopped them all and began anew; what completed before counts no more."""
    swarm.enrol(1, 100, 101)
    swarm.report(1, 100, COMPLETE)
    swarm.report(1, 101, ERROR)
    swarm.assign(TARGET, 1)
    swarm.enrol(1, 102, 103)
    assert swarm.counts == (2, 0, 0, 4)


def test_repeating_an_enrolment_is_harmless(swarm, refuses):
    swarm.enrol(1, 100, 101)
    assert swarm.enrol(1, 100, 101) == []
    detail = refuses("enrolled", swarm.enrol, 1, 101, 100)
    assert "ASSIGN TASK ... TARGET lets it try again" in detail
    refuses("enrolled", swarm.enrol, 1, 100, 102)
    swarm.report(1, 100, ERROR)
    refuses("enrolled", swarm.enrol, 1, 101, 102)
    assert swarm.enrol(1, 100, 101) == []
    assert swarm.peer(100) == ERROR


# --- report


def test_reporting(swarm):
    swarm.enrol(1, 100, 101)
    (event,) = swarm.report(1, 100, ACTIVE, "pulling")
    assert event == Event(
        "Reported",
        {"run": 1, "swop": uid(1), "peer": uid(100), "state": 0, "description": "pulling"},
    )
    assert swarm.report(1, 100, ACTIVE, "pulling") == []
    assert moves(swarm.report(1, 100, ACTIVE, "training")) == ["Reported"]
    assert moves(swarm.report(1, 100, COMPLETE, "")) == ["Reported"]
    assert swarm.report(1, 100, COMPLETE, "") == []
    assert moves(swarm.report(1, 100, COMPLETE, "3 rounds")) == ["Reported"]
    assert swarm.counts == (1, 1, 0, 4)
    assert swarm.report(1, 101, ACTIVE, "") == [], "as it is since it enrolled"


def test_only_about_own_peers(swarm, refuses):
    swarm.enrol(1, 100, 101)
    swarm.enrol(2, 200, 201)
    detail = refuses("not-enrolled", swarm.report, 1, 200, COMPLETE)
    assert detail == f"{uid(200).hex()} is no peer of SWOP {uid(1).hex()}"
    for swop, peer in ((1, 1), (1, 300), (3, 100), (9, 9)):
        refuses("not-enrolled", swarm.report, swop, peer, COMPLETE)
    refuses("not-enrolled", swarm.report, 0, 300, COMPLETE, swop=bytes(16))


def test_reports_have_limits(swarm, refuses):
    swarm.enrol(1, 100, 101)
    assert refuses("bad-value", swarm.report, 1, 100, 3) == "no such state: 3"
    detail = refuses("bad-value", swarm.report, 1, 100, ERROR, "x" * 641)
    assert detail == "the description has more than 640 bytes"
    swarm.report(1, 100, ERROR, "x" * 640)


@pytest.mark.parametrize("ended, other", [(COMPLETE, ACTIVE), (COMPLETE, ERROR), (ERROR, ACTIVE)])
def test_what_has_ended_does_not_change(swarm, refuses, ended, other):
    """Else a late repeat of an old report would take a result back."""
    swarm.enrol(1, 100, 101)
    swarm.report(1, 100, ended, "first")
    detail = refuses("wrong-state", swarm.report, 1, 100, other)
    assert detail == f"peer {uid(100).hex()} has ended already"
    refuses("wrong-state", swarm.report, 1, 100, COMPLETE + ERROR - ended)
    assert moves(swarm.report(1, 100, ended, "second")) == ["Reported"]


def test_late_reports_are_recorded(runner):
    runner.listen(1, 2, nodes=2)
    runner.assign(PEERS, 1)
    runner.enrol(1, 100, 101)
    runner.enrol(2, 200, 201)
    assert moves(runner.report(1, 100, COMPLETE)) == ["Reported", "COMPLETE"]
    assert moves(runner.report(1, 101, COMPLETE)) == ["Reported"]
    assert moves(runner.report(2, 200, ERROR, "exit 1")) == ["Reported"]
    assert moves(runner.report(2, 201, ACTIVE, "saving")) == ["Reported"]
    assert (runner.state, runner.counts) == ("COMPLETE", (1, 2, 1, 1))
    runner.lose(2)
    assert moves(runner.reap(2)) == ["Quit", "Reported"]
    assert (runner.state, runner.counts) == ("COMPLETE", (0, 2, 2, 1))


# --- the state


def test_complete_takes_as_many_as_needed(swarm):
    swarm.enrol(1, 100, 101)
    swarm.enrol(2, 200, 201)
    for swop, peer in ((1, 100), (1, 101), (2, 200)):
        assert moves(swarm.report(swop, peer, COMPLETE)) == ["Reported"]
    assert swarm.state == "RUNNING"
    assert moves(swarm.report(2, 201, COMPLETE)) == ["Reported", "COMPLETE"]


def test_three_of_four_are_no_success(runner):
    """F17: 4 peers asked for, 3 came."""
    runner.listen(1, nodes=3)
    runner.assign(PEERS, 4)
    runner.enrol(1, 100, 101, 102)
    for peer in (100, 101, 102):
        assert moves(runner.report(1, peer, COMPLETE)) == ["Reported"]
    assert (runner.state, runner.counts) == ("RUNNING", (0, 3, 0, 4))


def test_error_once_too_many_failed(swarm):
    swarm.enrol(1, 100, 101)
    swarm.enrol(2, 200, 201)
    swarm.report(1, 100, COMPLETE)
    assert moves(swarm.report(1, 101, ERROR)) == ["Reported"], "3 has two more"
    swarm.report(2, 200, ERROR)
    assert swarm.state == "RUNNING"
    assert moves(swarm.report(2, 201, ERROR)) == ["Reported", "ERROR"]
    assert moves(swarm.listen(4, nodes=1)) == ["Listening", "RUNNING"]
    assert moves(swarm.enrol(3, 300, 301)) == ["SwopEnrolled"]
    assert moves(swarm.enrol(4, 400)) == ["SwopEnrolled"]
    assert moves(swarm.report(4, 400, ERROR)) == ["Reported", "ERROR"]


def test_a_failure_that_leaves_enough_is_no_error(runner):
    runner.listen(1, 2, nodes=2)
    runner.assign(PEERS, 2)
    runner.enrol(1, 100, 101)
    runner.enrol(2, 200, 201)
    assert moves(runner.report(1, 100, ERROR)) == ["Reported"]
    assert moves(runner.report(1, 101, ERROR)) == ["Reported"]
    assert moves(runner.report(2, 200, ERROR)) == ["Reported", "ERROR"]
    assert moves(runner.report(2, 201, COMPLETE)) == ["Reported"]


def test_who_is_no_target_brings_nothing(runner):
    runner.listen(1, 2)
    runner.assign(TARGET, 1)
    runner.enrol(1, 100)
    assert moves(runner.report(1, 100, ERROR)) == ["Reported", "ERROR"]


def test_all_of_all_must_complete(runner):
    runner.listen(1, 2)
    runner.assign(ALL, task="build")
    runner.enrol(1)
    runner.report(1, 1, COMPLETE)
    assert moves(runner.listen(3)) == ["Listening"]
    runner.enrol(2)
    assert moves(runner.report(2, 2, ERROR)) == ["Reported"], "3 came since"
    runner.enrol(3)
    assert moves(runner.report(3, 3, COMPLETE)) == ["Reported", "COMPLETE"]


def test_without_a_failure_the_run_waits(swarm):
    for swop in (1, 2, 3):
        assert moves(swarm.quit(swop)) == ["Quit"]
    assert swarm.state == "ASSIGNED"
