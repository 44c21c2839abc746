"""The fold of a training contract's events, against hand-written event lists."""

import pytest

from services.common import sn_api as api
from services.common.ids import NO_DIGEST, Digest, NodeId, NodeKind
from services.sn.core import ledger
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.training import KEPT_EVENTS, Training
from services.sn.core.views import cursor_of, summary_of, view_of, waiting_for

A, B, C = (NodeId(letter * 32) for letter in "abc")
D1, D2, D3, M1 = (Digest(digit * 64) for digit in "1234")
TRAINING, ACTIVE = api.PeerState.TRAINING, api.PeerState.ACTIVE


def enrolled(peer, *, may_lead=True, round=1, min_peers=2):
    return ledger.Enrolled(1, round, peer, min_peers, "mean", False, may_lead, 600)


def checked_in(peer, digest, *, round=1, base=NO_DIGEST, state=TRAINING, perf=None):
    return ledger.CheckedIn(1, round, peer, base, digest, 1000, 1, state, perf)


ROUND = [
    enrolled(A),
    enrolled(B),
    checked_in(A, D1),
    checked_in(B, D2),
    ledger.LeaderElected(1, 1, 1, A, "quorum"),
    ledger.Frozen(1, 1, 1, A, (A, B)),
    ledger.Published(1, 1, 1, A, M1, 999, (A, B), 0),
]


def fold(events, *, start=10):
    training = Training("c", "0x01", 7)
    for number, event in enumerate(events, start):
        training.apply(event, Block(number, f"{number:04x}".ljust(64, "0"), 1000 + number))
    return training


def words(events):
    return waiting_for(fold(events), Nodes())


@pytest.mark.parametrize(
    ("count", "phase", "words"),
    [
        (0, api.Phase.UNINITIALIZED, "waiting for the first peer to enrol"),
        (1, api.Phase.CHECKIN, "waiting for 2 more peers (0 of 2 checked in)"),
        (3, api.Phase.CHECKIN, "waiting for 1 more peer (1 of 2 checked in)"),
        (5, api.Phase.QUORUM, "waiting for leader aaaaaaaa to close the round (2 of 2 live peers"),
        (6, api.Phase.MERGING, "waiting for leader aaaaaaaa to publish the merge of 2 models"),
        (7, api.Phase.CHECKIN, "waiting for 2 more peers (0 of 2 checked in)"),
    ],
)
def test_each_step_of_a_round(count, phase, words):
    training = fold(ROUND[:count])
    assert training.phase is phase
    assert waiting_for(training, Nodes()).startswith(words)


def test_who_has_not_checked_in_is_named_while_the_leader_waits():
    events = [enrolled(A), enrolled(B), enrolled(C), *ROUND[2:5]]
    assert words(events) == (
        "waiting for cccccccc to check in (2 of 3 live peers did); leader aaaaaaaa closes the "
        "round without them when its SL_WAIT_FOR_FULL_QUORUM_SECONDS are over"
    )
    assert words([*events, ledger.Left(1, 1, C, "")]).endswith("(2 of 2 live peers checked in)")


def test_a_published_round_is_recorded_and_the_next_is_open():
    training = fold(ROUND)
    assert (training.round, training.term, training.leader) == (2, 0, "")
    assert training.merged == api.Merged(round=1, digest=M1, size=999, leader=A, next_interval=0)
    assert all(p.checkin is None and not p.participant for p in training.peers.values())
    assert [p.rounds for p in training.peers.values()] == [1, 1]
    assert training.history.latest == [
        api.RoundRecord(
            generation=1, round=1, term=1, leader=A,
            leaders=[api.LeaderRecord(term=1, leader=A, reason="quorum")],
            digest=M1, size=999,
            contributors=[
                api.Contributor(peer=A, digest=D1, size=1000, weightage=1),
                api.Contributor(peer=B, digest=D2, size=1000, weightage=1),
            ],
            drops=[], block=16, time=1016,
        )
    ]  # fmt: skip


def test_failover_keeps_both_leaders_in_the_record():
    training = fold(
        [
            *ROUND[:6],
            ledger.Left(1, 1, A, "lost"),
            ledger.LeaderElected(1, 1, 2, B, "leader lost"),
            ledger.Frozen(1, 1, 2, B, (B,)),
            ledger.Published(1, 1, 2, B, M1, 999, (B,), 0),
        ]
    )
    (record,) = training.history.latest
    assert [(r.term, r.leader, r.reason) for r in record.leaders] == [
        (1, A, "quorum"), (2, B, "leader lost"),
    ]  # fmt: skip
    assert [c.peer for c in record.contributors] == [B]
    assert (training.peers[A].live, training.peers[A].left) == (False, "lost")


def test_election_is_dated_and_the_date_goes_with_the_leader():
    assert fold(ROUND[:5]).elected == 1014
    assert fold(ROUND).elected is None


def test_a_participant_that_leaves_while_merging_stays_in_the_round():
    training = fold([*ROUND[:6], ledger.Left(1, 1, B, "")])
    peer = training.peers[B]
    assert (peer.live, peer.left, peer.participant) == (False, "left", True)
    assert peer.checkin is not None


def test_a_peer_that_leaves_before_the_freeze_takes_its_checkin_along():
    training = fold([*ROUND[:5], ledger.Left(1, 1, B, "bye"), ledger.Reopened(1, 1, "too few")])
    assert training.peers[B].checkin is None
    assert (training.phase, training.leader) == (api.Phase.CHECKIN, "")
    assert waiting_for(training, Nodes()) == "waiting for 1 more peer (1 of 2 checked in)"


def test_drop_and_reopen():
    dropping = [*ROUND[:6], ledger.Dropped(1, 1, 1, B, "digest mismatch")]
    training = fold(dropping)
    assert training.peers[B].dropped == "digest mismatch"
    assert waiting_for(training, Nodes()).endswith("the merge of 1 models")
    training = fold([*dropping, ledger.Reopened(1, 1, "below min peers")])
    assert training.peers[B].checkin is None
    assert training.peers[A].checkin is not None
    assert training.peers[B].dropped == "digest mismatch"
    training = fold([*dropping, ledger.Reopened(1, 1, "below min peers"), checked_in(B, D3)])
    assert training.peers[B].dropped == ""
    assert training.history.open.drops == [api.DropRecord(peer=B, term=1, reason="digest mismatch")]


def test_a_failed_reelection_forgives_drops():
    training = fold([
        *ROUND[:6], ledger.Dropped(1, 1, 1, B, "slow"), ledger.Left(1, 1, A, "lost"),
        ledger.Reopened(1, 1, "leader lost"),
    ])  # fmt: skip
    assert (training.peers[B].dropped, training.peers[B].checkin is None) == ("", False)
    assert training.peers[A].checkin is None


def test_what_a_reopened_round_waits_for():
    closed = [
        enrolled(A), checked_in(A, D1, state=ACTIVE), enrolled(B, may_lead=False),
        checked_in(B, D2, state=ACTIVE),
        ledger.LeaderElected(1, 1, 1, A, "quorum"), ledger.Frozen(1, 1, 1, A, (A, B)),
        ledger.Published(1, 1, 1, A, M1, 1, (A, B), 0),
    ]  # fmt: skip
    again = [checked_in(peer, D1, round=2, base=M1, state=ACTIVE) for peer in (A, B)]
    assert "a peer that still trains" in words([*closed, *again])
    fresh = [enrolled(B, may_lead=False), enrolled(C, may_lead=False)]
    ready = [checked_in(peer, D1) for peer in (B, C)]
    assert "SL_MAKE_ME_ADMIN" in words([*fresh, *ready])
    assert words([*ROUND[:4], ledger.Reopened(1, 1, "x")]).startswith(
        "waiting for the next check-in (2 of 2"
    )


def test_the_last_training_of_a_closing_peer_is_fresh_once():
    training = fold([enrolled(A), checked_in(A, D1, state=ACTIVE)])
    assert training.peers[A].is_fresh(1)
    assert not training.peers[A].is_fresh(2)


def test_enrolling_again_means_training_again():
    training = fold([
        enrolled(A), checked_in(A, D1, state=ACTIVE), ledger.Left(1, 1, A, "lost"), enrolled(A),
    ])  # fmt: skip
    peer = training.peers[A]
    assert (peer.live, peer.left, peer.state, peer.closed) == (True, "", TRAINING, False)


def test_perf_belongs_to_the_merge_before_the_checkin():
    perf = api.Perf(loss=0.5, metric=0.9)
    training = fold([*ROUND, checked_in(A, D3, round=2, base=M1, perf=perf)])
    assert (training.peers[A].perf, training.peers[A].perf_round) == (perf, 1)
    later = api.Perf(loss=0.4, metric=0.95)
    training = fold([*ROUND, ledger.PerfReported(1, 1, A, later)])
    assert (training.peers[A].perf, training.peers[A].perf_round) == (later, 1)


def test_refusals_are_events_and_nothing_else():
    before, after = fold(ROUND), fold([*ROUND, ledger.Refused(1, 2, C, "terms-differ", "2, 3")])
    assert after.events[-1].kind == "Refused"
    assert after.events[-1].data == {"peer": C, "code": "terms-differ", "detail": "2, 3"}
    assert after.peers == before.peers


def test_returned_peer_is_live():
    training = fold([enrolled(A), ledger.Left(1, 1, A, "lost"), ledger.Returned(1, 1, A)])
    assert (training.peers[A].live, training.peers[A].left) == (True, "")


def test_completed_and_reset():
    training = fold([*ROUND, ledger.Completed(1, 1)])
    assert training.phase is api.Phase.COMPLETED
    assert waiting_for(training, Nodes()) == ""
    training = fold([*ROUND, ledger.Completed(1, 1), ledger.Reset(1, 2, "SWCI-1")])
    assert (training.generation, training.round, training.phase) == (
        2, 0, api.Phase.UNINITIALIZED,
    )  # fmt: skip
    assert (training.peers, training.history.latest, training.merged, training.terms) == (
        {},
        [],
        None,
        None,
    )
    assert training.seq == 9, "the event stream goes on"


def test_events_after_a_cursor():
    training = fold(ROUND)
    cursor = fold(ROUND[:4]).cursor
    assert [e.kind for e in training.events_after(cursor)] == [
        "LeaderElected", "Frozen", "Published",
    ]  # fmt: skip
    assert [e.seq for e in training.events_after("0")] == [1, 2, 3, 4, 5, 6, 7]
    assert [e.seq for e in training.events_after("0", limit=2)] == [6, 7]
    for nothing in (training.cursor, "", "x-y", "99-ab", "-1"):
        assert training.events_after(nothing) == []


def test_kept_events_are_bounded():
    training = fold([ledger.Refused(1, 0, A, "x", "y")] * (3 * KEPT_EVENTS))
    assert len(training.events) == KEPT_EVENTS
    assert training.events[-1].seq == 3 * KEPT_EVENTS


def test_cursor_differs_after_a_change_and_in_another_history():
    assert fold(ROUND[:3]).cursor != fold(ROUND[:4]).cursor
    assert fold(ROUND[:3]).cursor == fold(ROUND[:3]).cursor
    assert fold(ROUND[:3]).cursor != fold(ROUND[:3], start=11).cursor


def node(endpoint="sl-1:30305"):
    return ledger.NodeRegistered(A, NodeKind.SL, False, endpoint, "sl1", "1", B, "f" * 64)


def test_view_shows_addresses_and_its_cursor_follows_them():
    nodes, training = Nodes(), fold(ROUND[:5])
    nodes.apply(node(), Block(1, "00", 5))
    view = view_of(training, nodes, 1.5)
    assert [p.uid for p in view.peers] == [A, B]
    assert (view.peers[0].endpoint, view.peers[0].container) == ("sl-1:30305", "sl1")
    assert view.quorum_age_s == 1.5
    assert view.waiting_for.startswith("waiting for leader sl1 (aaaaaaaa) to close")
    first = cursor_of(training, nodes)
    nodes.apply(node(), Block(2, "01", 6))
    nodes.apply(ledger.NodesAlive((A,)), Block(3, "02", 7))
    assert cursor_of(training, nodes) == first, "nothing that the view shows has changed"
    nodes.apply(node("sl-1:4000"), Block(4, "03", 8))
    assert cursor_of(training, nodes) != first


def test_summary():
    row = summary_of(fold([*ROUND, checked_in(A, D3, round=2, base=M1, state=ACTIVE)]))
    assert (row.name, row.address, row.created) == ("c", "0x01", 7)
    assert (row.round, row.min_peers, row.peers, row.completed_peers) == (2, 2, 2, 1)
    assert summary_of(fold([])).min_peers == 0
