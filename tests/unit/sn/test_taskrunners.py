"""The fold of a taskrunner, and what the API says of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.ids import NodeKind
from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import ledger
from services.sn.core import task_events as on
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.runner_views import cursor_of, summary_of, view_of
from services.sn.core.taskrunners import TaskRunner
from tests.unit.sn.task_histories import RunnerScript

A, B = "a" * 32, "b" * 32
ONE, TWO, THREE = (digit * 32 for digit in "123")
NOBODY = "0" * 32
ACTIVE, COMPLETE, ERROR = TaskPeerState

LISTENING = (on.Listening(0, A, 2), on.Listening(0, B, 1))
ASSIGNED = (
    *LISTENING,
    on.Assigned(1, "train", TaskType.RUN_SWARM, Assignment.PEERS, 3, NOBODY, NOBODY),
    on.StateChanged(1, RunnerState.ASSIGNED),
)
RUNNING = (
    *ASSIGNED, on.SwopEnrolled(1, A, (ONE, TWO)), on.StateChanged(1, RunnerState.RUNNING),
)  # fmt: skip


def fold(*events):
    runner = TaskRunner("tr", "0xR", 5)
    for number, event in enumerate(events):
        runner.apply(event, Block(number, f"{number:064x}", 100 + number))
    return runner


def nodes_of(*uids):
    nodes = Nodes()
    for number, uid in enumerate(uids):
        event = ledger.NodeRegistered(
            uid, NodeKind.SWOP, False, "h:1", f"swop{uid[0]}", "1", B, "f" * 64
        )
        nodes.apply(event, Block(number, f"{number:064x}", number))
    return nodes


NODES = nodes_of(A, B)


def view(*events, nodes=NODES):
    return view_of(fold(*events), nodes)


def test_a_new_one_is_idle():
    found = view()
    assert (found.state, found.run, found.task, found.type, found.mode) == (
        RunnerState.IDLE, 0, "", None, None,
    )  # fmt: skip
    assert (found.created, found.assigned, found.swops, found.waiting_for) == (5, 0, [], "")


def test_who_listens_is_seen_with_its_container_and_sorted():
    found = view(on.Listening(0, B, 1), on.Listening(0, A, 2), on.Listening(0, A, 4))
    assert [(s.uid, s.container, s.nodes, s.listening, s.enrolled) for s in found.swops] == [
        (A, "swopa", 4, True, False), (B, "swopb", 1, True, False),
    ]  # fmt: skip
    assert view(*LISTENING, on.Quit(0, A, "done")).swops == found.swops[1:]


def test_a_lost_swop_does_not_listen_whatever_the_taskrunner_still_believes():
    nodes = nodes_of(A)
    nodes.apply(ledger.NodesLost((A,)), Block(9, "9" * 64, 9))
    assert [s.listening for s in view(*LISTENING, nodes=nodes).swops] == [False, False]


def test_a_run_from_assignment_to_its_end():
    waits = view(*ASSIGNED)
    assert (waits.state, waits.run, waits.task, waits.needed) == (
        RunnerState.ASSIGNED, 1, "train", 3,
    )  # fmt: skip
    assert (waits.assigned, waits.started, waits.ended) == (102, 0, 0)
    assert waits.waiting_for == (f"waiting for swopa ({A[:8]}) or swopb ({B[:8]}) to take the task")

    runs = view(*RUNNING, on.Reported(1, A, ONE, COMPLETE, "fine"))
    assert (runs.state, runs.active, runs.completed, runs.failed) == (RunnerState.RUNNING, 1, 1, 0)
    assert (runs.assigned, runs.started, runs.updated, runs.ended) == (102, 105, 106, 0)
    assert runs.waiting_for == (
        f"waiting for 1 peer of swopa ({A[:8]}) to complete and 1 more peer of swopb ({B[:8]}) "
        "(1 of 3 peers completed)"
    )
    (first, second) = runs.swops[0].peers
    assert (first.uid, first.state, first.description, first.since) == (ONE, COMPLETE, "fine", 106)
    assert (second.uid, second.state, second.description, second.since) == (TWO, ACTIVE, "", 104)

    done = view(
        *RUNNING, on.SwopEnrolled(1, B, (THREE,)),
        *(on.Reported(1, s, p, COMPLETE, "") for s, p in ((A, ONE), (A, TWO), (B, THREE))),
        on.StateChanged(1, RunnerState.COMPLETE),
    )  # fmt: skip
    assert (done.state, done.completed, done.ended, done.waiting_for) == (
        RunnerState.COMPLETE, 3, 110, "",
    )  # fmt: skip
    assert summary_of(fold(*RUNNING)).model_dump() == {
        "name": "tr", "address": "0xR", "created": 5, "state": "RUNNING", "task": "train",
    }  # fmt: skip


FAILED = (
    *RUNNING, on.Reported(1, A, ONE, ERROR, "no image"), on.Quit(1, B, "left"),
    on.StateChanged(1, RunnerState.ERROR),
)  # fmt: skip


def test_a_failed_run_says_what_can_be_done():
    found = view(*FAILED)
    assert (found.state, found.failed, found.ended) == (RunnerState.ERROR, 1, 108)
    assert "ASSIGN TASK train TO tr TARGET" in found.waiting_for
    assert "RESET TASKRUNNER tr" in found.waiting_for
    assert f"1 peer of swopa ({A[:8]}) failed, so 3 cannot complete" in found.waiting_for
    assert [(s.uid, s.listening) for s in found.swops] == [(A, True)], "B had nothing in the run"


def test_a_retry_replaces_only_the_peers_that_failed():
    again = (
        *FAILED, on.Reported(1, A, TWO, COMPLETE, "fine"), on.Targeted(1, A, 3, NOBODY),
        on.SwopEnrolled(1, A, (THREE, TWO)), on.StateChanged(1, RunnerState.RUNNING),
    )  # fmt: skip
    found = view(*again)
    assert [(p.uid, p.state, p.description) for p in found.swops[0].peers] == [
        (THREE, ACTIVE, ""), (TWO, COMPLETE, "fine"),
    ]  # fmt: skip
    assert (found.targets, found.state, found.started, found.ended) == (
        [A], RunnerState.RUNNING, 105, 0,
    )  # fmt: skip


def test_it_is_said_whom_a_target_asks_to_try_again():
    asked = (*FAILED, on.Targeted(1, A, 3, NOBODY))
    assert [view(*FAILED).swops[0].retry, view(*asked).swops[0].retry] == [False, True]
    assert not view(*asked, on.SwopEnrolled(1, A, (ONE, TWO))).swops[0].retry
    back = (*asked, on.Reported(1, A, ONE, ACTIVE, "SWOP is back"))
    assert not view(*back, on.Reported(1, A, TWO, ACTIVE, "SWOP is back")).swops[0].retry
    first = (on.Listening(1, B, 1), on.Targeted(1, B, 3, NOBODY))
    assert not any(swop.retry for swop in view(*RUNNING, *first).swops if swop.uid == B)


def test_whom_a_target_asks_to_try_again_is_waited_for():
    asked = (*FAILED, on.Targeted(1, A, 3, NOBODY), on.StateChanged(1, RunnerState.RUNNING))
    assert f"2 more peers of swopa ({A[:8]}) (0 of 3" in view(*asked).waiting_for


def test_of_many_swops_only_some_are_named():
    uids = [f"{number:032x}" for number in range(20)]
    listening = [on.Listening(0, uid, 1) for uid in uids]
    assert view(*listening, *ASSIGNED[2:], nodes=nodes_of(*uids)).waiting_for == (
        "waiting for swop0 (00000000), swop0 (00000000), swop0 (00000000), swop0 (00000000) or "
        "16 more to take the task"
    )


def test_one_that_failed_may_begin_anew_under_the_same_uid():
    found = view(*FAILED, on.Targeted(1, A, 3, NOBODY), on.SwopEnrolled(1, A, (ONE, TWO)))
    assert [p.state for p in found.swops[0].peers] == [ACTIVE, ACTIVE]
    assert found.failed == 0


def test_a_reset_forgets_the_run_and_keeps_who_listens():
    found = view(*FAILED, on.RunnerReset(1, "SWCI-1"))
    assert (found.state, found.run, found.task, found.type, found.mode, found.targets) == (
        RunnerState.IDLE, 1, "", None, None, [],
    )  # fmt: skip
    assert (found.assigned, found.started, found.ended, found.needed) == (0, 0, 0, 0)
    assert [(s.uid, s.nodes, s.enrolled, s.peers) for s in found.swops] == [(A, 2, False, [])]


def test_a_swop_that_quits_in_mid_run_is_still_seen_with_its_peers():
    found = view(*RUNNING, on.Quit(1, A, "SWOP lost"), on.Reported(1, A, ONE, ERROR, "SWOP lost"))
    assert [(s.uid, s.listening, len(s.peers)) for s in found.swops] == [
        (A, False, 2),
        (B, True, 0),
    ]


def test_mode_target_names_the_swop_that_is_waited_for():
    assigned = on.Assigned(1, "build", TaskType.PULL_IMAGE, Assignment.TARGET, 1, A, NOBODY)
    waits = view(*LISTENING, assigned)
    assert (waits.targets, waits.mode) == ([A], Assignment.TARGET)
    assert waits.waiting_for == f"waiting for swopa ({A[:8]}) to take the task"
    gone = view(*LISTENING, assigned, on.Quit(1, A, ""))
    assert gone.waiting_for == f"waiting for the targeted SWOP swopa ({A[:8]}) to take the task"


def test_nobody_to_do_it_is_said():
    found = view(*ASSIGNED[2:])
    assert "none that is free listens: start one with taskrunner tr" in found.waiting_for


@pytest.mark.parametrize("state", list(RunnerState)[1:])
def test_every_state_can_be_told(state):
    assert view(*RUNNING, on.StateChanged(1, state)).state is state


def test_a_refusal_changes_nothing_and_wakes_nobody():
    runner = fold(*RUNNING)
    before = view_of(runner, NODES), cursor_of(runner, NODES)
    runner.apply(on.RunnerRefused(1, A, "wrong-run", "no"), Block(99, "9" * 64, 900))
    assert (view_of(runner, NODES), cursor_of(runner, NODES)) == before


def test_the_cursor_is_another_one_when_a_swop_is_lost_or_comes_back():
    runner, nodes = fold(*LISTENING), nodes_of(A, B)
    seen = [cursor_of(runner, nodes)]
    for event in (
        ledger.NodesLost((A,)), ledger.NodesAlive((A,)), ledger.NodesLost((B,)),
        ledger.NodesAlive((B,)),
    ):  # fmt: skip
        nodes.apply(event, Block(9, "9" * 64, 9))
        seen.append(cursor_of(runner, nodes))
    assert len(set(seen)) == len(seen)
    nodes.apply(ledger.NodesAlive((A, B)), Block(9, "9" * 64, 9))
    assert cursor_of(runner, nodes) == seen[-1], "a sign of life alone wakes nobody"


@st.composite
def scripts(draw):
    script = RunnerScript(draw, "tr")
    return [script.event() for _ in range(draw(st.integers(0, 40)))]


@given(scripts())
def test_whatever_the_contract_writes_is_folded_and_can_be_told(events):
    nodes, seen = nodes_of(A, B), {}
    runner = TaskRunner("tr", "0xR", 5)
    for number, event in enumerate(events):
        runner.apply(event, Block(number, f"{number:064x}", 100 + number))
        shown = view_of(runner, nodes)
        assert seen.setdefault(cursor_of(runner, nodes), shown) == shown, "one cursor, two views"
        assert shown.active + shown.completed + shown.failed == sum(
            len(s.peers) for s in shown.swops
        )
        assert all(s.enrolled for s in shown.swops if s.peers)
        assert (shown.state is RunnerState.IDLE) == (shown.task == "")
