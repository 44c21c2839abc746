"""Writes to an Ethereum client that forgets them, goes away, or gives their number to another."""

import asyncio
import logging

import pytest
import rlp

from services.common.errors import ChainUnavailableError, ConfigError
from services.common.ids import DEFAULT_CONTRACT
from services.sn.adapters.account import SwarmAccount
from services.sn.adapters.outbox import Outbox
from services.sn.adapters.rpc_provider import SEND
from services.sn.adapters.trainings import Trainings
from services.sn.adapters.writer import Writer
from tests.anvil import Anvil
from tests.component.sn.conftest import ANVIL_SLOW, PATIENCE
from tests.component.sn.world import client_of, external, world_on


@pytest.fixture
def client():
    made = Anvil().start()
    yield made
    made.stop()


@pytest.fixture
def slow(anvil):
    return anvil(ANVIL_SLOW)


@pytest.fixture
async def world(client, tmp_path):
    async with world_on(await external(tmp_path, client.url)) as made:
        yield made


async def in_pool(client, count):
    async with asyncio.timeout(PATIENCE):
        while int(client.ask("txpool_status")["pending"], 16) != count:
            await asyncio.sleep(0.01)


async def test_what_the_client_forgot_is_sent_again(world, client):
    client.ask("evm_setAutomine", False)
    names = [f"n{number}" for number in range(5)]
    writes = [asyncio.create_task(world.writer.write(world.name(name))) for name in names]
    await in_pool(client, 5)
    client.ask("anvil_dropAllTransactions")
    client.ask("evm_setAutomine", True)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*writes)
    assert sorted(await world.names()) == names


async def test_what_lost_its_number_is_sent_anew_and_once(world, client):
    client.ask("evm_setAutomine", False)
    write = asyncio.create_task(world.writer.write(world.name("ours")))
    await in_pool(client, 1)
    client.ask("anvil_dropAllTransactions")
    await Outbox(world.engine).send((world.registry, world.name("theirs").data()))
    await in_pool(client, 1)
    client.ask("evm_mine")
    client.ask("evm_setAutomine", True)
    async with asyncio.timeout(PATIENCE):
        await write
    assert await world.names() == ["theirs", "ours"]


async def test_a_client_that_lets_one_transaction_replace_another(slow, tmp_path, monkeypatch):
    """As Besu does where gas is free: of two with one number the later one stays, silently."""
    async with world_on(await external(tmp_path, slow.url)) as world:
        answer, replaced = world.engine.provider.make_request, 0

        async def replacing(method, params):
            nonlocal replaced
            found = await answer(method, params)
            if method != SEND or "underpriced" not in str(found.get("error")):
                return found
            replaced += 1
            number = int.from_bytes(rlp.decode(bytes.fromhex(params[0][2:]))[0])
            pool = (await answer("txpool_content", []))["result"]["pending"]
            mine = {who.lower(): each for who, each in pool.items()}.get(account, {})
            if old := mine.get(str(number)):
                await answer("anvil_dropTransaction", [old["hash"]])
            return await answer(method, params)

        account = world.engine.account.address.lower()
        monkeypatch.setattr(world.engine.provider, "make_request", replacing)
        async with client_of(world.engine) as (other, _):
            names = [[f"{who}{number}" for number in range(20)] for who in "ab"]
            async with asyncio.timeout(2 * PATIENCE):
                await asyncio.gather(
                    *(world.writer.write(world.name(name)) for name in names[0]),
                    *(other.writer.write(other.name(name)) for name in names[1]),
                )
        assert replaced > 0
        assert sorted(await world.names()) == sorted(names[0] + names[1])


async def test_a_name_stands_for_a_contract_though_its_deployment_lost_its_number(world, client):
    _, nodes = world.engine.site.addresses()
    client.ask("evm_setAutomine", False)
    trainings = Trainings(world.writer, world.registry, nodes)
    creating = asyncio.create_task(trainings.create(DEFAULT_CONTRACT))
    await in_pool(client, 1)
    client.ask("anvil_dropAllTransactions")
    await Outbox(world.engine).send((world.registry, world.name("theirs").data()))
    client.ask("evm_mine")
    client.ask("evm_setAutomine", True)
    async with asyncio.timeout(PATIENCE):
        await creating
    assert await world.chain.has_code(world.projection.now.trainings[DEFAULT_CONTRACT].address)


async def test_the_client_restarts_and_the_write_waits_for_it(tmp_path, caplog):
    client = Anvil("--state", str(tmp_path / "state.json")).start()
    try:
        async with world_on(await external(tmp_path, client.url)) as world:
            await world.writer.write(world.name("before"))
            assert world.chain.status() == f"following the Ethereum client at {client.url}"
            client.stop()
            write = asyncio.create_task(world.writer.write(world.name("meanwhile")))
            async with asyncio.timeout(PATIENCE):
                while "does not answer" not in world.chain.status():
                    await asyncio.sleep(0.01)
            assert client.url in world.chain.status()
            assert not write.done()
            client.start()
            async with asyncio.timeout(PATIENCE):
                await write
            await world.writer.write(world.name("after"))
            assert await world.names() == ["before", "meanwhile", "after"]
    finally:
        client.stop()
    loud = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [m for m in loud if f"the Ethereum client at {client.url} does not answer" in m]
    assert [m for m in loud if "answers again, after" in m]


async def test_the_head_that_a_reader_knows_is_no_news_to_it(world):
    """The reader asked after our last look: it would ask again and again until our next one."""
    head = bytes.fromhex((await world.chain.head()).hash)
    world.engine._head = b"an older one"
    waiting = asyncio.create_task(world.engine.wait_for_head(head))
    assert (await asyncio.wait([waiting], timeout=0.5))[1] == {waiting}
    await world.writer.write(world.name("a"))
    async with asyncio.timeout(PATIENCE):
        assert await waiting != head


async def test_outsiders_are_told_that_the_client_is_away(world, client):
    client.kill()
    answer = await world.engine.rpc("eth_blockNumber", [])
    assert client.url in answer["error"]["message"]


@pytest.mark.parametrize("away", [True, False], ids=["no client", "no blocks"])
async def test_a_write_that_nothing_takes_fails_in_time_and_says_why(world, client, away):
    hasty = Writer(world.chain, world.projection, patience=1.5)
    if away:
        client.kill()
    else:
        client.ask("evm_setAutomine", False)
    with pytest.raises(ChainUnavailableError, match=r"no block took the write in 2 s \(") as failed:
        await hasty.write(world.name("a"))
    assert client.url in str(failed.value)
    assert ("does not answer" in str(failed.value)) is away


async def test_after_a_write_was_given_up_the_next_ones_go_through(world, client):
    client.ask("evm_setAutomine", False)
    hasty = Writer(world.chain, world.projection, patience=0.5)
    with pytest.raises(ChainUnavailableError):
        await hasty.write(world.name("a"))
    client.ask("anvil_dropAllTransactions")
    client.ask("evm_setAutomine", True)
    await world.writer.write(world.name("b"))
    assert await world.names() == ["b"]


async def test_the_chain_is_another_when_the_client_comes_back(client, tmp_path):
    engine = await external(tmp_path, client.url)
    task = asyncio.create_task(engine.run())
    async with asyncio.timeout(PATIENCE):
        await engine.ready.wait()
        client.kill()
        while "does not answer" not in engine.status():
            await asyncio.sleep(0.01)
        client.options = ("--timestamp", "5")
        client.start()
        with pytest.raises(ConfigError, match="is on another chain"):
            await task
    await engine.close()


def test_each_process_makes_its_own_transactions(monkeypatch):
    """Two programs with one key and the same call at the same number: never the same hash."""
    spread = iter((1, 2))
    monkeypatch.setattr("services.sn.adapters.outbox.secrets.randbelow", lambda _: next(spread))

    class Engine:
        chain_id = 5
        account = SwarmAccount(b"\1" * 32)

    first, second = (Outbox(Engine()).signed(None, b"x", 0)[0] for _ in range(2))
    assert first.hash != second.hash
