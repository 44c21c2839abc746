"""Attested merges through the API of a real SN, on either engine."""

import asyncio

import pytest

from services.common import sn_api as api
from services.common.errors import ForbiddenError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT
from tests.component.sn.conftest import on_both_engines

pytestmark = on_both_engines
TRUTH, LIE = "d" * 64, "e" * 64


async def proposed(swarm, sn, digest):
    """Three enrolled peers, the first led and published; and the state after that."""
    peers = [await swarm.peer(sn, name) for name in "123"]
    for peer in peers:
        await peer.enrol(min_peers=3, attestations=2)
    await asyncio.gather(*(p.check_in(digit=d) for p, d in zip(peers, "abc", strict=True)))
    state = await peers[0].state()
    peers.sort(key=lambda peer: peer.uid != state.view.leader)
    return peers, await publish(peers, digest)


async def publish(peers, digest):
    state = await peers[0].state()
    leader = next(peer for peer in peers if peer.uid == state.view.leader)
    term = {"generation": 1, "round": state.view.round, "term": state.view.term}
    await leader.write("freeze", api.OfTerm(**term))
    contributors = sorted(peer.uid for peer in peers)
    merge = api.Publish(**term, digest=digest, size=1000, contributors=contributors)
    return await leader.write("publish", merge)


async def attest(peer, state, digest, **changes):
    given = {
        "generation": 1, "round": state.view.round, "term": state.view.term, "digest": digest,
        "size": 1000,
    }  # fmt: skip
    return await peer.write("attest", api.Attest(**{**given, **changes}))


async def test_a_lying_leader_is_exposed_and_an_honest_one_attested(swarm):
    sn = await swarm.sn()
    (liar, second, third), state = await proposed(swarm, sn, LIE)
    assert (state.view.phase, state.view.merged) == (api.Phase.MERGING, None)
    assert state.view.waiting_for.startswith("waiting for attestations 0/2 for the merge by sl")
    assert state.view.proposal.digest == LIE

    state = await attest(second, state, TRUTH)
    assert [item.peer for item in state.view.proposal.disputed] == [second.uid]
    again = await attest(second, state, TRUTH)
    assert again.view == state.view.model_copy(update={"quorum_age_s": again.view.quorum_age_s})
    state = await attest(third, state, TRUTH)
    assert (state.view.phase, state.view.term) == (api.Phase.QUORUM, 2)
    assert state.view.leader != liar.uid
    (exposed,) = [peer for peer in state.view.peers if peer.exposed]
    assert (exposed.uid, exposed.may_lead) == (liar.uid, False)

    peers = [liar, second, third]
    state = await publish(peers, TRUTH)
    attesters = [peer for peer in peers if peer.uid != state.view.leader]
    for peer in attesters:
        state = await attest(peer, state, TRUTH, term=2, round=1)
    assert (state.view.round, state.view.merged.digest) == (2, TRUTH)
    assert state.view.proposal is None

    (record,) = await liar.client.rounds(DEFAULT_CONTRACT)
    assert record.attested == [peer.uid for peer in attesters]
    assert [(e.leader, e.digest, e.computed) for e in record.exposed] == [(liar.uid, LIE, TRUTH)]
    kinds = [event.kind for event in (await liar.client.watch(DEFAULT_CONTRACT, "0", 0)).events]
    assert kinds.count("Attested") == 4
    assert kinds.count("Exposed") == 1


async def test_who_may_not_attest(swarm):
    sn = await swarm.sn()
    (leader, second, _), state = await proposed(swarm, sn, TRUTH)
    with pytest.raises(ProtocolError) as caught:
        await attest(leader, state, TRUTH)
    assert caught.value.code == "not-participant"
    with pytest.raises(ProtocolError) as caught:
        await attest(second, state, TRUTH, term=2)
    assert caught.value.code == "stale-term"
    other = second.uid
    second.uid = leader.uid
    with pytest.raises(ForbiddenError):
        await attest(second, state, TRUTH)
    second.uid = other
    await attest(second, state, TRUTH)
    with pytest.raises(ProtocolError) as caught:
        await attest(second, state, LIE)
    assert caught.value.code == "contradicts"


async def test_terms_that_differ_are_refused_with_both_values(swarm):
    sn = await swarm.sn()
    first, second = await swarm.peer(sn, "1"), await swarm.peer(sn, "2")
    with pytest.raises(ProtocolError, match="2 min peers, 2 attestations"):
        await first.enrol(min_peers=2, attestations=2)
    state = await first.enrol(min_peers=2, attestations=1)
    assert state.view.terms.attestations == 1
    with pytest.raises(ProtocolError, match="the contract has 1, the peer 0") as caught:
        await second.enrol(min_peers=2)
    assert caught.value.code == "terms-differ"
