"""Attested merges in what the SN folds from the ledger: view, records, history."""

import pytest

from services.common import sn_api as api
from services.common.ids import NO_DIGEST, Digest, NodeId
from services.sn.core import ledger
from services.sn.core.chronicle import Chronicle, Selection, totals
from services.sn.core.chronicle_text import render
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.training import Training
from services.sn.core.views import view_of

A, B, C, D = (NodeId(letter * 32) for letter in "abcd")
PEERS = (A, B, C, D)
TRUTH, LIE = Digest("1" * 64), Digest("2" * 64)


def proposed(term, leader, digest):
    return [
        ledger.LeaderElected(1, 1, term, leader, "quorum" if term == 1 else "leader exposed"),
        ledger.Frozen(1, 1, term, leader, PEERS),
        ledger.Proposed(1, 1, term, leader, digest, 9, PEERS, 3),
    ]


def attested(term, peer, digest, *, agrees, size=9):
    return ledger.Attested(1, 1, term, peer, digest, size, agrees)


BEGIN = [
    *(ledger.Enrolled(1, 1, uid, 3, "mean", False, True, 600, 2) for uid in PEERS),
    *(
        ledger.CheckedIn(1, 1, uid, NO_DIGEST, Digest("c" * 64), 9, 1, api.PeerState.TRAINING, None)
        for uid in PEERS
    ),
]
LYING = [
    *BEGIN, *proposed(1, A, LIE),
    attested(1, B, TRUTH, agrees=False), attested(1, C, LIE, agrees=True),
    attested(1, D, TRUTH, agrees=False), ledger.Exposed(1, 1, 1, A, LIE, 9, TRUTH, 9),
]  # fmt: skip
HONEST = [
    *LYING, *proposed(2, B, TRUTH), attested(2, C, TRUTH, agrees=True),
    attested(2, A, LIE, agrees=False), attested(2, D, TRUTH, agrees=True),
    ledger.Published(1, 1, 2, B, TRUTH, 9, PEERS, 3),
]  # fmt: skip


def fold(events):
    chronicle = Chronicle(Training("c", "0x01", 7), 1)
    for number, event in enumerate(events, 10):
        chronicle.apply(event, Block(number, f"{number:064x}", 1000 + number))
    return chronicle


def seen(events):
    return view_of(fold(events).training, Nodes(), None)


def test_the_view_shows_the_proposal_and_who_said_what_of_it():
    view = seen(LYING[:-1])
    assert view.terms.attestations == 2
    assert view.proposal == api.Proposal(
        digest=LIE, size=9, contributors=list(PEERS), next_interval=3, attested=[C],
        disputed=[api.Dispute(peer=uid, digest=TRUTH, size=9) for uid in (B, D)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (LYING[:10], "waiting for leader aaaaaaaa to publish the merge of 4 models"),
        (LYING[:11], "waiting for attestations 0/2 for the merge by aaaaaaaa"),
        (
            LYING[:13],
            "waiting for attestations 1/2 for the merge by aaaaaaaa "
            "(another result than the leader's: bbbbbbbb)",
        ),
    ],
)
def test_what_it_waits_for(events, words):
    assert seen(events).waiting_for == words


def test_an_exposed_leader_may_not_lead_any_more_whatever_it_enrols_with():
    again = [
        *HONEST,
        ledger.Left(1, 2, A, "x"),
        ledger.Enrolled(1, 2, A, 3, "mean", False, True, 9),
    ]
    for events in (LYING, HONEST, again):
        peers = {peer.uid: peer for peer in seen(events).peers}
        assert [uid for uid, peer in peers.items() if peer.exposed] == [A]
        assert [uid for uid, peer in peers.items() if peer.may_lead] == [B, C, D]
    new_life = [
        *HONEST,
        ledger.Reset(1, 2, "op"),
        ledger.Enrolled(2, 1, A, 3, "mean", False, True, 9),
    ]
    assert seen(new_life).peers[0].may_lead


def test_where_only_exposed_peers_could_lead_it_says_so():
    only = [
        event if not isinstance(event, ledger.Enrolled) or event.peer == A
        else ledger.Enrolled(1, 1, event.peer, 3, "mean", False, False, 600, 2)
        for event in LYING
    ]  # fmt: skip
    view = seen([*only, ledger.Reopened(1, 1, "leader exposed")])
    assert view.waiting_for == (
        "waiting for a peer that may lead (4 of 3 checked in, none with SL_MAKE_ME_ADMIN, or "
        "exposed)"
    )


@pytest.mark.parametrize(
    "end",
    [
        ledger.LeaderElected(1, 1, 2, B, "deadline passed"),
        ledger.Reopened(1, 1, "too few attesters"),
        HONEST[-1],
        ledger.Reset(1, 1, "op"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_proposal_ends_with_its_term(end):
    assert seen([*LYING[:11], end]).proposal is None


def test_a_published_round_tells_who_attested_it_and_whom_that_exposed():
    (record,) = fold(HONEST).rounds
    assert (record.leader, record.term, record.digest) == (B, 2, TRUTH)
    assert record.attested == [C, D]
    assert record.exposed == [
        api.ExposedRecord(term=1, leader=A, digest=LIE, computed=TRUTH, disputed=[B, D])
    ]


def test_the_next_round_begins_with_nothing():
    events = [
        *HONEST,
        *(
            ledger.CheckedIn(1, 2, uid, TRUTH, LIE, 9, 1, api.PeerState.TRAINING, None)
            for uid in PEERS
        ),
        ledger.Published(1, 2, 1, B, TRUTH, 9, PEERS, 3),
    ]
    assert (fold(events).rounds[1].attested, fold(events).rounds[1].exposed) == ([], [])


def test_the_history_tells_disputes_and_exposures():
    chronicle = fold(HONEST)
    lines = [" ".join(line.split()) for line in render(chronicle, Nodes(), Selection())]
    assert "generation 1: min peers 3, mean, leader timeout 600 s, 2 attestations" in lines
    assert "21 disputed bbbbbbbb: got 1111111111111111... (9 bytes)" in lines
    assert (
        "24 exposed aaaaaaaa: published 2222222222222222... (9 bytes), the others got "
        "1111111111111111... (9 bytes)"
    ) in lines
    assert "31 attested by cccccccc, dddddddd" in lines
    assert lines[-1].endswith("3 disputed, 1 exposed")
    assert totals(chronicle.generations.values()).notes["exposed"] == 1
