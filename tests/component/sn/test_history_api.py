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
    monkeypatch.setattr("services.sn.core.perfs.KEPT_PERFS", KEPT)
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


def measured(records):
    return {r.round: {p.peer: (p.perf.loss, p.perf.epochs) for p in r.peers} for r in records}


async def play_measured(peer, count, generation=1):
    """Publish rounds, each peer alone, that measures each merged model; what that is."""
    await peer.enrol(min_peers=1)
    base, expected = NO_DIGEST, {}
    for number in range(1, count + 1):
        perf = api.Perf(loss=number / 4, metric=0.5, epochs=generation, total_epochs=9)
        await peer.check_in(number, base, generation=generation, perf=perf)
        about = {"generation": generation, "round": number, "term": 1}
        await peer.write("freeze", api.OfTerm(**about))
        base = f"{generation * 1000 + number:064x}"
        done = api.Publish(**about, digest=base, size=1000, contributors=[peer.uid])
        await peer.write("publish", done)
        expected[number] = {}
        if number > 1:
            expected[number - 1] = {peer.uid: (number / 4, generation)}
    return expected


async def test_what_peers_measured_can_be_read_of_all_rounds_and_after_a_restart(swarm):
    sn = await swarm.sn()
    peer = await swarm.peer(sn)
    assert await peer.client.perf(DEFAULT_CONTRACT) == []
    expected = await play_measured(peer, ROUNDS)
    assert measured(await peer.client.perf(DEFAULT_CONTRACT)) == expected
    last = api.Perf(loss=8.0, metric=0.5, epochs=1, total_epochs=9)
    await peer.write("perf", api.PerfReport(generation=1, round=ROUNDS, perf=last))
    expected[ROUNDS] = {peer.uid: (8.0, 1)}

    page = await peer.client.perf_page(DEFAULT_CONTRACT, 1, 0, 3)
    assert (page.generation, page.total, page.more_after) == (1, ROUNDS, 4)
    assert measured(page.rounds) == {number: expected[number] for number in (2, 3, 4)}
    assert (await peer.client.perf_page(DEFAULT_CONTRACT, ROUNDS, 0, 3)).rounds == []
    with pytest.raises(NotFoundError, match=r"generation 2 of .* has not begun"):
        await peer.client.perf_page(DEFAULT_CONTRACT, 0, 2, 3)

    operator = swarm.client(sn, kind=NodeKind.SWCI)
    await operator.reset(DEFAULT_CONTRACT, "anew")
    again = await play_measured(peer, 3, generation=2)
    assert measured(await peer.client.perf(DEFAULT_CONTRACT)) == again
    assert measured(await peer.client.perf(DEFAULT_CONTRACT, 1)) == expected

    await sn.stop()
    sn = await swarm.sn()
    client = swarm.client(sn)
    assert measured(await client.perf(DEFAULT_CONTRACT)) == again
    assert measured(await client.perf(DEFAULT_CONTRACT, 1)) == expected
