"""How nodes, contracts, tasks and taskrunners are shown."""

import pytest

from services.common import sn_api as api
from services.common import task_api as tasks
from services.common.ids import NodeKind
from services.common.sn_api import PeerState, Phase
from services.common.task_api import RunnerState, TaskPeerState, TaskType
from services.swci.core import shown_swarm, shown_tasks
from services.swci.core.reply import failure, success

NOW = 1_800_000_000


def uid(letter):
    return letter * 32


def node(letter, kind, parent="a", age=0, **changes):
    given = {
        "uid": uid(letter), "kind": kind, "endpoint": f"host{letter}:30304", "version": "1",
        "container": f"c{letter}", "parent": uid(parent), "fingerprint": "0" * 64, "alive": True,
        "last_seen": NOW - age,
    }  # fmt: skip
    return api.NodeInfo(**{**given, **changes})


def test_nodes_in_the_layout_that_plot_topology_reads():
    found = [
        node("d", NodeKind.SL), node("c", NodeKind.SWOP, container="a,b"),
        node("a", NodeKind.SN, sentinel=True, endpoint="[::1]:30304"), node("b", NodeKind.SN, "b"),
        node("e", NodeKind.SWCI), node("f", NodeKind.LICENSE),
    ]  # fmt: skip
    reply = shown_swarm.nodes(found)
    rows = [[cell.strip() for cell in line.split(",")] for line in reply.lines[1:]]
    assert reply.lines[0].split(", ") == [
        "NodeType", "HostIP", "Port", "ContainerName", "UUID", "ParentUUID", "i-am-alive",
    ]  # fmt: skip
    assert rows == [
        ["SENTINEL", "::1", "30304", "ca", uid("a"), uid("a"), "2027-01-15 08:00:00"],
        ["SN", "hostb", "30304", "cb", uid("b"), uid("b"), "2027-01-15 08:00:00"],
        ["SWOP", "hostc", "30304", "a_b", uid("c"), uid("a"), "2027-01-15 08:00:00"],
        ["SL", "hostd", "30304", "cd", uid("d"), uid("a"), "2027-01-15 08:00:00"],
    ]


def test_lost_nodes_are_shown_for_ten_minutes_and_the_parent_of_a_shown_one_always():
    found = [
        node("a", NodeKind.SN, age=9000, alive=False), node("b", NodeKind.SN, "b"),
        node("c", NodeKind.SL, "b", age=600, alive=False),
        node("d", NodeKind.SL, "b", age=601, alive=False), node("e", NodeKind.SL, "a"),
        node("f", NodeKind.SN, "f", age=9000, alive=False),
    ]  # fmt: skip
    assert {each.uid[0] for each in shown_swarm.recent(found)} == {"a", "b", "c", "e"}
    assert shown_swarm.recent([]) == []
    assert len(shown_swarm.nodes([]).lines) == 1


def test_an_sn_that_signed_off_is_shown_only_while_it_is_a_parent():
    gone = node("b", NodeKind.SN, "b", alive=False, left=True)
    found = [node("a", NodeKind.SN), gone, node("c", NodeKind.SL, "a", alive=False, left=True)]
    assert [each.uid[0] for each in shown_swarm.recent(found)] == ["a", "c"]
    waiting = node("d", NodeKind.SL, "b")
    assert [each.uid[0] for each in shown_swarm.recent([*found, waiting])] == ["a", "b", "c", "d"]


def peer(letter, **changes):
    given = {
        "uid": uid(letter), "endpoint": "h:1", "fingerprint": "", "container": f"sl-{letter}",
        "live": True, "may_lead": True, "state": PeerState.TRAINING, "checkin": None,
        "participant": False, "dropped": "", "perf": None, "perf_round": 0, "rounds": 0, "left": "",
    }  # fmt: skip
    return api.PeerView(**{**given, **changes})


CHECKIN = api.CheckInView(base="0" * 64, digest="1" * 64, size=1, weightage=1)
TERMS = api.Terms(min_peers=3, merge_method="mean", adaptive=False, leader_timeout_s=600)


def view(phase=Phase.CHECKIN, peers=(), **changes):
    given = {
        "name": "k", "generation": 1, "phase": phase, "round": 4, "term": 0, "leader": "",
        "terms": TERMS, "peers": list(peers), "merged": None, "quorum_age_s": None,
        "waiting_for": "waiting for 1 more peer",
    }  # fmt: skip
    return api.ContractView(**{**given, **changes})


def pairs(reply):
    return dict(line.split(" : ", 1) for line in reply.lines)


def test_contract_status_says_state_peers_round_leader_and_what_it_waits_for():
    peers = [
        peer("a", checkin=CHECKIN), peer("b", state=PeerState.SNAPSHOT, checkin=CHECKIN),
        peer("c", live=False),
    ]  # fmt: skip
    shown = pairs(shown_swarm.contract_status(view(peers=peers, leader=uid("b")), NOW, NOW + 60))
    assert shown == {
        "CONTRACT_NAME": "k", "STATE": "CHECKIN", "GENERATION": "1", "MIN_PEERS": "3",
        "PEERS": "3", "LIVE_PEERS": "2", "COMPLETED_PEERS": "1", "ROUND": "4",
        "MERGED_ROUNDS": "0",
        "LEADER": f"{uid('b')} sl-b", "MERGE_METHOD": "mean", "WAITING": "2/3",
        "WAITING_FOR": "1 more peer", "TS_CREATED": "2027-01-15 08:00:00",
        "TS_LAST_MERGE": "2027-01-15 08:01:00",
    }  # fmt: skip


def test_the_round_of_a_training_that_has_ended_is_the_last_one_merged():
    merged = api.Merged(round=3, digest="1" * 64, size=1, leader=uid("a"), next_interval=0)
    for phase, number in ((Phase.MERGING, "4"), (Phase.COMPLETED, "3")):
        shown = pairs(shown_swarm.contract_status(view(phase, merged=merged), NOW, NOW))
        assert (shown["ROUND"], shown["MERGED_ROUNDS"]) == (number, "3")
    shown = pairs(shown_swarm.contract_status(view(Phase.COMPLETED), NOW, NOW))
    assert shown["ROUND"] == "0", "it ended before the first merge"


@pytest.mark.parametrize(
    ("phase", "peers", "expected"),
    [
        (Phase.UNINITIALIZED, [peer("a")], False), (Phase.COMPLETED, [peer("a")], False),
        (Phase.CHECKIN, [], False), (Phase.CHECKIN, [peer("a")], True),
        (Phase.MERGING, [peer("a", live=False)], False),
        (Phase.QUORUM, [peer("a", state=PeerState.SNAPSHOT)], False),
    ],
    ids=str,
)  # fmt: skip
def test_only_a_training_with_somebody_in_it_can_be_broken_off(phase, peers, expected):
    assert shown_swarm.trains(view(phase, peers)) is expected


@pytest.mark.parametrize(
    ("phase", "changes", "expected"),
    [
        (Phase.UNINITIALIZED, {"terms": None}, None),
        (Phase.CHECKIN, {}, (1, 3)),
        (Phase.QUORUM, {}, (1, 2)),
        (Phase.MERGING, {}, None),
        (Phase.MERGING,
         {"terms": TERMS.model_copy(update={"attestations": 2}),
          "proposal": api.Proposal(digest="1" * 64, size=1, contributors=[], next_interval=0,
                                   attested=[uid("a")])}, (1, 2)),
        (Phase.COMPLETED, {}, None),
    ],
)  # fmt: skip
def test_waiting_counts_what_the_phase_waits_for(phase, changes, expected):
    peers = [peer("a", checkin=CHECKIN), peer("b"), peer("c", live=False, checkin=CHECKIN)]
    assert shown_swarm.progress(view(phase, peers, **changes)) == expected


def test_perf_data_is_an_empty_table_before_the_training_and_a_row_a_peer_later():
    assert shown_swarm.perf_data(view()).lines == (shown_swarm.PERF_HEADER,)
    perf = api.Perf(loss=0.25, metric=0.9, epochs=3, total_epochs=5)
    reply = shown_swarm.perf_data(view(peers=[peer("a", perf=perf), peer("b", may_lead=False)]))
    assert reply.lines[1:] == (
        f"{uid('a')}, YES, 0.25, 0.9, 5, 3",
        f"{uid('b')}, NO, -, -, -, -",
    )
    assert reply.data[0]["loss"] == 0.25


def swop(letter, *peers, **changes):
    given = {
        "uid": uid(letter), "container": f"swop-{letter}", "nodes": 2, "listening": True,
        "enrolled": True, "peers": list(peers),
    }  # fmt: skip
    return tasks.SwopView(**{**given, **changes})


def task_peer(letter, state=TaskPeerState.ACTIVE, description=""):
    return tasks.TaskPeer(uid=uid(letter), state=state, description=description, since=NOW)


def runner(*swops, **changes):
    given = {
        "name": "r", "state": RunnerState.RUNNING, "run": 2, "task": "t",
        "type": TaskType.RUN_SWARM, "mode": tasks.Assignment.PEERS, "needed": 2,
        "swops": list(swops), "active": 1, "completed": 1, "failed": 0,
        "waiting_for": "waiting for 1 peer", "created": NOW, "assigned": NOW,
    }  # fmt: skip
    return tasks.TaskRunnerView(**{**given, **changes})


@pytest.mark.parametrize("state", RunnerState)
def test_runner_status_has_the_line_that_hpes_client_reads(state):
    reply = shown_tasks.runner_status(runner(swop("a"), state=state))
    line = next(line for line in reply.lines if "TASK_STATE" in line)
    assert line.split(":")[1].strip() == state.value
    assert pairs(reply)["PEER_TYPE"] == "SL"
    assert pairs(reply)["ENROLLED_SWOP"] == "1"


def test_an_idle_runner_has_the_task_empty_and_swops_as_peers():
    shown = pairs(shown_tasks.runner_status(runner(state=RunnerState.IDLE, task="", type=None)))
    assert (shown["TASK_NAME"], shown["PEER_TYPE"]) == ("Empty", "SWOP")


def test_peer_status_by_index_by_uid_and_by_the_uid_of_an_sl():
    found = runner(
        swop("b", task_peer("1"), task_peer("2", TaskPeerState.ERROR, "ML ended with 1")),
        swop("a", task_peer("3")), swop("0", enrolled=False),
    )  # fmt: skip
    expected = (
        f"SWOP_UID : {uid('b')}", "SL_PEERS : 2", f"UID : {uid('1')}", "STATUS : ACTIVE",
        "DESCRIPTION : -", f"UID : {uid('2')}", "STATUS : ERROR", "DESCRIPTION : ML ended with 1",
    )  # fmt: skip
    for which in (1, uid("b"), uid("2")):
        assert shown_tasks.peer_status(found, which).lines == expected
    assert shown_tasks.peer_status(found, 0).lines[0] == f"SWOP_UID : {uid('a')}"
    build = runner(swop("a", task_peer("a")), type=TaskType.PULL_IMAGE)
    assert shown_tasks.peer_status(build, 0).lines == (
        f"UID : {uid('a')}",
        "STATUS : ACTIVE",
        "DESCRIPTION : -",
    )
    for which in (2, 10**6, uid("0"), uid("9")):
        reply = shown_tasks.peer_status(found, which)
        assert reply.error
        assert "indexes 0 to 1" in reply.lines[0]


def test_peers_are_listed_with_the_indexes_of_peer_status():
    found = runner(swop("b", task_peer("1")), swop("a", container="x,y", listening=False))
    assert shown_tasks.runner_peers(found).lines[1:] == (
        f"0, {uid('a')}, x_y, NO, 0",
        f"1, {uid('b')}, swop-b, YES, 1",
    )


def test_a_run_that_failed_tells_which_peer_and_why():
    failed = swop("a", task_peer("1", TaskPeerState.ERROR, "image not found"))
    reply = shown_tasks.outcome(runner(failed, state=RunnerState.ERROR, failed=1))
    assert reply.error
    assert reply.lines[0].startswith("ERROR : TASK_STATE : ERROR")
    assert "1 peer failed, 2 had to complete (peer 1" in reply.lines[0]
    assert "image not found" in reply.lines[0]
    assert reply.data["task_state"] == "ERROR"
    done = shown_tasks.outcome(runner(state=RunnerState.COMPLETE))
    assert (done.error, done.lines) == (False, ("TASK_STATE : COMPLETE",))


def test_bodies_of_others_cannot_look_like_a_failure_or_reach_the_terminal():
    assert success("ERROR : not mine").lines == (" ERROR : not mine",)
    assert success("a\x1b[2Jb\nERROR ").lines == ("a\\x1b[2Jb\\nERROR ",)
    assert failure("a\nERROR b\x07").lines == ("ERROR : a", "ERROR b\\x07")
    info = tasks.TaskInfo(
        name="t", type=TaskType.RUN_SWARM, author="a", prereq="", outcome="", finalized=False,
        lines=2, created=0, body=["ERROR x", "\tb"],
    )  # fmt: skip
    assert shown_tasks.task_body(info).lines == (" ERROR x", "    b")
    assert pairs(shown_tasks.task_info(info))["TS_CREATED"] == "-"
    empty = info.model_copy(update={"body": ["", " "]})
    assert shown_tasks.task_body(empty).lines == ("TASK BODY IS EMPTY",)
