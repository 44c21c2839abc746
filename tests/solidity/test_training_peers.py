"""TrainingContract: peers enrol, leave and are reaped; the training completes; reset."""

import pytest

from tests.solidity.evm import STRANGER, BrokenError, Event, uid
from tests.solidity.training import (
    ACTIVE,
    INACTIVE,
    MEAN,
    NO_PERF,
    NONE,
    SNAPSHOT,
    TIMEOUT,
    TRAINING,
    names,
    register,
)

MEDIAN = b"coordmedian".ljust(32, b"\0")


# --- enrol


def test_a_fresh_contract_is_uninitialized(training):
    assert training.phase == "UNINITIALIZED"
    summary = training.summary
    assert (summary["generation"], summary["round"], summary["minPeers"]) == (1, 0, 0)


def test_the_first_peer_fixes_the_terms_and_opens_round_1(training):
    terms = {
        "minPeers": 2, "method": MEAN, "adaptive": True, "leaderTimeout": 77, "attestations": 0,
    }  # fmt: skip
    (event,) = training.enrol(1, adaptive=True, leaderTimeout=77)
    head = {"generation": 1, "round": 1, "peer": uid(1)}
    assert event == Event("Enrolled", {**head, **terms, "mayLead": True})
    assert training.phase == "CHECKIN"
    summary = training.summary
    assert {key: summary[key] for key in terms} == terms
    assert (summary["round"], summary["term"], summary["mergedDigest"]) == (1, 0, NONE)
    peer = training.peer(1)
    assert (peer["enrolled"], peer["live"], peer["mayLead"], peer["state"]) == (True, True, True, 0)


def test_other_peers_join_with_equal_terms_and_their_own_eligibility(training):
    training.enrol(1)
    (event,) = training.enrol(2, mayLead=False, leaderTimeout=5)
    assert event.args["leaderTimeout"] == TIMEOUT  # the first peer's
    assert not training.peer(2)["mayLead"]
    assert training.contract.view("peerCount") == 2
    assert training.contract.view("peerAt", 1) == uid(2)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"minPeers": 13}, "min peers: the contract has 2, the peer 13. "),
        ({"method": MEDIAN}, "merge method: the contract has mean, the peer coordmedian. "),
        ({"adaptive": True}, "adaptive sync: the contract has off, the peer on. "),
    ],
)
def test_different_terms_are_refused_with_both_values(training, refuses, terms, words):
    training.enrol(1)
    assert refuses("terms-differ", training.enrol, 2, **terms) == words
    assert refuses("terms-differ", training.enrol, 1, **terms) == words
    assert not training.peer(2)["enrolled"]


def test_all_differing_terms_are_named(training, refuses):
    training.enrol(1)
    detail = refuses("terms-differ", training.enrol, 2, minPeers=0, method=NONE, adaptive=True)
    assert "min peers" in detail and "merge method" in detail and "adaptive sync" in detail


@pytest.mark.parametrize("terms", [{"minPeers": 0}, {"method": NONE}, {"leaderTimeout": 0}])
def test_the_first_terms_must_make_sense(training, refuses, terms):
    refuses("bad-value", training.enrol, 1, **terms)
    assert training.phase == "UNINITIALIZED"


def test_only_nodes_that_are_registered_and_alive_enrol(training, refuses):
    assert uid(77).hex() in refuses("unknown-node", training.enrol, 77)
    training.lose(1)
    refuses("unknown-node", training.enrol, 1)
    training.evm.nodes.call("leave", uid(2), "done")
    refuses("unknown-node", training.enrol, 2)
    register(training.evm, 1)
    training.enrol(1)


def test_enrolling_twice_is_harmless(training):
    training.enrol(1)
    assert training.enrol(1) == []
    assert training.contract.view("peerCount") == 1


def test_enrolling_again_changes_eligibility(training):
    training.enrol(1)
    (event,) = training.enrol(1, mayLead=False)
    assert event.name == "Enrolled"
    assert not training.peer(1)["mayLead"]


def test_a_restarted_ml_program_trains_again(training):
    training.enrol(1, 2)
    training.round(1, 2)
    training.check_in(1, state=SNAPSHOT)
    training.leave(1)
    assert names(training.enrol(1)) == ["Enrolled"]
    assert (training.peer(1)["live"], training.peer(1)["state"]) == (True, TRAINING)
    training.check_in(1, state=TRAINING)


def test_a_restart_that_may_lead_ends_the_wait_for_a_leader(training):
    training.enrol(1, 2, mayLead=False)
    training.check_in(1, 2)
    assert training.phase == "CHECKIN"
    assert names(training.enrol(2)) == ["Enrolled", "LeaderElected"]
    assert training.leader == 2


def test_a_restart_makes_its_waiting_check_in_fresh(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, 3)
    training.round(1, 2, state=ACTIVE)
    training.check_in(1, 2, state=ACTIVE)
    assert training.phase == "CHECKIN"  # nothing fresh
    assert names(training.enrol(1)) == ["Enrolled", "LeaderElected"]


def test_a_given_generation_must_be_the_present_one(training, refuses):
    training.enrol(1, generation=1)
    detail = refuses("wrong-generation", training.enrol, 2, generation=3)
    assert detail == "the contract is at generation 1, the call at 3"


def test_late_peers_join_in_any_phase(training):
    training.enrol(1, 2)
    training.check_in(1, 2)
    training.enrol(3)
    training.freeze()
    training.enrol(4)
    training.publish()
    training.enrol(5)
    training.round(3, 4, 5)


# --- leave and reap


def test_a_leaving_peer_takes_its_check_in_along(training):
    training.enrol(1, 2)
    training.check_in(1)
    (event,) = training.leave(1, "disk full")
    head = {"generation": 1, "round": 1, "peer": uid(1)}
    assert event == Event("Left", {**head, "reason": "disk full"})
    assert not training.peer(1)["live"]
    assert not training.checked_in(1)
    assert names(training.check_in(2)) == ["CheckedIn"]  # no quorum of the two


def test_leaving_twice_is_harmless(training):
    training.enrol(1)
    training.leave(1)
    assert training.leave(1) == []
    training.lose(1)
    assert training.reap(1) == []


def test_only_enrolled_peers_leave(training, refuses):
    assert refuses("not-enrolled", training.leave, 1) == uid(1).hex()
    refuses("not-enrolled", training.reap, 1)
    training.enrol(1)
    refuses("wrong-generation", training.leave, 1, generation=2)
    refuses("wrong-generation", training.reap, 1, generation=2)


def test_only_lost_peers_are_reaped(training, refuses):
    training.enrol(1)
    refuses("not-lost", training.reap, 1)
    training.lose(1)
    (event,) = training.reap(1)
    assert (event.name, event.args["reason"]) == ("Left", "lost")
    assert not training.peer(1)["live"]


def test_a_check_in_brings_a_peer_back(training):
    training.enrol(1, 2)
    training.leave(1)
    returned, checked_in = training.check_in(1)
    assert returned == Event("Returned", {"generation": 1, "round": 1, "peer": uid(1)})
    assert checked_in.name == "CheckedIn"
    assert training.peer(1)["live"]


# --- completion


def test_the_training_completes_once_all_live_peers_are_closed(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, 3)
    training.leave(3)
    assert training.phase == "CHECKIN"
    events = training.round(1, 2, state=SNAPSHOT)
    assert events[-1] == Event("Completed", {"generation": 1, "round": 2})
    assert training.phase == "COMPLETED"


def test_it_goes_on_while_one_live_peer_trains(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, state=ACTIVE)
    assert training.phase == "CHECKIN"
    training.check_in(1, 2, state=ACTIVE)
    assert training.phase == "CHECKIN"  # closed peers alone make no round
    training.check_in(3)
    assert training.phase == "QUORUM"


def test_a_completed_training_refuses_peers(training, refuses):
    training.enrol(1, 2)
    training.round(1, 2, state=ACTIVE)
    assert refuses("completed", training.enrol, 3) == "the training ended with round 1"
    refuses("completed", training.check_in, 1, state=ACTIVE)
    assert training.leave(1) == []
    training.lose(2)
    assert training.reap(2) == []
    refuses("wrong-phase", training.report, 1)


def test_it_completes_when_the_last_training_peer_leaves(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, state=SNAPSHOT, weightage=5)
    training.check_in(1, 2, state=SNAPSHOT)
    assert names(training.leave(3)) == ["Left", "Completed"]


def test_it_completes_when_the_last_training_peer_is_lost(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, state=SNAPSHOT)
    training.lose(3)
    assert names(training.reap(3)) == ["Left", "Completed"]


def test_it_waits_for_a_closing_peers_last_training(training):
    training.enrol(1, 2, 3)
    training.round(1, 2, 3)
    training.check_in(1, state=SNAPSHOT)
    training.leave(3)
    assert names(training.leave(2)) == ["Left"]  # 1 has something new, but no quorum
    assert training.phase == "CHECKIN"


def test_it_waits_for_a_dropped_peers_last_training(training):
    training.enrol(1, 2, 3, mayLead=False)
    training.enrol(1)
    training.round(1, 2, 3)
    training.round(1, 3, state=ACTIVE)
    training.check_in(1, 3, state=ACTIVE)
    training.check_in(2, state=SNAPSHOT)
    training.freeze()
    assert names(training.drop(2)) == ["Dropped", "Reopened"]
    assert names(training.leave(3)) == ["Left"]
    assert names(training.leave(2)) == ["Left", "Completed"]


def test_without_a_merge_it_never_completes(training):
    training.enrol(1, 2)
    training.check_in(1, state=ACTIVE)
    training.leave(2)
    assert training.leave(1)
    assert training.phase == "CHECKIN"


def test_without_live_peers_it_waits(training):
    training.enrol(1, 2)
    training.round(1, 2)
    training.leave(1)
    assert names(training.leave(2)) == ["Left"]
    assert training.phase == "CHECKIN"
    training.enrol(1)
    training.check_in(1, 2)
    assert training.phase == "QUORUM"


# --- perf, refused, reset


def test_perf_of_a_merged_model_is_recorded(training):
    training.enrol(1, 2)
    training.round(1, 2)
    (event,) = training.perf(2, round=1)
    measured = {"present": True, "loss": 1, "metric": 2, "epochs": 3, "totalEpochs": 4}
    head = {"generation": 1, "round": 1, "peer": uid(2)}
    assert event == Event("PerfReported", {**head, "perf": measured})


def test_perf_needs_a_peer_and_a_merged_model(training, refuses):
    training.enrol(1, 2)
    refuses("wrong-round", training.perf, 1, round=1)
    training.round(1, 2)
    refuses("wrong-round", training.perf, 1, round=0)
    refuses("wrong-round", training.perf, 1, round=2)
    refuses("not-enrolled", training.perf, 3, round=1)
    refuses("wrong-generation", training.perf, 1, round=1, generation=2)


def test_refusals_are_recorded_as_given(training):
    (event,) = training.refused(7, generation=5, round=3)
    head = {"generation": 5, "round": 3, "peer": uid(7)}
    assert event == Event("Refused", {**head, "code": "stale-term", "detail": "late"})
    assert training.phase == "UNINITIALIZED"


def test_reset_makes_room_for_another_training(training, refuses):
    training.enrol(1, 2)
    training.round(1, 2)
    training.check_in(1, 2)
    assert training.reset() == [Event("Reset", {"generation": 1, "round": 2, "by": "op"})]
    summary = training.summary
    fresh = training.evm.deploy_training().view("summary")
    assert summary == {**fresh, "generation": 2}
    assert training.contract.view("peerCount") == 0
    assert not training.peer(1)["enrolled"]
    refuses("wrong-generation", training.reset, generation=1)
    refuses("not-enrolled", training.check_in, 1)
    training.enrol(1, 2, method=MEDIAN)
    events = training.round(1, 2)
    assert {event.args["generation"] for event in events} == {2}


def test_a_completed_contract_can_be_reset(training):
    training.enrol(1, 2)
    training.round(1, 2, state=INACTIVE, weightage=0)
    assert training.phase == "COMPLETED"
    training.reset()
    assert training.phase == "UNINITIALIZED"


# --- writers


CALLS = {
    "enrol": (1, uid(1), 2, MEAN, False, True, TIMEOUT, 0),
    "leave": (1, uid(1), ""),
    "reap": (1, uid(1)),
    "checkIn": (1, uid(1), 1, NONE, NONE, 1, 1, 0, NO_PERF),
    "freeze": (1, 1, 1, uid(1)),
    "drop": (1, 1, 1, uid(1), uid(2), ""),
    "publish": (1, 1, 1, uid(1), NONE, 1, [], 0),
    "attest": (1, 1, 1, uid(1), NONE, 1),
    "reportLeader": (1, 1, 1, uid(1)),
    "perf": (1, uid(1), 1, NO_PERF),
    "refused": (1, uid(1), 1, "", ""),
    "reset": (1, ""),
}


@pytest.mark.parametrize("function", CALLS)
def test_only_writers_change_the_contract(training, refuses, function):
    contract = training.contract
    detail = refuses("not-writer", contract.call, function, *CALLS[function], sender=STRANGER)
    assert STRANGER.hex() in detail


def test_every_state_changing_function_is_in_that_list(training):
    entries = training.contract.functions.values()
    changing = {e["name"] for e in entries if e["stateMutability"] not in {"view", "pure"}}
    assert changing == set(CALLS)


def test_an_index_beyond_the_peers_is_an_error(training):
    with pytest.raises(BrokenError):
        training.contract.view("peerAt", 0)
