"""One suite, two engines: what the SN expects of a chain, on the embedded one and on anvil's.

The API-level half of it are the tests marked ``on_both_engines`` in the files beside this one.
"""

import asyncio
import itertools
import socket

import pytest

from services.common.errors import ChainUnavailableError, ProtocolError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.sn.adapters import abi
from services.sn.adapters.embedded_chain import EmbeddedChain
from services.sn.adapters.outbox import Outbox
from tests.component.sn.conftest import (
    ANVIL_SLOW,
    EMBEDDED,
    PATIENCE,
    on_all_engines,
    on_both_engines,
)
from tests.component.sn.world import client_of, external, world_on
from tests.pki import Pki


async def embedded(folder, sock):
    identity = Pki(folder).identity(NodeKind.SN)
    return await EmbeddedChain.open(
        folder / "chain", sentinel=True, identity=identity, p2p_sock=sock, join=[], mine=True
    )


@pytest.fixture
async def world(under, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        engine = await (
            external(tmp_path, under["sn_eth_rpc_url"]) if under else embedded(tmp_path, sock)
        )
        async with world_on(engine) as made:
            yield made


@on_all_engines
async def test_deploying_and_writing(world):
    at = await world.writer.deploy(
        abi.abi(abi.REGISTRY).creation(), abi.abi(abi.REGISTRY).creation()
    )
    assert len(set(at)) == 2
    assert all([await world.chain.has_code(each) for each in at])
    assert not await world.chain.has_code("0x" + "7" * 40)
    await world.writer.write(world.name("a"))
    assert await world.names() == ["a"]
    assert world.projection.now.directory.writers == {world.chain.account}
    assert world.projection.pending == 0


@on_all_engines
async def test_a_refusal_has_its_code_and_its_words(world):
    for _ in range(2):
        with pytest.raises(ProtocolError, match="the name is empty") as refused:
            await world.writer.write(world.name(""))
        assert refused.value.code == "bad-value"
    await world.writer.write(world.name("taken"))
    with pytest.raises(ProtocolError) as refused:
        await world.writer.write(world.name("taken"))
    assert (refused.value.code, str(refused.value)) == ("name-taken", "taken")


@on_all_engines
async def test_the_reason_is_found_though_an_earlier_write_of_the_block_made_it(world):
    outcomes = await asyncio.gather(
        *(world.writer.write(world.name("one")) for _ in range(5)), return_exceptions=True
    )
    refusals = [outcome for outcome in outcomes if outcome is not None]
    assert {(type(each), each.code, str(each)) for each in refusals} == {
        (ProtocolError, "name-taken", "one")
    }
    assert len(refusals) == 4


@on_all_engines
async def test_many_writes_at_once_each_happen_once(world):
    names = [f"n{number}" for number in range(100)]
    await asyncio.gather(*(world.writer.write(world.name(name)) for name in names))
    assert sorted(await world.names()) == sorted(names)


@on_all_engines
async def test_several_programs_sign_with_one_key(world):
    """Two clients of the same account: nothing is lost, nothing happens twice."""
    async with client_of(world.engine) as (other, _):
        names = [[f"{who}{number}" for number in range(100)] for who in "ab"]
        await asyncio.gather(
            *(world.writer.write(world.name(name)) for name in names[0]),
            *(other.writer.write(other.name(name)) for name in names[1]),
        )
        assert sorted(await world.names()) == sorted(names[0] + names[1])


@on_both_engines
async def test_resynchronise_after_the_account_was_used_elsewhere(world):
    await world.writer.write(world.name("a"))
    await Outbox(world.engine).send((world.registry, world.name("b").data()))
    await world.chain.outbox.resynchronise()
    await world.writer.write(world.name("c"))
    assert await world.names() == ["a", "b", "c"]


@on_both_engines
async def test_blocks_and_logs_by_number_and_by_hash(world, monkeypatch):
    for name in "abc":
        await world.writer.write(world.name(name))
    head = await world.chain.head()
    first = world.engine.first_block
    blocks = [await world.chain.block(number) for number in range(first, head.number + 1)]
    assert [block.number for block in blocks] == list(range(first, head.number + 1))
    assert all(b.parent == a.hash and b.time >= a.time for a, b in itertools.pairwise(blocks))
    assert await world.chain.block(head.number + 1_000_000) is None

    whole = await world.chain.logs(0, head.number)
    assert {entry.address for entry in whole} >= {world.registry}
    single = [entry for block in blocks for entry in await world.chain.logs_of(block.hash)]
    assert single == whole
    monkeypatch.setattr("services.sn.adapters.chain.LOG_BLOCKS", 1)
    assert await world.chain.logs(0, head.number) == whole
    transactions = {entry.transaction for entry in whole}
    assert transactions <= set().union(*(block.transactions for block in blocks))


@on_all_engines
async def test_following_the_head(world):
    before = await world.chain.head()
    moved = asyncio.create_task(world.chain.wait_for_head(before.hash))
    await world.writer.write(world.name("a"))
    async with asyncio.timeout(PATIENCE):
        await moved
        assert await world.engine.wait_for_head(b"")
    after = await world.chain.head()
    assert after.number > before.number
    assert (await world.chain.block(before.number)).hash == before.hash


@on_both_engines
async def test_a_late_reader_folds_the_same(world):
    for name in "abc":
        await world.writer.write(world.name(name))
    async with client_of(world.engine) as (late, _):
        async with asyncio.timeout(PATIENCE):
            await late.projection.until(lambda now: now.head is not None)
        assert late.projection.now.directory.writers == {world.chain.account}
        assert await late.names() == await world.names()


@on_both_engines
async def test_outsiders_read_and_only_read(world):
    head = (await world.chain.head()).number
    async with asyncio.timeout(PATIENCE):  # anvil may count its last block late
        while int((await world.engine.rpc("eth_blockNumber", []))["result"], 16) < head:
            pass
    refused = await world.engine.rpc("eth_sendRawTransaction", ["0x00"])
    assert refused["error"]["code"] == -32601
    assert "result" not in refused
    assert int((await world.engine.rpc("eth_chainId", []))["result"], 16) == world.engine.chain_id


@on_both_engines
async def test_a_client_that_takes_few_blocks_or_nothing(world, monkeypatch):
    """``eth_getLogs`` of more than three blocks is refused, as hosted clients do."""
    for name in "abcdefgh":
        await world.writer.write(world.name(name))
    names, answer = await world.names(), world.engine.provider.make_request

    async def frugal(method, params):
        if method == "eth_getLogs" and "fromBlock" in params[0]:
            span = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
            if span > limit:
                return {"error": {"code": -32005, "message": "block range too large"}}
        return await answer(method, params)

    limit = 3
    monkeypatch.setattr(world.engine.provider, "make_request", frugal)
    assert await world.names() == names
    limit = 0
    with pytest.raises(ChainUnavailableError, match="block range too large"):
        await world.names()


@pytest.mark.parametrize("under", [EMBEDDED, ANVIL_SLOW], indirect=True)
async def test_many_check_ins_share_few_blocks(swarm):
    sn = await swarm.sn()
    peers = await asyncio.gather(*(swarm.peer(sn, str(number)) for number in range(8)))
    await peers[0].enrol(min_peers=8)
    await asyncio.gather(*(peer.enrol(min_peers=8) for peer in peers[1:]))
    await asyncio.gather(*(peer.check_in() for peer in peers))
    events = (await peers[0].client.watch(DEFAULT_CONTRACT, "0", 0)).events
    blocks = {e.block for e in events if e.kind == "CheckedIn"}
    assert len(blocks) < 8, "each check-in waited for the block of the one before"
