"""Following a chain that forks, stalls and hides writes in earlier blocks; on a hand-made chain."""

import asyncio

import pytest

from services.common.errors import NotFoundError
from services.common.ids import NO_DIGEST, NodeKind
from services.common.sn_api import PeerState, Perf, Phase
from services.sn.adapters.chain import Sent
from services.sn.adapters.projection import Projection
from services.sn.core import ledger
from tests.fakes.chain import NODES, REGISTRY, TRAINING, FakeChain

A, B = "a" * 32, "b" * 32
NAMED = (REGISTRY, ledger.Registered("c", 1, TRAINING, 5))
PATIENCE = 10


def enrolled(peer):
    return (TRAINING, ledger.Enrolled(1, 1, peer, 2, "mean", False, True, 600))


def checked_in(peer, perf=None):
    state = PeerState.ACTIVE
    return (TRAINING, ledger.CheckedIn(1, 1, peer, NO_DIGEST, "c" * 64, 9, 1, state, perf))


def registered(uid):
    return (
        NODES,
        ledger.NodeRegistered(uid, NodeKind.SL, False, "h:1", "sl", "1", B, "f" * 64),
    )


@pytest.fixture
async def world():
    chain = FakeChain()
    projection = Projection(chain, REGISTRY, NODES)
    following = asyncio.create_task(projection.follow())
    yield chain, projection
    following.cancel()
    await asyncio.wait([following])
    assert following.cancelled(), "following never ends by itself"


async def caught_up(chain, projection):
    async with asyncio.timeout(PATIENCE):
        await projection.until(lambda now: now.head == chain.blocks[-1])


async def test_history_then_live_blocks(world):
    chain, projection = world
    chain.extend(NAMED, registered(A))
    chain.extend(enrolled(A))
    await caught_up(chain, projection)
    chain.extend(checked_in(A, Perf(loss=0.5, metric=2.0, epochs=3)))
    await caught_up(chain, projection)
    (peer,) = projection.state("c").view.peers
    assert (peer.endpoint, peer.state, peer.checkin.size) == ("h:1", PeerState.ACTIVE, 9)
    assert (peer.perf.loss, peer.perf.metric, peer.perf.epochs) == (0.5, 2.0, 3)
    assert projection.rebuilds == 0


async def test_a_live_block_needs_no_further_block(world):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    before = chain.reads
    chain.extend(enrolled(A))
    await caught_up(chain, projection)
    assert chain.reads == before


async def test_a_gap_is_read_without_starting_over(world):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    chain.extend(enrolled(A))
    chain.extend()
    chain.extend(enrolled(B))
    await caught_up(chain, projection)
    state = projection.state("c", "0")
    assert [p.uid for p in state.view.peers] == [A, B]
    assert [e.block for e in state.events] == [2, 4]
    assert projection.rebuilds == 0


async def test_a_reorganisation_leaves_only_the_new_history(world):
    chain, projection = world
    chain.extend(NAMED)
    chain.extend(enrolled(A))
    await caught_up(chain, projection)
    old = projection.state("c")
    chain.fork(1)
    chain.extend()
    chain.extend(enrolled(B))
    await caught_up(chain, projection)
    new = projection.state("c")
    assert [p.uid for p in new.view.peers] == [B]
    assert new.cursor != old.cursor
    assert projection.rebuilds == 1


async def test_a_reorganisation_wakes_who_watches(world):
    chain, projection = world
    chain.extend(NAMED)
    chain.extend(enrolled(A))
    await caught_up(chain, projection)
    watching = asyncio.create_task(projection.watch("c", projection.state("c").cursor, 60))
    chain.fork(1)
    chain.extend(enrolled(B))
    async with asyncio.timeout(PATIENCE):
        assert [p.uid for p in (await watching).view.peers] == [B]


async def test_a_contract_that_a_reorganisation_took_away_is_not_found(world):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    watching = asyncio.create_task(projection.watch("c", projection.state("c").cursor, 60))
    chain.fork(0)
    chain.extend(registered(A))
    await caught_up(chain, projection)
    with pytest.raises(NotFoundError, match="CREATE CONTRACT c"):
        projection.state("c")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(NotFoundError):
            await watching


async def test_a_write_is_settled_by_its_block_or_by_an_earlier_one(world):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    early, late = (Sent(digit * 64, TRAINING, b"", 0) for digit in "ef")
    chain.receipts[early.hash] = {"blockNumber": "0x1", "status": "0x1"}
    async with asyncio.timeout(PATIENCE):
        assert (await projection.settled(early)).number == 1, "it was there before we asked"
    waiting = asyncio.create_task(projection.settled(late))
    chain.extend(enrolled(A))
    await caught_up(chain, projection)
    assert not waiting.done()
    assert projection.pending == 1
    chain.receipts[late.hash] = {"blockNumber": "0x3", "status": "0x1"}
    chain.extend(transactions=[late.hash])
    async with asyncio.timeout(PATIENCE):
        assert (await waiting).number == 3
    assert projection.pending == 0


async def test_a_contract_says_when_the_chain_itself_stands_still(world, monkeypatch):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    words = "waiting for the first peer to enrol"
    waiting = asyncio.create_task(projection.settled(Sent("e" * 64, TRAINING, b"", 0)))
    await asyncio.wait([waiting], timeout=0.01)
    assert projection.state("c").view.waiting_for == words
    monkeypatch.setattr("services.sn.adapters.projection.STALLED_AFTER", 0.0)
    stalled = f"waiting for the chain (linked to 1 of 3 signers), then {words}"
    assert projection.state("c").view.waiting_for == stalled
    waiting.cancel()
    await asyncio.wait([waiting])
    assert projection.state("c").view.waiting_for == words


async def test_foreign_contracts_do_not_matter(world):
    chain, projection = world
    chain.extend(enrolled(A), NAMED)
    await caught_up(chain, projection)
    assert projection.state("c").view.phase is Phase.UNINITIALIZED


async def test_closing_answers_long_polls(world):
    chain, projection = world
    chain.extend(NAMED)
    await caught_up(chain, projection)
    watching = asyncio.create_task(projection.watch("c", projection.state("c").cursor, 60))
    await asyncio.wait([watching], timeout=0)
    projection.close()
    async with asyncio.timeout(PATIENCE):
        assert (await watching).view.name == "c"
