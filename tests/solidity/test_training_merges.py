"""TrainingContract: the leader drops participants and publishes."""

import pytest

from tests.solidity.evm import Event, digest, uid
from tests.solidity.training import ACTIVE, INACTIVE, NONE, names

# --- drop


def test_the_leader_drops_a_participant(merging):
    peer, other = merging.followers
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
    peer = three.followers[0]
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
    first, second = merging.followers
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
    first, second = merging.followers
    merging.leave(first)
    assert merging.peer(first)["participant"]
    merging.drop(second)  # leaves two: the leader, and the file of the one that left
    assert merging.phase == "MERGING"
    merging.drop(first)
    assert merging.phase == "CHECKIN"
    assert not merging.checked_in(first)


@pytest.mark.parametrize("dead", ["leaves", "is lost"])
def test_dropping_the_model_of_the_last_one_that_trained_ends_the_training(training, dead):
    """It left in the middle of the merge and took its model along: nobody waits for it."""
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, state=ACTIVE)
    training.check_in(1, 2, state=ACTIVE)
    training.check_in(3)
    training.freeze()
    if dead == "leaves":
        training.leave(3)
    else:
        training.lose(3)
        training.reap(3)
    assert names(training.drop(3)) == ["Dropped", "Reopened", "Completed"]
    assert training.phase == "COMPLETED"


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
    refuses("not-leader", quorum.publish, leader=uid(quorum.followers[0]))
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
