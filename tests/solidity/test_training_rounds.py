"""TrainingContract: check-ins, quorum, leader, freeze."""

import pytest

from tests.solidity.evm import Event, digest, uid
from tests.solidity.training import (
    ACTIVE,
    INACTIVE,
    NONE,
    SNAPSHOT,
    TRAINING,
    Training,
    names,
    register,
)

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
    peer = merging.followers[0]
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
        assert training.leader == min((1, 2, 3), key=lambda p: training.lot(p, 1, 1))
        seen.add(training.leader)
    assert len(seen) > 1


def test_leadership_rotates_with_the_rounds(three):
    leaders = set()
    for round_number in range(1, 9):
        three.check_in(1, 2, 3)
        leaders.add(three.leader)
        pair = (1, 2)  # the quorum was complete with these
        assert three.leader == min(pair, key=lambda p: three.lot(p, round_number, 1))
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
    winner = min((1, 2), key=lambda p: three.lot(p, 1, 1))
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
    follower = three.followers[0]
    detail = refuses("not-leader", three.freeze, leader=uid(follower))
    assert uid(follower).hex() in detail
    assert uid(three.leader).hex() in detail
    assert three.phase == "QUORUM"
