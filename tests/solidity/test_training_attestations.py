"""TrainingContract: merges that others must attest, and leaders that are exposed."""

from random import Random

import pytest

from tests.solidity.evm import Event, digest, uid
from tests.solidity.training import (
    ACTIVE,
    INACTIVE,
    NONE,
    SIZE,
    TIMEOUT,
    Training,
    names,
    register,
)

LIE, OTHER_LIE = digest("a lie"), digest("another lie")
TRUTH = digest("merged", 1)


def proposed(evm, attestations, peers=3, min_peers=None):
    """A training of peers 1 to ``peers`` whose leader has published."""
    training = Training(evm, min_peers or attestations + 1, attestations)
    everybody = range(1, peers + 1)
    training.enrol(*everybody)
    training.check_in(*everybody)
    training.freeze()
    training.publish()
    return training


def others(training, peers=3):
    return [number for number in range(1, peers + 1) if number != training.leader]


@pytest.fixture
def one(evm):
    """Three peers, one attestation needed; proposed."""
    return proposed(evm, 1)


@pytest.fixture
def two(evm):
    """Four peers, two attestations needed; proposed."""
    return proposed(evm, 2, peers=4)


# --- terms


def test_the_attestations_are_a_term_that_the_first_peer_fixes(evm, refuses):
    training = Training(evm, min_peers=3, attestations=2)
    (event,) = training.enrol(1)
    assert event.args["attestations"] == training.summary["attestations"] == 2
    detail = refuses("terms-differ", training.enrol, 2, attestations=1)
    assert detail == "attestations of a merge: the contract has 2, the peer 1. "
    training.reset()
    assert training.summary["attestations"] == 0
    training.enrol(1, attestations=0)


@pytest.mark.parametrize("attestations", [2, 3, 255])
def test_min_peers_must_exceed_the_attestations(training, refuses, attestations):
    detail = refuses("bad-value", training.enrol, 1, attestations=attestations)
    assert f"2 min peers, {attestations} attestations" in detail
    training.enrol(1, attestations=1)


# --- a proposal


def test_a_published_merge_is_a_proposal_at_first(evm):
    training = Training(evm, 2, 1)
    training.enrol(1, 2, 3)
    training.check_in(1, 2, 3)
    training.freeze()
    leader = training.summary["leader"]
    (event,) = training.publish(nextInterval=8)
    assert event == Event(
        "Proposed",
        {
            "generation": 1, "round": 1, "term": 1, "leader": leader, "digest": TRUTH,
            "size": SIZE, "contributors": sorted(map(uid, (1, 2, 3))), "nextInterval": 8,
        },
    )  # fmt: skip
    assert training.phase == "MERGING"
    assert training.summary["mergedDigest"] == NONE
    assert training.contract.view("proposal") == {"digest": TRUTH, "size": SIZE, "agreed": 0}
    attested, published = training.attest(others(training)[0])
    assert attested.args["agrees"]
    assert published == Event("Published", event.args)
    assert training.summary["mergedDigest"] == TRUTH
    assert training.contract.view("proposal") == {"digest": NONE, "size": 0, "agreed": 0}


def test_so_many_must_attest(two):
    first, second, third = others(two, 4)
    assert names(two.attest(first)) == ["Attested"]
    assert two.contract.view("proposal")["agreed"] == 1
    assert names(two.attest(second)) == ["Attested", "Published"]
    assert two.phase == "CHECKIN"
    assert two.peer(third)["digest"] == NONE


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("how", ["ascending", "descending", "shuffled"])
def test_contributors_are_published_in_ascending_order_however_they_came(evm, count, how):
    order = sorted(range(100, 100 + count), key=uid, reverse=how == "descending")
    if how == "shuffled":
        Random(count).shuffle(order)
    (*_, published), _ = one_attests(evm, order)
    assert published.args["contributors"] == sorted(map(uid, order))


def test_what_the_last_attestation_costs_hardly_depends_on_how_they_came(evm):
    costs = []
    for reverse in (False, True):
        _, cost = one_attests(evm, sorted(range(100, 180), key=uid, reverse=reverse))
        costs.append(cost)
    assert max(costs) < 1.1 * min(costs)
    assert max(costs) < 1_500_000


def one_attests(evm, order):
    """A round of peers that come in this order; events and gas of its last attestation."""
    register(evm, *order)
    training = Training(evm, 2, 1)
    training.enrol(*order)
    training.check_in(*order)
    training.freeze()
    training.publish()
    follower = next(n for n in order if uid(n) != training.summary["leader"])
    return training.attest(follower), training.contract.gas_used


def test_repeating_a_publish_is_harmless_another_one_is_refused(one, refuses):
    same = {"round": 1, "term": 1, "leader": one.summary["leader"], "digest": TRUTH}
    same["contributors"] = sorted(map(uid, (1, 2, 3)))
    assert one.publish(**same) == []
    refuses("contradicts", one.publish, digest=LIE)
    refuses("contradicts", one.publish, nextInterval=3)
    one.attest(others(one)[0])
    assert one.publish(**same) == []
    refuses("wrong-round", one.publish, **{**same, "digest": LIE})


def test_nobody_is_dropped_from_a_proposed_merge(evm, refuses):
    training = Training(evm, 2, 1)
    training.enrol(1, 2, 3, 4)
    training.check_in(1, 2, 3, 4)
    training.freeze()
    dropped, kept, attester = others(training, 4)
    training.drop(dropped)
    training.publish()
    refuses("contradicts", training.drop, kept)
    assert training.drop(dropped) == []
    refuses("not-participant", training.attest, dropped)
    *_, published = training.attest(attester)
    assert uid(dropped) not in published.args["contributors"]


# --- attesting


def test_an_attestation_must_fit(one, refuses):
    peer = others(one)[0]
    refuses("wrong-generation", one.attest, peer, generation=2)
    refuses("wrong-round", one.attest, peer, round=2)
    refuses("stale-term", one.attest, peer, term=0)
    refuses("stale-term", one.attest, peer, term=2)
    refuses("not-enrolled", one.attest, 8)
    refuses("not-participant", one.attest, one.leader)
    refuses("bad-value", one.attest, peer, digest=NONE)
    refuses("bad-value", one.attest, peer, size=0)
    one.enrol(7)
    refuses("not-participant", one.attest, 7)


def test_there_must_be_a_proposal(quorum, refuses):
    refuses("wrong-phase", quorum.attest, 1, digest=TRUTH)
    quorum.freeze()
    refuses("wrong-phase", quorum.attest, 1, digest=TRUTH)


def test_repeating_an_attestation_is_harmless_also_later(two, refuses):
    first, second, _ = others(two, 4)
    same = {"round": 1, "term": 1, "digest": TRUTH}
    two.attest(first)
    assert two.attest(first) == []
    refuses("contradicts", two.attest, first, digest=LIE)
    refuses("contradicts", two.attest, first, size=7)
    two.attest(second)
    two.check_in(first)
    assert two.attest(first, **same) == []
    refuses("wrong-round", two.attest, first, **{**same, "digest": LIE})
    two.reset()
    refuses("wrong-generation", two.attest, first, **same, generation=1)


def test_who_left_must_come_back_to_attest(one, refuses):
    peer = others(one)[0]
    one.leave(peer)
    refuses("not-participant", one.attest, peer)
    assert names(one.check_in(peer)) == ["Returned"]
    assert names(one.attest(peer)) == ["Attested", "Published"]


# --- exposed


def test_attesters_that_agree_on_another_merge_expose_the_leader(two):
    leader, (first, second, _) = two.leader, others(two, 4)
    (event,) = two.attest(first, digest=LIE, size=9)
    assert not event.args["agrees"]
    attested, exposed, elected = two.attest(second, digest=LIE, size=9)
    assert attested.name == "Attested"
    assert exposed == Event(
        "Exposed",
        {
            "generation": 1, "round": 1, "term": 1, "leader": uid(leader), "digest": TRUTH,
            "size": SIZE, "computed": LIE, "computedSize": 9,
        },
    )  # fmt: skip
    assert (elected.name, elected.args["reason"]) == ("LeaderElected", "leader exposed")
    assert two.summary["term"] == 2
    assert two.leader != leader
    assert two.checked_in(leader), "its model is as good as anybody's"


def test_attesters_that_differ_decide_nothing(two):
    first, second, third = others(two, 4)
    two.attest(first, digest=LIE)
    two.attest(second, digest=OTHER_LIE)
    assert names(two.attest(third)) == ["Attested"]
    assert (two.phase, two.summary["term"]) == ("MERGING", 1)
    two.evm.advance(TIMEOUT)
    (elected,) = two.report(first)
    assert elected.args["reason"] == "deadline passed"
    assert two.peer(others(two, 4)[0])["mayLead"]


def test_a_right_digest_with_a_wrong_size_is_another_merge(one):
    assert names(one.attest(others(one)[0], size=SIZE + 1)) == [
        "Attested", "Exposed", "LeaderElected",
    ]  # fmt: skip


def test_who_was_exposed_does_not_lead_again_in_this_generation(one):
    liar = one.leader
    one.attest(others(one)[0], digest=LIE)
    one.leave(liar)
    one.enrol(liar)
    assert not one.peer(liar)["mayLead"]
    for _ in range(4):
        one.check_in(1, 2, 3)
        assert one.leader != liar
        one.freeze()
        one.publish()
        one.attest(liar)
    one.reset()
    one.enrol(liar)
    assert one.peer(liar)["mayLead"]


def test_an_exposed_leader_may_still_attest(one):
    liar = one.leader
    one.attest(others(one)[0], digest=LIE)
    one.freeze()
    one.publish()
    assert names(one.attest(liar)) == ["Attested", "Published"]


def test_if_only_the_exposed_one_may_lead_the_round_reopens(evm):
    training = Training(evm, 2, 1)
    training.enrol(1)
    training.enrol(2, mayLead=False)
    training.check_in(1, 2)
    training.freeze()
    training.publish()
    *_, exposed, reopened = training.attest(2, digest=LIE)
    assert exposed.name == "Exposed"
    assert reopened == Event("Reopened", {"generation": 1, "round": 1, "reason": "leader exposed"})
    assert names(training.check_in(1)) == []
    assert names(training.enrol(2, mayLead=True)) == ["Enrolled", "LeaderElected"]
    assert training.leader == 2


def test_the_last_attestation_may_complete_the_training(evm):
    training = Training(evm, 2, 1)
    training.enrol(1, 2)
    training.round(1, 2, state=ACTIVE)
    training.attest(others(training, 2)[0])
    assert training.phase == "COMPLETED"


# --- terms that end before the verdict


def test_a_proposal_ends_with_its_term(two, refuses):
    first, second, _ = others(two, 4)
    same = {"round": 1, "term": 1, "leader": two.summary["leader"], "digest": TRUTH}
    same["contributors"] = sorted(map(uid, (1, 2, 3, 4)))
    two.attest(first)
    two.evm.advance(TIMEOUT)
    two.report(first)
    assert two.contract.view("proposal")["digest"] == NONE
    refuses("stale-term", two.attest, second, term=1, digest=TRUTH)
    refuses("stale-term", two.publish, **same)
    two.freeze()
    refuses("wrong-phase", two.attest, second, digest=TRUTH)
    two.publish()
    attesters = others(two, 4)
    assert names(two.attest(attesters[0])) == ["Attested"], "the first term's do not count"
    assert names(two.attest(attesters[1])) == ["Attested", "Published"]


@pytest.mark.parametrize("how", ["leave", "lose"])
def test_a_leader_that_goes_takes_its_proposal_with_it(two, how):
    first = others(two, 4)[0]
    if how == "lose":
        two.lose(two.leader)
        _, elected = two.report(first)
    else:
        _, elected = two.leave(two.leader)
    assert elected.args["term"] == 2
    assert two.contract.view("proposal")["digest"] == NONE


def test_too_few_attesters_end_the_term_at_once(evm):
    training = proposed(evm, 2)
    first, second = others(training)
    left, reopened = training.leave(first)
    assert left.name == "Left"
    fields = {"generation": 1, "round": 1, "reason": "too few attesters"}
    assert reopened == Event("Reopened", fields)
    assert training.checked_in(second)
    assert not training.checked_in(first)


def test_who_attested_and_left_counts(evm):
    training = proposed(evm, 2)
    first, second = others(training)
    training.attest(first)
    assert names(training.leave(first)) == ["Left"]
    assert names(training.attest(second)) == ["Attested", "Published"]


def test_an_attester_may_go_while_enough_are_left(two):
    first, second, third = others(two, 4)
    assert names(two.leave(first)) == ["Left"]
    two.attest(second)
    assert names(two.attest(third)) == ["Attested", "Published"]


def test_before_a_proposal_too_few_attesters_end_the_term_too(evm):
    training = Training(evm, 3, 2)
    training.enrol(1, 2, 3)
    training.check_in(1, 2, 3)
    training.freeze()
    assert names(training.leave(others(training)[0])) == ["Left", "Reopened"]


def test_a_drop_may_leave_too_few_attesters(evm):
    training = Training(evm, 3, 2)
    training.enrol(1, 2, 3, 4)
    training.check_in(1, 2, 3, 4)
    training.freeze()
    gone, dropped, _ = others(training, 4)
    assert names(training.leave(gone)) == ["Left"]
    _, elected = training.drop(dropped)  # three models are left, one of them of who left
    assert elected.args["reason"] == "too few attesters"
    assert training.checked_in(dropped)
    assert not training.checked_in(gone)


# --- the rest of a training


def test_if_nobody_weighs_anything_the_model_stays_and_is_attested(evm, refuses):
    training = Training(evm, 2, 1)
    training.enrol(1, 2)
    training.enrol(3, mayLead=False)
    training.round(1, 2, 3)
    training.attest(others(training)[0])
    merged = training.summary["mergedDigest"]
    training.check_in(1, 2, state=INACTIVE, weightage=0)
    training.freeze()
    refuses("bad-value", training.publish, digest=LIE)
    training.publish(digest=merged)
    assert "Published" in names(training.attest(others(training, 2)[0]))


def test_a_reset_forgets_the_proposal(one, refuses):
    one.reset()
    one.enrol(1, 2, 3)
    one.check_in(1, 2, 3)
    one.freeze()
    refuses("wrong-phase", one.attest, others(one)[0], digest=TRUTH)
