"""TrainingContract: check-ins, quorum, leaders, freeze, drop, publish, failover."""

import pytest
from eth_utils import keccak

from tests.solidity.evm import Event, digest, uid
from tests.solidity.training import (
    ACTIVE,
    INACTIVE,
    NONE,
    SNAPSHOT,
    TIMEOUT,
    TRAINING,
    Training,
    names,
    register,
)


@pytest.fixture
def three(training):
    """Three peers, quorum of two."""
    training.enrol(1, 2, 3)
    return training


@pytest.fixture
def quorum(three):
    """All three checked in; a leader is elected."""
    three.check_in(1, 2, 3)
    return three


@pytest.fixture
def merging(quorum):
    """All three checked in; the leader has frozen the round."""
    quorum.freeze()
    return quorum


def others(training):
    """Peers that do not lead."""
    return [peer for peer in (1, 2, 3) if peer != training.leader]


def lot(training, round, term, peer):
    numbers = b"".join(n.to_bytes(4, "big") for n in (1, round, term))
    return keccak(training.contract.address + numbers + uid(peer))


# --- check-ins


def test_a_check_in_is_recorded_with_all_it_says(three):
    measured = (True, 10, 20, 30, 40)
    (event,) = three.check_in(1, weightage=7, digest=digest("a"), size=99, measured=measured)
    perf = {"present": True, "loss": 10, "metric": 20, "epochs": 30, "totalEpochs": 40}
    assert event == Event(
        "CheckedIn",
        {
            "generation": 1, "round": 1, "peer": uid(1), "base": NONE, "digest": digest("a"),
            "size": 99, "weightage": 7, "state": TRAINING, "perf": perf,
        },
    )  # fmt: skip
    peer = three.peer(1)
    assert (peer["digest"], peer["size"], peer["weightage"]) == (digest("a"), 99, 7)
    assert not peer["participant"]


def test_only_enrolled_peers_check_in(three, refuses):
    assert refuses("not-enrolled", three.check_in, 4) == uid(4).hex()
    refuses("wrong-generation", three.check_in, 1, generation=2)


@pytest.mark.parametrize("round_number", [0, 2, 7])
def test_check_ins_are_for_the_open_round(three, refuses, round_number):
    detail = refuses("wrong-round", three.check_in, 1, round=round_number)
    assert detail == f"the contract is at round 1, the call at {round_number}"


def test_a_check_in_of_the_last_round_is_refused(three, refuses):
    three.round(1, 2)
    refuses("wrong-round", three.check_in, 1, round=1, base=NONE)


def test_check_ins_build_on_the_latest_merged_model(three, refuses):
    refuses("stale-base", three.check_in, 1, base=digest("x"))
    three.round(1, 2)
    detail = refuses("stale-base", three.check_in, 1, base=NONE)
    assert detail == (
        f"the merged model of round 1 is {digest('merged', 1).hex()}, "
        f"the check-in is based on {NONE.hex()}"
    )
    three.check_in(1)


@pytest.mark.parametrize(
    "values",
    [
        {"digest": NONE},
        {"size": 0},
        {"weightage": 0},
        {"weightage": 101},
        {"weightage": 256},
        {"weightage": 257},
        {"weightage": 0, "state": SNAPSHOT},
        {"weightage": 0, "state": ACTIVE},
        {"state": 4},
    ],
)
def test_bad_values_are_refused(three, refuses, values):
    refuses("bad-value", three.check_in, 1, **values)
    assert not three.checked_in(1)


@pytest.mark.parametrize(
    "values",
    [
        {"weightage": 100},
        {"weightage": 0, "state": INACTIVE},
        {"weightage": 9, "state": INACTIVE},
        {"weightage": 1, "state": SNAPSHOT},
    ],
)
def test_good_values_are_taken(three, values):
    assert names(three.check_in(1, **values)) == ["CheckedIn"]


def test_a_closed_peer_does_not_train_again_by_itself(three, refuses):
    three.check_in(1, state=SNAPSHOT)
    refuses("bad-value", three.check_in, 1, state=TRAINING)
    three.check_in(1, state=ACTIVE)


def test_repeating_a_check_in_is_harmless_in_any_phase(three):
    three.check_in(1)
    assert three.check_in(1) == []
    three.check_in(2, 3)
    assert three.check_in(1) == []
    three.freeze()
    assert three.check_in(1) == []
    assert three.phase == "MERGING"


def test_a_check_in_can_be_replaced_until_the_round_is_frozen(three, refuses):
    three.check_in(1)
    assert names(three.check_in(1, digest=digest("b"))) == ["CheckedIn"]
    three.check_in(2)
    assert three.phase == "QUORUM"
    assert names(three.check_in(1, digest=digest("c"))) == ["CheckedIn"]
    assert three.peer(1)["digest"] == digest("c")
    three.freeze()
    refuses("wrong-phase", three.check_in, 1, digest=digest("d"))
    refuses("wrong-phase", three.check_in, 3)


def test_a_replaced_check_in_counts_once(three):
    three.check_in(1)
    three.check_in(1, digest=digest("b"))
    assert three.phase == "CHECKIN"


def test_a_participant_that_left_returns_by_repeating_its_check_in(merging):
    peer = others(merging)[0]
    merging.leave(peer)
    assert not merging.peer(peer)["live"]
    assert names(merging.check_in(peer)) == ["Returned"]
    assert merging.peer(peer)["live"]


# --- quorum and leader


def test_the_quorum_elects_a_leader(three):
    assert names(three.check_in(1)) == ["CheckedIn"]
    three.evm.advance(9)
    checked_in, elected = three.check_in(2)
    assert checked_in.name == "CheckedIn"
    assert elected.name == "LeaderElected"
    assert elected.args["reason"] == "quorum"
    assert elected.args["term"] == 1
    assert elected.args["leader"] == three.summary["leader"] != bytes(16)
    assert three.phase == "QUORUM"
    assert three.summary["quorumAt"] == three.evm.now


def test_the_leader_has_the_smallest_hash_of_those_who_checked_in(evm):
    seen = set()
    for _ in range(6):  # each contract draws its own lots
        training = Training(evm, min_peers=3)
        training.enrol(1, 2, 3, 4)
        training.check_in(1, 2, 3)
        assert training.leader == min((1, 2, 3), key=lambda p: lot(training, 1, 1, p))
        seen.add(training.leader)
    assert len(seen) > 1


def test_leadership_rotates_with_the_rounds(three):
    leaders = set()
    for round_number in range(1, 9):
        three.check_in(1, 2, 3)
        leaders.add(three.leader)
        pair = (1, 2)  # the quorum was complete with these
        assert three.leader == min(pair, key=lambda p: lot(three, round_number, 1, p))
        three.freeze()
        three.publish()
    assert leaders == {1, 2}


def test_peers_that_may_not_lead_never_do(training):
    training.enrol(1, 2, mayLead=False)
    training.enrol(3)
    training.check_in(1, 2)
    assert training.phase == "CHECKIN"
    training.check_in(3)
    assert training.leader == 3


def test_lost_nodes_do_not_lead(three):
    three.check_in(1)
    winner = min((1, 2), key=lambda p: lot(three, 1, 1, p))
    three.lose(winner)
    three.check_in(2)
    assert three.leader == 3 - winner


def test_if_all_candidates_are_lost_the_next_check_in_elects(three):
    three.check_in(1)
    three.lose(1, 2)
    assert names(three.check_in(2)) == ["CheckedIn"]
    register(three.evm, 2)
    assert names(three.check_in(2)) == ["LeaderElected"]
    assert three.leader == 2


def test_closed_peers_alone_are_no_quorum(three):
    three.round(1, 2, 3)
    three.round(1, 2, state=SNAPSHOT)  # the round in which they close is fresh
    three.check_in(1, 2, state=SNAPSHOT)
    assert three.phase == "CHECKIN"
    three.check_in(3)
    assert three.phase == "QUORUM"


# --- freeze


def test_the_leader_freezes_the_round(quorum):
    (event,) = quorum.freeze()
    assert event.name == "Frozen"
    assert event.args["participants"] == [uid(1), uid(2), uid(3)]
    assert event.args["leader"] == quorum.summary["leader"]
    assert quorum.phase == "MERGING"
    assert all(quorum.peer(p)["participant"] for p in (1, 2, 3))


def test_only_those_who_checked_in_take_part(three):
    three.check_in(1, 2)
    assert three.contract.view("participants") == []
    assert three.freeze()[0].args["participants"] == [uid(1), uid(2)]
    assert three.contract.view("participants") == [uid(1), uid(2)]
    assert not three.peer(3)["participant"]


def test_freezing_twice_is_harmless(merging):
    assert merging.freeze() == []


def test_a_freeze_must_fit(three, refuses):
    refuses("not-leader", three.freeze)
    refuses("stale-term", three.freeze, term=1)
    three.check_in(1, 2)
    refuses("wrong-generation", three.freeze, generation=2)
    refuses("wrong-round", three.freeze, round=2)
    refuses("stale-term", three.freeze, term=2)
    refuses("stale-term", three.freeze, term=0)
    follower = others(three)[0]
    detail = refuses("not-leader", three.freeze, leader=uid(follower))
    assert uid(follower).hex() in detail
    assert uid(three.leader).hex() in detail
    assert three.phase == "QUORUM"


# --- drop


def test_the_leader_drops_a_participant(merging):
    peer, other = others(merging)
    (event,) = merging.drop(peer, "digest differs")
    head = {"generation": 1, "round": 1, "term": 1, "peer": uid(peer)}
    assert event == Event("Dropped", {**head, "reason": "digest differs"})
    assert merging.peer(peer)["dropped"]
    assert not merging.peer(peer)["participant"]
    assert merging.drop(peer) == []
    assert set(merging.contract.view("participants")) == {uid(other), uid(merging.leader)}
    (published,) = merging.publish()
    assert uid(peer) not in published.args["contributors"]


def test_a_drop_must_fit(three, refuses):
    three.check_in(1, 2)
    peer = others(three)[0]
    refuses("wrong-phase", three.drop, peer)
    three.freeze()
    refuses("wrong-generation", three.drop, peer, generation=2)
    refuses("wrong-round", three.drop, peer, round=2)
    refuses("stale-term", three.drop, peer, term=2)
    refuses("not-leader", three.drop, peer, leader=uid(peer))
    refuses("not-participant", three.drop, three.leader)
    refuses("not-participant", three.drop, 3)
    refuses("not-enrolled", three.drop, 8)


def test_too_few_participants_reopen_the_round(merging):
    first, second = others(merging)
    leader = merging.leader
    merging.drop(first)
    dropped, reopened = merging.drop(second)
    assert dropped.name == "Dropped"
    fields = {"generation": 1, "round": 1, "reason": "below min peers"}
    assert reopened == Event("Reopened", fields)
    assert merging.phase == "CHECKIN"
    assert merging.leader is None
    assert merging.checked_in(leader)
    assert not merging.checked_in(first)
    assert not merging.checked_in(second)
    elected = merging.check_in(first)[-1]  # a dropped peer may check in again
    assert (elected.name, elected.args["term"]) == ("LeaderElected", 2)


def test_a_round_without_anything_fresh_is_reopened(training):
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, state=ACTIVE)
    training.check_in(1, 2, state=ACTIVE)
    training.check_in(3)
    training.freeze()
    _, reopened = training.drop(3)
    assert reopened.args["reason"] == "nothing new to merge"
    assert training.phase == "CHECKIN"
    assert training.check_in(1, state=ACTIVE) == []  # quorum by number, but nothing fresh
    assert names(training.check_in(3)) == ["CheckedIn", "LeaderElected"]


def test_who_left_during_the_merge_is_gone_when_it_reopens(merging):
    first, second = others(merging)
    merging.leave(first)
    assert merging.peer(first)["participant"]
    merging.drop(second)  # leaves two: the leader, and the file of the one that left
    assert merging.phase == "MERGING"
    merging.drop(first)
    assert merging.phase == "CHECKIN"
    assert not merging.checked_in(first)


# --- publish


def test_publishing_opens_the_next_round(merging):
    leader = merging.summary["leader"]
    merged = digest("m")
    (event,) = merging.publish(digest=merged, size=5, nextInterval=16)
    assert event == Event(
        "Published",
        {
            "generation": 1, "round": 1, "term": 1, "leader": leader, "digest": merged,
            "size": 5, "contributors": sorted(map(uid, (1, 2, 3))), "nextInterval": 16,
        },
    )  # fmt: skip
    summary = merging.summary
    assert merging.phase == "CHECKIN"
    assert (summary["round"], summary["term"], summary["leader"]) == (2, 0, bytes(16))
    assert (summary["mergedRound"], summary["mergedDigest"]) == (1, merged)
    assert not any(merging.checked_in(p) for p in (1, 2, 3))


def test_repeating_a_publish_is_harmless_until_the_next(merging, refuses):
    same = {"round": 1, "term": 1, "leader": merging.summary["leader"], "digest": digest("m")}
    same["contributors"] = sorted(map(uid, (1, 2, 3)))
    merging.publish(**same)
    assert merging.publish(**same) == []
    refuses("wrong-round", merging.publish, **{**same, "digest": digest("n")})
    refuses("wrong-round", merging.publish, **same, nextInterval=1)
    merging.check_in(1, 2)
    assert merging.publish(**same) == []
    merging.freeze()
    merging.publish()
    refuses("wrong-round", merging.publish, **same)
    merging.reset()
    refuses("wrong-generation", merging.publish, **same, generation=1)


def test_repeating_the_last_publish_of_a_training_is_harmless(three):
    three.check_in(1, 2, 3, state=ACTIVE)
    three.freeze()
    same = {"round": 1, "term": 1, "leader": three.summary["leader"], "digest": digest("m")}
    same["contributors"] = sorted(map(uid, (1, 2, 3)))
    three.publish(**same)
    assert three.phase == "COMPLETED"
    assert three.publish(**same) == []


def test_a_publish_must_fit(quorum, refuses):
    refuses("wrong-phase", quorum.publish)
    quorum.freeze()
    refuses("wrong-generation", quorum.publish, generation=2)
    refuses("wrong-round", quorum.publish, round=2)
    refuses("stale-term", quorum.publish, term=0)
    refuses("stale-term", quorum.publish, term=2)
    refuses("not-leader", quorum.publish, leader=uid(others(quorum)[0]))
    refuses("bad-value", quorum.publish, digest=NONE)
    refuses("bad-value", quorum.publish, size=0)
    assert quorum.phase == "MERGING"


def test_the_contributors_are_the_participants_not_dropped(training, refuses):
    training.enrol(1, 2, 3, 4, 5)
    training.check_in(1, 2, 3, 4)
    training.freeze()
    dropped = next(p for p in (1, 2, 3, 4) if p != training.leader)
    training.drop(dropped)
    right = sorted(uid(p) for p in (1, 2, 3, 4) if p != dropped)
    wrong = [
        [],
        right[:-1],
        [*right, uid(dropped)],
        right[::-1],
        [right[0], right[0], right[2]],
        sorted([*right[1:], uid(dropped)]),
        sorted([*right[1:], uid(5)]),
        sorted([*right[1:], uid(77)]),
    ]
    for contributors in wrong:
        refuses("contributors-differ", training.publish, contributors=contributors)
    training.publish(contributors=right)


def test_if_nobody_weighs_anything_the_model_stays(training, refuses):
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, 3)
    merged = training.summary["mergedDigest"]
    training.check_in(1, 2, state=INACTIVE, weightage=0)
    training.freeze()
    refuses("bad-value", training.publish, digest=digest("else"))
    training.publish(digest=merged)
    assert training.summary["mergedRound"] == 2


def test_a_first_merge_of_nobodys_weight_is_free(training):
    training.enrol(1, 2)
    training.check_in(1, 2, state=INACTIVE, weightage=0)
    training.freeze()
    training.publish(digest=digest("anything"))


# --- failover


def test_a_living_leader_keeps_its_term_until_the_deadline(quorum, refuses):
    quorum.evm.advance(TIMEOUT - 8)
    detail = refuses("not-lost", quorum.report, others(quorum)[0])
    assert detail == "the leader is alive and has 8 s left"
    quorum.evm.advance(7)
    refuses("not-lost", quorum.report, others(quorum)[0])
    quorum.evm.advance(1)
    quorum.report(others(quorum)[0])


@pytest.mark.parametrize("frozen", [False, True])
def test_past_the_deadline_another_leads_and_the_old_ones_file_stays(quorum, frozen):
    if frozen:
        quorum.freeze()
    old = quorum.leader
    reporter = others(quorum)[0]
    quorum.evm.advance(TIMEOUT)
    (elected,) = quorum.report(reporter)
    assert elected == Event(
        "LeaderElected",
        {
            "generation": 1, "round": 1, "term": 2, "leader": elected.args["leader"],
            "reason": "deadline passed",
        },
    )  # fmt: skip
    assert quorum.phase == "QUORUM"
    rivals = [p for p in (1, 2, 3) if p != old]
    assert quorum.leader == min(rivals, key=lambda p: lot(quorum, 1, 2, p))
    assert quorum.checked_in(old)
    assert quorum.summary["quorumAt"] == quorum.evm.now
    assert len(quorum.freeze()[0].args["participants"]) == 3


def test_a_lost_leader_is_replaced_at_once_and_taken_out(merging):
    old = merging.leader
    reporter = others(merging)[0]
    merging.lose(old)
    left, elected = merging.report(reporter)
    assert (left.name, left.args["peer"], left.args["reason"]) == ("Left", uid(old), "lost")
    assert elected.args["reason"] == "leader lost"
    assert elected.args["term"] == 2
    assert merging.phase == "QUORUM"
    assert not merging.peer(old)["live"]
    assert not merging.checked_in(old)
    assert len(merging.freeze()[0].args["participants"]) == 2


def test_a_late_leader_is_fenced(merging, refuses):
    old = {"leader": merging.summary["leader"], "term": 1}
    reporter = others(merging)[0]
    merging.evm.advance(TIMEOUT)
    merging.report(reporter)
    everybody = sorted(map(uid, (1, 2, 3)))
    detail = refuses("stale-term", merging.publish, **old, contributors=everybody)
    assert detail == "the contract is at term 2, the call at 1"
    refuses("stale-term", merging.freeze, **old)
    refuses("stale-term", merging.drop, reporter, **old)
    merging.freeze()
    refuses("stale-term", merging.publish, **old, contributors=everybody)
    refuses("not-leader", merging.publish, leader=old["leader"])
    merging.publish()


def test_reporting_a_leader_that_was_replaced_is_harmless(quorum, refuses):
    reporter = others(quorum)[0]
    quorum.evm.advance(TIMEOUT)
    quorum.report(reporter)
    assert quorum.report(reporter, term=1) == []
    assert quorum.summary["term"] == 2
    refuses("stale-term", quorum.report, reporter, term=3)


def test_a_report_must_fit(three, refuses):
    refuses("wrong-phase", three.report, 1)
    refuses("not-enrolled", three.report, 4)
    refuses("wrong-generation", three.report, 1, generation=2)
    refuses("wrong-round", three.report, 1, round=2)


def test_without_a_quorum_the_round_reopens(training):
    training.enrol(1, 2)
    training.check_in(1, 2)
    old = training.leader
    training.lose(old)
    left, reopened = training.report(3 - old)
    assert left.name == "Left"
    assert reopened == Event("Reopened", {"generation": 1, "round": 1, "reason": "leader lost"})
    assert training.phase == "CHECKIN"
    assert training.checked_in(3 - old)
    register(training.evm, old)
    events = training.check_in(old)
    assert names(events) == ["Returned", "CheckedIn", "LeaderElected"]
    assert events[-1].args["term"] == 2


def test_a_replacement_takes_out_every_lost_peer(training):
    training.enrol(1, 2, 3, 4, 5)
    training.check_in(1, 2, 3, 4)
    training.freeze()
    leader = training.leader
    gone = next(p for p in (1, 2, 3, 4) if p != leader)
    reporter = next(p for p in (4, 3, 2, 1) if p not in (leader, gone))
    training.lose(leader, gone, 5)
    events = training.report(reporter)
    assert names(events) == ["Left", "Left", "Left", "LeaderElected"]
    assert {e.args["peer"] for e in events[:3]} == {uid(leader), uid(gone), uid(5)}
    assert len(training.freeze()[0].args["participants"]) == 2


def test_the_next_term_forgets_drops_and_who_left(training):
    training.enrol(1, 2, 3, 4, 5)
    training.check_in(1, 2, 3, 4, 5)
    training.freeze()
    leader = training.leader
    dropped, left, reporter = [p for p in (1, 2, 3, 4, 5) if p != leader][:3]
    training.drop(dropped)
    training.leave(left)
    training.evm.advance(TIMEOUT)
    training.report(reporter)
    assert not training.peer(dropped)["dropped"]
    assert not training.checked_in(left)
    participants = training.freeze()[0].args["participants"]
    assert set(participants) == {uid(p) for p in (1, 2, 3, 4, 5) if p != left}


def test_the_only_peer_that_may_lead_leads_again(training):
    training.enrol(1)
    training.enrol(2, mayLead=False)
    training.check_in(1, 2)
    training.evm.advance(TIMEOUT)
    (elected,) = training.report(2)
    assert (elected.args["leader"], elected.args["term"]) == (uid(1), 2)


def test_terms_start_anew_with_each_round(quorum):
    reporter = others(quorum)[0]
    quorum.evm.advance(TIMEOUT)
    quorum.report(reporter)
    quorum.freeze()
    quorum.publish()
    assert quorum.check_in(1, 2)[-1].args["term"] == 1


@pytest.mark.parametrize("frozen", [False, True])
def test_a_leaving_leader_is_replaced(quorum, frozen):
    if frozen:
        quorum.freeze()
    old = quorum.leader
    left, elected = quorum.leave(old)
    assert left.name == "Left"
    assert elected.args["reason"] == "leader left"
    assert quorum.phase == "QUORUM"
    assert not quorum.checked_in(old)


def test_a_reaped_leader_is_replaced(quorum):
    old = quorum.leader
    quorum.lose(old)
    _, elected = quorum.reap(old)
    assert elected.args["reason"] == "leader lost"


def test_a_peer_leaving_a_quorum_reopens_it_or_not(quorum):
    first, second = others(quorum)
    assert names(quorum.leave(first)) == ["Left"]
    assert quorum.phase == "QUORUM"
    _, reopened = quorum.leave(second)
    assert reopened.args["reason"] == "peer left"
    assert quorum.phase == "CHECKIN"


def test_a_quorum_without_anything_fresh_reopens(training):
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, state=ACTIVE)
    training.check_in(1, 2, state=ACTIVE)
    training.check_in(3)
    assert names(training.leave(3)) == ["Left", "Reopened", "Completed"]


def test_a_participant_that_leaves_is_still_merged(merging):
    peer = others(merging)[0]
    assert names(merging.leave(peer)) == ["Left"]
    (published,) = merging.publish()
    assert uid(peer) in published.args["contributors"]


def test_losing_the_only_peer_that_still_trains_ends_the_training(training):
    training.enrol(1)
    training.enrol(2, 3, mayLead=False)
    training.check_in(2, 3, state=ACTIVE)
    training.check_in(1)
    training.freeze()
    training.publish()
    training.check_in(2, 3, state=ACTIVE)
    training.check_in(1)
    training.lose(1)
    assert names(training.report(2)) == ["Left", "Reopened", "Completed"]
    assert training.phase == "COMPLETED"
