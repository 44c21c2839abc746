"""Rounds of a training contract through the API of a real SN, on either engine."""

import asyncio
import math

import pytest

from services.common import sn_api as api
from services.common.errors import ForbiddenError, NotFoundError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from tests.component.sn.conftest import PATIENCE, on_both_engines

pytestmark = on_both_engines
Phase = api.Phase
MERGED = "d" * 64


async def leader_and_other(swarm, sn):
    """Two enrolled peers that checked in, the elected one first; and the state they see."""
    peers = [await swarm.peer(sn, name) for name in "12"]
    await asyncio.gather(*(peer.enrol() for peer in peers))
    await asyncio.gather(*(p.check_in(digit=d) for p, d in zip(peers, "ab", strict=True)))
    state = await peers[0].state()
    if state.view.leader != peers[0].uid:
        peers.reverse()
    return peers, state


async def publish(leader, state, **changes):
    given = {
        "generation": 1, "round": state.view.round, "term": state.view.term, "digest": MERGED,
        "size": 1000, "contributors": sorted(p.uid for p in state.view.peers if p.participant),
    }  # fmt: skip
    return await leader.write("publish", api.Publish(**{**given, **changes}))


def of_term(state):
    return api.OfTerm(generation=1, round=state.view.round, term=state.view.term)


async def test_a_whole_round(swarm):
    sn = await swarm.sn()
    first, second = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    state = await first.state()
    assert (state.view.phase, state.view.round) == (Phase.UNINITIALIZED, 0)

    state = await first.enrol(merge_method="mean", leader_timeout_s=77)
    assert state.view.terms == api.Terms(
        min_peers=2, merge_method="mean", adaptive=False, leader_timeout_s=77
    )
    assert state.view.waiting_for == "waiting for 2 more peers (0 of 2 checked in)"
    await second.enrol()
    state = await first.check_in(digit="a")
    assert state.view.waiting_for == "waiting for 1 more peer (1 of 2 checked in)"
    state = await second.check_in(digit="b", weightage=7)
    view = state.view
    assert (view.phase, view.term) == (Phase.QUORUM, 1)
    assert 0 <= view.quorum_age_s < PATIENCE
    assert {p.endpoint for p in view.peers} == {"sl-1:30305", "sl-2:30305"}
    assert [p.uid for p in view.peers] == sorted([first.uid, second.uid])

    leader = first if view.leader == first.uid else second
    state = await leader.write("freeze", of_term(state))
    assert state.view.phase is Phase.MERGING
    assert all(p.participant for p in state.view.peers)
    state = await publish(leader, state)
    assert (state.view.phase, state.view.round) == (Phase.CHECKIN, 2)
    assert state.view.merged.digest == MERGED

    (record,) = await first.client.rounds(DEFAULT_CONTRACT)
    assert (record.round, record.leader, record.digest) == (1, leader.uid, MERGED)
    assert {(c.peer, c.digest, c.weightage) for c in record.contributors} == {
        (first.uid, "a" * 64, 1), (second.uid, "b" * 64, 7),
    }  # fmt: skip

    perf = api.Perf(loss=0.25, metric=math.nan, epochs=3, total_epochs=9)
    state = await first.check_in(2, MERGED, "c", perf=perf)
    (seen,) = [p for p in state.view.peers if p.uid == first.uid]
    assert (seen.perf.loss, seen.perf.epochs, seen.perf_round) == (0.25, 3, 1)
    assert math.isnan(seen.perf.metric)


async def test_the_event_stream_tells_the_story(swarm):
    sn = await swarm.sn()
    (leader, _), state = await leader_and_other(swarm, sn)
    start = await leader.client.watch(DEFAULT_CONTRACT, "0", 0)
    assert sorted(e.kind for e in start.events) == [
        "CheckedIn", "CheckedIn", "Enrolled", "Enrolled", "LeaderElected",
    ]  # fmt: skip
    await leader.write("freeze", of_term(state))
    later = await leader.client.watch(DEFAULT_CONTRACT, start.cursor, 0)
    assert [(e.seq, e.kind, e.data["leader"]) for e in later.events] == [(6, "Frozen", leader.uid)]


async def test_repeats_are_harmless_and_stale_terms_refused(swarm):
    sn = await swarm.sn()
    (leader, other), state = await leader_and_other(swarm, sn)
    await leader.write("freeze", of_term(state))
    frozen = await leader.write("freeze", of_term(state))
    stale = {"generation": 1, "round": 1, "term": 2}
    with pytest.raises(ProtocolError, match="term 1, the call at 2") as refused:
        await publish(leader, frozen, **stale)
    assert refused.value.code == "stale-term"
    with pytest.raises(ProtocolError) as refused:
        await publish(other, frozen)
    assert refused.value.code == "not-leader"
    await publish(leader, frozen)
    again = await publish(leader, frozen)
    assert again.view.round == 2, "repeating the publish is harmless"
    with pytest.raises(ProtocolError) as refused:
        await publish(leader, frozen, digest="e" * 64)
    assert refused.value.code == "wrong-round"


async def test_a_drop_below_min_peers_reopens_the_round(swarm):
    sn = await swarm.sn()
    (leader, other), state = await leader_and_other(swarm, sn)
    await leader.write("freeze", of_term(state))
    drop = api.Drop(generation=1, round=1, term=1, peer=other.uid, reason="digest mismatch")
    state = await leader.write("drop", drop)
    (dropped,) = [p for p in state.view.peers if p.uid == other.uid]
    assert (state.view.phase, dropped.dropped, dropped.checkin) == (
        Phase.CHECKIN, "digest mismatch", None,
    )  # fmt: skip
    state = await other.check_in(digit="c")
    assert (state.view.phase, state.view.term) == (Phase.QUORUM, 2)


async def test_a_leaders_remark_on_an_update_is_kept_once(swarm):
    sn = await swarm.sn()
    (leader, other), state = await leader_and_other(swarm, sn)
    terms = of_term(state).model_dump()
    remark = api.Outlier(**terms, peer=other.uid, norm=41.23456, ratio=12.5)
    with pytest.raises(ProtocolError) as refused:
        await leader.write("outlier", remark)
    assert refused.value.code == "not-participant"  # nothing is merged yet
    await leader.write("freeze", of_term(state))
    with pytest.raises(ProtocolError) as refused:
        await other.write("outlier", api.Outlier(**terms, peer=leader.uid, norm=1, ratio=9))
    assert refused.value.code == "not-leader"
    await leader.write("outlier", remark)
    await leader.write("outlier", remark)
    await publish(leader, await leader.state())
    told = await leader.client.watch(DEFAULT_CONTRACT, "0", 0)
    kept = [event.data for event in told.events if event.data.get("code") == api.OUTLIER]
    assert [(data["peer"], data["detail"]) for data in kept] == [
        (other.uid, "update of norm 41.23, 12.5 x the median")
    ]


@pytest.fixture(params=["the receipt", "a call on the state before or after"])
def why_from(request, monkeypatch):
    """Where the reason of a refusal comes from; not every engine puts it into receipts."""
    if request.param != "the receipt":
        monkeypatch.setattr("services.sn.adapters.settling.refusal_in", lambda receipt: None)


@pytest.mark.usefixtures("why_from")
async def test_terms_that_differ_name_both_values(swarm):
    sn = await swarm.sn()
    first, second = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    await first.enrol(min_peers=2)
    with pytest.raises(
        ProtocolError, match=r"min peers: the contract has 2, the peer 3"
    ) as refused:
        await second.enrol(min_peers=3)
    assert refused.value.code == "terms-differ"


@pytest.mark.usefixtures("why_from")
async def test_two_first_enrolments_at_once_and_the_loser_learns_why(swarm):
    """Both are in one block: the reason is not in the state before it."""
    sn = await swarm.sn()
    first, second = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    outcomes = await asyncio.gather(
        first.enrol(min_peers=2), second.enrol(min_peers=3), return_exceptions=True
    )
    (error,) = [o for o in outcomes if isinstance(o, Exception)]
    assert (type(error), error.code) == (ProtocolError, "terms-differ")
    assert "2" in str(error)
    assert "3" in str(error)


async def test_refusals_are_on_the_ledger_but_not_each_repetition(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    for _ in range(3):
        with pytest.raises(ProtocolError):
            await peer.check_in()
    state = await peer.enrol(min_peers=1)
    refusals = [
        e for e in (await peer.client.watch(DEFAULT_CONTRACT, "0", 0)).events if e.kind == "Refused"
    ]
    assert [(e.data["peer"], e.data["code"]) for e in refusals] == [(peer.uid, "not-enrolled")]
    assert state.view.phase is Phase.CHECKIN


async def test_a_long_poll_wakes_on_a_change_and_not_before(swarm):
    sn = await swarm.sn()
    first, second = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    state = await first.enrol()
    watching = asyncio.create_task(first.client.watch(DEFAULT_CONTRACT, state.cursor, 60))
    quiet = await second.client.watch(DEFAULT_CONTRACT, state.cursor, 0.2)
    assert quiet.cursor == state.cursor
    assert not watching.done()
    await second.enrol()
    async with asyncio.timeout(PATIENCE):
        woken = await watching
    assert [e.kind for e in woken.events] == ["Enrolled"]
    assert len(woken.view.peers) == 2


async def test_a_peers_new_address_wakes_watchers(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    state = await peer.enrol()
    watching = asyncio.create_task(peer.client.watch(DEFAULT_CONTRACT, state.cursor, 60))
    peer.me = peer.me.model_copy(update={"endpoint": "elsewhere:1"})
    await peer.register()
    async with asyncio.timeout(PATIENCE):
        assert (await watching).view.peers[0].endpoint == "elsewhere:1"


async def test_contracts_are_created_by_swci_and_reset(swarm):
    sn = await swarm.sn()
    swci, peer = swarm.client(sn, kind=NodeKind.SWCI), await swarm.peer(sn)
    with pytest.raises(ForbiddenError, match="SWCI"):
        await peer.client.create_contract("mine")
    await swci.create_contract("mine")
    with pytest.raises(ProtocolError, match="mine exists already: choose") as refused:
        await swci.create_contract("mine")
    assert refused.value.code == "name-taken"
    rows = await peer.client.contracts()
    assert [row.name for row in rows] == [DEFAULT_CONTRACT, "mine"]
    assert len({row.address for row in rows}) == 2

    peer.contract = "mine"
    await peer.enrol(min_peers=1)
    with pytest.raises(ForbiddenError):
        await peer.client.reset("mine", "because")
    state = await swci.reset("mine", "because")
    assert (state.view.generation, state.view.phase) == (2, Phase.UNINITIALIZED)
    kinds = [e.kind for e in (await swci.watch("mine", "0", 0)).events]
    assert kinds == ["Enrolled", "Refused", "Reset"]
    with pytest.raises(ProtocolError) as refused:
        await peer.check_in()
    assert refused.value.code == "wrong-generation"


async def test_one_name_asked_for_twice_at_once(swarm):
    sn = await swarm.sn()
    swci = swarm.client(sn, kind=NodeKind.SWCI)
    await asyncio.gather(*(swci.create_contract("mine") for _ in range(2)))  # as if repeated
    assert [row.name for row in await swci.contracts()] == [DEFAULT_CONTRACT, "mine"]
    with pytest.raises(ProtocolError, match="exists already"):
        await swci.create_contract("mine")


async def test_an_unknown_contract_says_what_to_do(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    for ask in (peer.client.state, peer.client.rounds):
        with pytest.raises(NotFoundError, match=r"CREATE CONTRACT nope.*defaultbb.cqdb.sml.hpe"):
            await ask("nope")
    with pytest.raises(NotFoundError):
        await peer.client.watch("nope", "", 60)


async def test_completed_when_all_are_closed(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    await peer.enrol(min_peers=1)
    state = await peer.check_in(state=api.PeerState.ACTIVE)
    state = await peer.write("freeze", of_term(state))
    state = await publish(peer, state)
    assert (state.view.phase, state.view.waiting_for) == (Phase.COMPLETED, "")
    report = api.PerfReport(generation=1, round=1, perf=api.Perf(loss=1.0, metric=0.5))
    state = await peer.write("perf", report)
    assert state.view.peers[0].perf.metric == 0.5
    (row,) = await peer.client.contracts()
    assert (row.phase, row.completed_peers) == (Phase.COMPLETED, 1)
