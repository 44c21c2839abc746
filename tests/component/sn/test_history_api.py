"""The ledger's rounds by page, of a real SN that keeps only the latest of them in memory."""

import asyncio

import pytest

from services.common import sn_api as api
from services.common.errors import ConfigError, NotFoundError
from services.common.ids import DEFAULT_CONTRACT, NO_DIGEST, NodeKind

ROUNDS = 7
KEPT = 2


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setattr("services.sn.core.rounds.KEPT_ROUNDS", KEPT)
    monkeypatch.setattr("services.sn.core.rounds.STRIDE", 2)
    monkeypatch.setattr("services.sn.adapters.round_history.BLOCKS_AT_A_TIME", 3)
    monkeypatch.setattr("services.common.sn_client.ROUNDS_AT_ONCE", 3)


async def play(peer, count, generation=1):
    """Publish rounds, each peer alone; what the ledger is to say of them."""
    await peer.enrol(min_peers=1)
    base, expected = NO_DIGEST, []
    for number in range(1, count + 1):
        local, merged = f"{number:064x}", f"{generation * 1000 + number:064x}"
        await peer.check_in(number, base, generation=generation, digest=local)
        about = {"generation": generation, "round": number, "term": 1}
        await peer.write("freeze", api.OfTerm(**about))
        done = api.Publish(**about, digest=merged, size=1000, contributors=[peer.uid])
        await peer.write("publish", done)
        base = merged
        expected.append((generation, number, merged, ((peer.uid, local),)))
    return expected


def told(records):
    return [
        (r.generation, r.round, r.digest, tuple((c.peer, c.digest) for c in r.contributors))
        for r in records
    ]


async def page(client, after, limit, generation=0):
    return await client.rounds_page(DEFAULT_CONTRACT, after, generation, limit)


async def test_all_rounds_can_be_read_also_earlier_ones_and_after_a_restart(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    nothing = await page(peer.client, 0, 10)
    assert (nothing.generation, nothing.total, nothing.rounds, nothing.more_after) == (
        1, 0, [], None,
    )  # fmt: skip
    expected = await play(peer, ROUNDS)
    records = await peer.client.rounds(DEFAULT_CONTRACT)
    assert told(records) == expected
    assert [r.leaders[0].term for r in records] == [1] * ROUNDS
    assert [r.block for r in records] == sorted({r.block for r in records})
    first = await page(peer.client, 2, 3)
    assert (first.total, first.more_after) == (ROUNDS, 5)
    assert first.rounds == records[2:5]
    newest = await page(peer.client, ROUNDS - KEPT, 1000)
    assert (newest.more_after, newest.rounds) == (None, records[-KEPT:])
    beyond = await page(peer.client, 2**32 - 1, 1000)
    assert (beyond.rounds, beyond.more_after) == ([], None)

    await swarm.client(sn, kind=NodeKind.SWCI).reset(DEFAULT_CONTRACT, "again")
    second = await play(peer, 1, generation=2)
    assert told(await peer.client.rounds(DEFAULT_CONTRACT)) == second
    assert await peer.client.rounds(DEFAULT_CONTRACT, 1) == records
    assert (await page(peer.client, 0, 2, 1)).more_after == 2
    with pytest.raises(NotFoundError, match=r"generation 3 .* has not begun"):
        await peer.client.rounds(DEFAULT_CONTRACT, 3)

    await sn.stop()
    peer.client = swarm.client(await swarm.sn())
    assert await peer.client.rounds(DEFAULT_CONTRACT, 1) == records
    assert told(await peer.client.rounds(DEFAULT_CONTRACT)) == second


async def test_readers_of_history_at_once_all_get_it(swarm):
    peer = await swarm.peer(await swarm.sn())
    expected = await play(peer, 4)
    answers = await asyncio.gather(*(peer.client.rounds(DEFAULT_CONTRACT) for _ in range(8)))
    assert [told(answer) for answer in answers] == [expected] * 8


@pytest.mark.parametrize(("after", "limit"), [(-1, 1), (0, 0), (0, 1001), (2**32, 1)])
async def test_pages_that_make_no_sense_are_refused(swarm, after, limit):
    peer = await swarm.peer(await swarm.sn())
    with pytest.raises(ConfigError):
        await page(peer.client, after, limit)
