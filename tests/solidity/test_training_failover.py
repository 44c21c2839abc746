"""TrainingContract: leaders are replaced, rounds reopen, peers leave in mid-round."""

import pytest

from tests.solidity.evm import Event, uid
from tests.solidity.training import ACTIVE, TIMEOUT, names, register


def test_a_living_leader_keeps_its_term_until_the_deadline(quorum, refuses):
    quorum.evm.advance(TIMEOUT - 8)
    detail = refuses("not-lost", quorum.report, quorum.followers[0])
    assert detail == "the leader is alive and has 8 s left"
    quorum.evm.advance(7)
    refuses("not-lost", quorum.report, quorum.followers[0])
    quorum.evm.advance(1)
    quorum.report(quorum.followers[0])


@pytest.mark.parametrize("frozen", [False, True])
def test_past_the_deadline_another_leads_and_the_old_ones_file_stays(quorum, frozen):
    if frozen:
        quorum.freeze()
    old = quorum.leader
    reporter = quorum.followers[0]
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
    assert quorum.leader == min(rivals, key=lambda p: quorum.lot(p, 1, 2))
    assert quorum.checked_in(old)
    assert quorum.summary["quorumAt"] == quorum.evm.now
    assert len(quorum.freeze()[0].args["participants"]) == 3


def test_a_lost_leader_is_replaced_at_once_and_taken_out(merging):
    old = merging.leader
    reporter = merging.followers[0]
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
    reporter = merging.followers[0]
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
    reporter = quorum.followers[0]
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
    reporter = quorum.followers[0]
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
    first, second = quorum.followers
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
    peer = merging.followers[0]
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


def test_a_late_leader_whose_round_lost_all_that_was_new_ends_the_training(training):
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, state=ACTIVE)
    training.check_in(1, 2, state=ACTIVE)
    training.check_in(3)
    training.lose(3)
    training.evm.advance(TIMEOUT)
    assert names(training.report(1)) == ["Left", "Reopened", "Completed"]
