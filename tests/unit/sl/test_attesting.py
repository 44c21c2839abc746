"""A follower's part in attesting a merge, and the leader's while it waits for that."""

from dataclasses import replace

import pytest

from services.common import sn_api as api
from services.common.ids import NO_DIGEST
from services.sl.core import events as ev
from services.sl.core.merge_plan import PATIENCE_SECONDS, patience_of, plan_of
from services.sl.core.round import FOREVER, Training

UIDS = [digit * 32 for digit in "12345"]
LEADER = UIDS[0]
MODEL, MERGED, OTHER = ev.Model("a" * 64, 10), ev.Model("d" * 64, 10), ev.Model("e" * 64, 10)
LATE = PATIENCE_SECONDS + 1


def peer(uid, **changes):
    checkin = api.CheckInView(base=NO_DIGEST, digest="a" * 64, size=10, weightage=1)
    given = {
        "uid": uid, "endpoint": f"{uid[0]}:1", "fingerprint": "", "container": "", "live": True,
        "may_lead": True, "state": api.PeerState.TRAINING, "checkin": checkin,
        "participant": True, "dropped": "", "perf": None, "perf_round": 0, "rounds": 0, "left": "",
    }  # fmt: skip
    return api.PeerView(**{**given, **changes})


def view(attested=(), disputed=(), *, attestations=2, term=1, proposed=True, peers=None, **changes):
    proposal = api.Proposal(
        digest=MERGED.digest, size=10, contributors=UIDS, next_interval=0, attested=list(attested),
        disputed=[api.Dispute(peer=uid, digest=OTHER.digest, size=10) for uid in disputed],
    )  # fmt: skip
    given = {
        "name": "c", "generation": 1, "phase": api.Phase.MERGING, "round": 1, "term": term,
        "leader": LEADER, "merged": None, "quorum_age_s": 0.0, "waiting_for": "",
        "terms": api.Terms(
            min_peers=3, merge_method="mean", adaptive=False, leader_timeout_s=600,
            attestations=attestations,
        ),
        "peers": peers or [peer(uid) for uid in UIDS], "proposal": proposal if proposed else None,
    }  # fmt: skip
    return api.ContractView(**{**given, **changes})


def in_order(seen):
    """The followers, first who begins first."""
    followers = [uid for uid in UIDS if uid != LEADER]
    return sorted(followers, key=lambda uid: patience_of(seen, seen.proposal, uid))


def machine(uid, weightage=1):
    made = Training(uid, generation=1, interval=4, quorum_wait=30.0)
    made.handle(ev.MlAsked(1, MODEL, weightage, api.PeerState.TRAINING, 0.0))
    return made


def look(made, seen, now=0.0):
    return made.handle(ev.ViewArrived(seen, now))


@pytest.fixture
def first():
    return machine(in_order(view())[0])


@pytest.fixture
def last():
    return machine(in_order(view())[-1])


def test_the_first_recompute_the_leaders_merge_and_attest_what_they_got(first):
    assert look(first, view(proposed=False)) == []
    (recompute,) = look(first, view())
    assert recompute == ev.Recompute(plan_of(view()).merge, ("1:1",))
    assert first.wake_at == 600.0
    (attest,) = first.handle(ev.Recomputed(recompute, MERGED, 1.0))
    assert attest == ev.Attest(1, 1, MERGED)
    first.handle(ev.Done(attest, 2.0))
    assert look(first, view([first.me]), 3.0) == []


def test_another_result_is_attested_as_it_is(first):
    (recompute,) = look(first, view())
    assert first.handle(ev.Recomputed(recompute, OTHER, 1.0)) == [ev.Attest(1, 1, OTHER)]
    assert look(first, view(disputed=[first.me]), 3.0) == []


def test_the_leader_and_the_attesters_plan_the_same_merge(first):
    leader = machine(LEADER)
    (merge,) = look(leader, view(proposed=False))
    (recompute,) = look(first, view())
    assert recompute.merge == merge


def test_a_leader_waits_for_the_verdict_on_its_proposal():
    leader = machine(LEADER)
    (merge,) = look(leader, view(proposed=False))
    (publish,) = leader.handle(ev.MergeFinished(merge, MERGED, 1.0))
    assert isinstance(publish, ev.Publish)
    leader.handle(ev.Done(publish, 2.0))
    assert look(leader, view(), 10.0) == []
    assert leader.handle(ev.InputFailed(merge, UIDS[1], "late", 11.0)) == []


def test_a_leader_that_started_again_leaves_its_proposal_as_it_is():
    assert look(machine(LEADER), view()) == []


@pytest.mark.parametrize(
    ("attestations", "expected"),
    [(1, [0.0, 1, 2, 3]), (2, [0.0, 0.0, 1, 1]), (3, [0.0, 0.0, 0.0, 1])],
)
def test_so_many_as_are_needed_begin_at_once_the_others_by_and_by(attestations, expected):
    seen = view(attestations=attestations)
    waits = [patience_of(seen, seen.proposal, uid) for uid in in_order(seen)]
    assert waits == pytest.approx([PATIENCE_SECONDS * wait for wait in expected], rel=0.01)


def test_the_order_differs_from_term_to_term():
    assert len({tuple(in_order(view(term=term))) for term in range(1, 9)}) > 1


def test_the_next_ones_begin_if_the_first_are_silent(last):
    assert look(last, view(), 5.0) == []
    assert 5.0 + PATIENCE_SECONDS <= last.wake_at < 5.0 + LATE
    (recompute,) = last.handle(ev.Tick(5.0 + LATE))
    assert isinstance(recompute, ev.Recompute)


def test_patience_counts_from_when_the_proposal_was_seen_first(last):
    look(last, view(), 5.0)
    due = last.wake_at
    look(last, view([in_order(view())[0]]), 10.0)
    assert last.wake_at == due


def test_a_dispute_calls_the_next_one_at_once():
    one, two, three, four = in_order(view())
    assert look(machine(three), view([one], [two]))
    assert look(machine(four), view([one], [two])) == []


def test_who_is_gone_is_not_waited_for():
    one, two, three, _ = in_order(view())
    peers = [peer(uid, live=uid not in (one, two)) for uid in UIDS]
    (recompute,) = look(machine(three), view(peers=peers))
    assert isinstance(recompute, ev.Recompute)


def test_who_attested_is_asked_for_inputs_after_the_leader(last):
    one, two, *_ = in_order(view())
    look(last, view())
    (recompute,) = look(last, view([one], [two]), LATE)
    assert recompute.sources == ("1:1", f"{one[0]}:1", f"{two[0]}:1")


def test_a_recompute_under_way_is_not_begun_again_for_other_sources(last):
    look(last, view())
    (recompute,) = last.handle(ev.Tick(LATE))
    assert look(last, view([in_order(view())[0]]), LATE + 1) == []
    assert last.handle(ev.Recomputed(recompute, MERGED, LATE + 2)) == [ev.Attest(1, 1, MERGED)]


def test_inputs_that_cannot_be_had_are_tried_again(first):
    (recompute,) = look(first, view())
    assert first.handle(ev.Failed(recompute, "nobody serves it", 1.0)) == []
    assert first.handle(ev.Tick(first.wake_at)) == [recompute]


def test_a_merge_that_cannot_be_made_is_not_attested_nor_tried_again(first):
    (recompute,) = look(first, view())
    assert first.handle(ev.Recomputed(recompute, None, 1.0)) == []
    assert first.wake_at == 600.0
    assert first.handle(ev.Tick(600.0)) == [ev.ReportLeader(1, 1)]


def test_a_slow_recompute_does_not_keep_a_late_leader_in_its_place(first):
    look(first, view())
    assert first.wake_at == 600.0
    assert first.handle(ev.Tick(600.0)) == [ev.ReportLeader(1, 1)]


def test_a_result_of_an_earlier_term_is_not_attested_in_the_next(first):
    (recompute,) = look(first, view())
    look(first, view(term=2, proposed=False), 1.0)
    assert first.handle(ev.Recomputed(recompute, MERGED, 2.0)) == []


def test_who_was_taken_for_lost_comes_back_before_it_attests(first):
    away = [peer(uid, live=uid != first.me) for uid in UIDS]
    (back,) = look(first, view(peers=away))
    assert isinstance(back, ev.CheckIn)
    assert back.model == MODEL
    first.handle(ev.Done(back, 1.0))
    (recompute,) = look(first, view(), 2.0)
    assert isinstance(recompute, ev.Recompute)


@pytest.mark.parametrize(
    "changes", [{"participant": False}, {"dropped": "too slow"}, {"checkin": None}]
)
def test_who_did_not_contribute_does_not_attest(changes):
    me = in_order(view())[0]
    peers = [peer(uid, **(changes if uid == me else {})) for uid in UIDS]
    if changes == {"checkin": None}:
        peers = [p.model_copy(update={"participant": p.uid != me}) for p in peers]
    assert look(machine(me), view(peers=peers)) == []


def test_a_merge_of_nobodys_weight_is_attested_without_computing_anything():
    idle = api.CheckInView(base=MERGED.digest, digest="a" * 64, size=10, weightage=0)
    merged = api.Merged(
        round=1, digest=MERGED.digest, size=10, leader=LEADER, next_interval=0
    )  # fmt: skip
    seen = view(peers=[peer(uid, checkin=idle) for uid in UIDS], round=2, merged=merged)
    attester = machine(in_order(seen)[0])
    attester.installed, attester.installed_round = MERGED, 1
    attester.request = replace(attester.request, base_round=1)
    assert look(attester, seen) == [ev.Attest(2, 1, MERGED)]


def test_nothing_to_do_means_waiting_for_the_deadline(first):
    assert look(first, view([first.me])) == []
    assert 0 < first.wake_at < FOREVER
