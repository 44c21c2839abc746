"""TrainingContract: what calls cost does not grow with the peers that left."""

import pytest

from tests.solidity.evm import uid
from tests.solidity.training import Training, names, register

GONE = range(100, 160)


def costs(training):
    """Gas of each call of one round of peers 1 to 3."""
    found = []
    for act in (
        lambda: training.check_in(1), lambda: training.check_in(2), lambda: training.check_in(3),
        training.freeze, training.publish,
    ):  # fmt: skip
        act()
        found.append(training.contract.gas_used)
    return found


def with_peers_that(evm, go) -> Training:
    """Three peers, and many that enrolled before them and then went away; after two rounds."""
    training = Training(evm, min_peers=3)
    if go is not None:
        register(evm, *GONE)
        training.enrol(*GONE)
    training.enrol(1, 2, 3)
    if go is not None:
        go(training)
    training.round(1, 2, 3)
    training.round(1, 2, 3)
    return training


def leave(training):
    for peer in GONE:
        training.leave(peer)


def are_reaped(training):
    training.lose(*GONE)
    for peer in GONE:
        training.reap(peer)


def leave_during_a_merge(training):
    training.check_in(1, 2, 3, *GONE)
    training.freeze()
    leave(training)
    training.publish()


def are_lost_with_their_leader(training):
    training.check_in(1, 2, 3, *GONE)
    training.lose(*GONE)
    if training.leader is None:  # one of those who went
        leader = training.summary["leader"]
        training.contract.call("reportLeader", 1, 1, training.summary["term"], uid(1))
        assert training.summary["leader"] != leader
    else:
        leave(training)


@pytest.mark.parametrize(
    "go", [leave, are_reaped, leave_during_a_merge, are_lost_with_their_leader]
)
def test_peers_that_went_cost_nothing(evm, go):
    alone = with_peers_that(evm, None)
    crowded = with_peers_that(evm, go)
    assert crowded.contract.view("peerCount") == len(GONE) + 3
    for before, after in zip(costs(alone), costs(crowded), strict=True):
        assert abs(after - before) < 3000, (
            "no more than the counters' first and later writes differ"
        )


def test_who_comes_back_takes_part_again_after_the_others(evm):
    training = Training(evm, min_peers=2)
    training.enrol(1, 2, 3)
    training.round(1, 2, 3)
    training.leave(1)
    training.check_in(2, 3, 1)
    (frozen,) = training.freeze()
    assert frozen.args["participants"] == [uid(2), uid(3), uid(1)]
    assert names(training.publish()) == ["Published"]


def test_who_comes_back_during_the_merge_has_one_seat(evm):
    training = Training(evm, min_peers=2)
    training.enrol(1, 2, 3)
    training.check_in(1, 2, 3)
    training.freeze()
    (other, *_) = training.followers
    training.leave(other)
    training.enrol(other)
    assert training.contract.view("participants") == [uid(1), uid(2), uid(3)]
    training.publish()
    training.check_in(1, 2, 3)
    assert training.freeze()[0].args["participants"] == [uid(1), uid(2), uid(3)]
