"""Following a chain that forks, stalls and hides writes in earlier blocks; on a hand-made chain."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.common.errors import ConfigError, NotFoundError
from services.common.ids import NO_DIGEST, NodeKind
from services.common.sn_api import PeerState, Perf, Phase
from services.sn.adapters.chain import Log, Sent
from services.sn.adapters.projection import Projection
from services.sn.adapters.snapshots import FILE, FileSnapshots
from services.sn.core import ledger
from services.sn.core.read_model import load
from tests.fakes.chain import NODES, REGISTRY, TRAINING, FakeChain, encoded

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


def topic_of(logged):
    return encoded(*logged)[0]


@asynccontextmanager
async def following(chain, snapshots=None):
    projection = Projection(chain, REGISTRY, NODES, snapshots)
    task = asyncio.create_task(projection.follow())
    try:
        yield projection
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled(), "following never ends by itself"


@pytest.fixture
async def world():
    chain = FakeChain()
    async with following(chain) as projection:
        yield chain, projection


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
    monkeypatch.setattr("services.sn.adapters.settling.STALLED_AFTER", 0.0)
    stalled = f"waiting for the chain (linked to 1 of 3 signers), then {words}"
    assert projection.state("c").view.waiting_for == stalled
    waiting.cancel()
    await asyncio.wait([waiting])
    assert projection.state("c").view.waiting_for == words
    chain.cut_off = True  # although nobody writes here
    assert projection.state("c").view.waiting_for == stalled


@pytest.mark.parametrize(
    ("topic", "data", "why"),
    [
        (b"\x09" * 32, b"", "an event of another kind"),
        (topic_of(enrolled(A)), b"\0" * 40, "40 bytes are too few for Enrolled"),
        (topic_of(checked_in(A)), b"\xff" * 512, "int"),
    ],
    ids=["unknown", "short", "odd"],
)
async def test_an_event_of_another_version_ends_the_sn_in_words(topic, data, why):
    chain = FakeChain()
    chain.extend(NAMED)
    block = chain.extend()
    chain._logs[block.hash].append(
        Log(TRAINING, (topic,), data, block.number, block.hash, "t" * 64)
    )
    projection = Projection(chain, REGISTRY, NODES)
    with pytest.raises(ConfigError, match=f"block 2 .*TrainingContract.*{why}.*SN_DATA_DIR"):
        async with asyncio.timeout(PATIENCE):
            await projection.follow()


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


# --- snapshots


def blocks_read(chain):
    """Since we last asked: how many blocks' logs were read by ranges."""
    found = sum(last - first + 1 for first, last in chain.log_ranges)
    chain.log_ranges.clear()
    return found


async def history(chain, snapshots):
    """Follow a few blocks, then stop cleanly."""
    chain.extend(NAMED, registered(A))
    for peer in (A, B):
        chain.extend(enrolled(peer))
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        chain.log_ranges.clear()
        return projection.state("c", "0")


async def test_a_restart_goes_on_from_where_the_last_run_ended(tmp_path):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    before = await history(chain, snapshots)
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert blocks_read(chain) == 0
        assert projection.state("c", "0") == before
        chain.extend(checked_in(A))
        chain.extend(checked_in(B))
        await caught_up(chain, projection)
        resumed = projection.state("c", "0")
    async with following(chain) as projection:
        await caught_up(chain, projection)
        assert projection.state("c", "0") == resumed


async def test_blocks_that_came_while_it_was_down_are_read_and_no_others(tmp_path):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    await history(chain, snapshots)
    for peer in (A, B):
        chain.extend(checked_in(peer))
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert blocks_read(chain) == 2
        assert all(p.checkin is not None for p in projection.state("c").view.peers)


async def test_a_snapshot_of_a_replaced_block_is_passed_over(tmp_path):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    await history(chain, snapshots)
    chain.fork(2)
    chain.extend()
    chain.extend(checked_in(A))
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert [p.uid for p in projection.state("c").view.peers] == [A]
        assert blocks_read(chain) == len(chain.blocks)


async def test_a_snapshot_newer_than_the_chain_is_passed_over(tmp_path):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    await history(chain, snapshots)
    chain.fork(2)
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert [p.uid for p in projection.state("c").view.peers] == [A]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"", lambda text: text[:-9], lambda text: text.replace(b'"round"', b'"ronud"'),
        lambda text: b"\x00" * len(text), lambda text: text.partition(b"\n")[2],
    ],
)  # fmt: skip
async def test_a_damaged_snapshot_is_passed_over_in_words(tmp_path, caplog, damage):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    before = await history(chain, snapshots)
    file = tmp_path / FILE
    file.write_bytes(damage(file.read_bytes()))
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert projection.state("c", "0") == before
        assert blocks_read(chain) == len(chain.blocks)
    assert "is damaged" in caplog.text


async def test_a_snapshot_of_other_code_is_passed_over(tmp_path, caplog, monkeypatch):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path)
    before = await history(chain, snapshots)
    monkeypatch.setattr("services.sn.adapters.snapshots._CODE", b"0" * 64)
    caplog.set_level("INFO")
    async with following(chain, snapshots) as projection:
        await caught_up(chain, projection)
        assert projection.state("c", "0") == before
        assert blocks_read(chain) == len(chain.blocks)
    assert "another version" in caplog.text


async def test_a_folder_that_cannot_be_written_costs_a_line_in_the_log(tmp_path, caplog):
    chain, snapshots = FakeChain(), FileSnapshots(tmp_path / "not there")
    await history(chain, snapshots)
    assert "cannot write" in caplog.text
    assert snapshots.load() is None


async def test_a_long_history_is_saved_on_the_way_and_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("services.sn.adapters.projection.SAVE_EVERY", 3)
    monkeypatch.setattr("services.sn.adapters.projection.BLOCKS_AT_A_TIME", 2)
    chain, saved = FakeChain(), []
    chain.extend(NAMED)
    for number in range(8):
        chain.extend(enrolled(A if number % 2 else B))

    class Kept:
        def load(self):
            return None

        def save(self, text):
            saved.append(load(text).head.number)

    async with following(chain, Kept()) as projection:
        await caught_up(chain, projection)
        assert [e.block for e in projection.state("c", "0").events] == list(range(2, 10))
        assert chain.log_ranges == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
        assert saved == [3, 7], "every three events, at the end of a piece"
    assert saved == [3, 7, 9], "and at the end"
