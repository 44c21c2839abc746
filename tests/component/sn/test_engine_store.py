"""The data folder: durable, locked, and refused clearly when it is not a whole one of ours."""

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import time
from pathlib import Path

import pytest

from services.common.errors import ChainUnavailableError, ConfigError
from services.sn.adapters.evm_node import RETRY_S
from services.sn.adapters.evm_store import DATABASE, LogRow, Store
from tests.component.sn.engine import swarm

ROOT = Path(__file__).resolve().parents[3]

VICTIM = """
import asyncio, sys
from pathlib import Path
from tests.component.sn.engine import swarm

async def main():
    async with swarm(Path(sys.argv[1])) as made:
        sn = await made.start("1", sentinel=True)
        counter = await sn.deploy()
        print(counter, flush=True)
        while True:
            print((await sn.send(to=counter))["transactionHash"], flush=True)

asyncio.run(main())
"""

RIVAL = """
import sys
from pathlib import Path
from services.common.errors import ConfigError
from services.sn.adapters.evm_store import Store
try:
    Store.open(Path(sys.argv[1]))
except ConfigError as exc:
    print(exc)
"""


@pytest.fixture
async def sns(tmp_path):
    async with swarm(tmp_path) as made:
        yield made


@pytest.fixture
def store(tmp_path):
    made = Store.open(tmp_path / "data")
    yield made
    made.close()


async def python(code, *arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *map(str, arguments), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )


async def test_a_restarted_sentinel_goes_on_with_its_chain(sns):
    sn = await sns.start("1", sentinel=True)
    counter = await sn.deploy()
    sent = await sn.send(to=counter)
    before = (sn.chain.chain_id, sn.chain.account.address, sn.chain.head)
    logs = await sn.call("eth_getLogs", {"fromBlock": "0x0"})
    await sns.stop(sn)
    again = await sns.start("1", sentinel=True)
    assert (again.chain.chain_id, again.chain.account.address, again.chain.head) == before
    assert await again.call("eth_getTransactionReceipt", sent["transactionHash"]) == sent
    assert await again.call("eth_getLogs", {"fromBlock": "0x0"}) == logs
    assert (await again.send(to=counter))["blockNumber"] == "0x3"


async def test_what_is_final_stays_final_over_a_clean_stop(sns):
    """Without asking the others again."""
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint])
    await a.until_signers(2)
    await b.deploy()
    final = b.chain.head
    await sns.stop(a)
    await sns.stop(b)
    again = await sns.start("2", join=["127.0.0.1:1"])
    assert again.chain.head == final


async def test_the_account_key_is_for_its_owner_only(sns):
    await sns.start("1", sentinel=True)
    mode = stat.S_IMODE((sns.folder / "sn1" / "account.key").stat().st_mode)
    assert mode == 0o600


async def test_a_killed_process_loses_no_acknowledged_block(sns):
    process = await python(VICTIM, sns.folder)
    async with asyncio.timeout(60):
        lines = [(await process.stdout.readline()).decode().strip() for _ in range(12)]
        process.send_signal(signal.SIGKILL)
        rest = (await process.stdout.read()).decode().splitlines()
        await process.wait()
    counter, *acknowledged = lines + [line for line in rest if len(line) == 66]
    sn = await sns.start("1", sentinel=True)
    for transaction in acknowledged:
        receipt = await sn.call("eth_getTransactionReceipt", transaction)
        assert receipt is not None, transaction
        assert receipt["status"] == "0x1"
    logs = await sn.call("eth_getLogs", {"fromBlock": "0x0", "address": counter})
    stored = int(await sn.call("eth_getStorageAt", counter, "0x0", "latest"), 16)
    assert stored == len(logs) >= len(acknowledged) >= 11
    assert (await sn.send(to=counter))["status"] == "0x1"


async def test_a_second_process_on_the_folder_is_refused(sns):
    await sns.start("1", sentinel=True)
    process = await python(RIVAL, sns.folder / "sn1")
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert f"in use by another SN (process {os.getpid()})" in said.decode()
    with pytest.raises(ConfigError, match="in use by another SN"):
        await sns.open("1", sentinel=True)


async def test_a_folder_without_a_chain_needs_somebody_to_join(sns):
    with pytest.raises(ConfigError, match="SENTINEL_NODE_IP"):
        await sns.open("1")
    await (await sns.open("1", sentinel=True)).close()


async def made_chain(sns):
    sn = await sns.start("1", sentinel=True)
    await sn.deploy()
    await sns.stop(sn)
    return sns.folder / "sn1"


async def refused(sns, words):
    with pytest.raises(ConfigError, match=words):
        await sns.open("1", sentinel=True)


async def test_another_clients_folder_is_refused(sns):
    (sns.folder / "sn1" / "geth").mkdir(parents=True)
    await refused(sns, "not ours.*geth")


async def test_an_ext4_volume_is_taken(sns):
    (sns.folder / "sn1" / "lost+found").mkdir(parents=True)
    await (await sns.open("1", sentinel=True)).close()


async def test_a_file_in_place_of_the_folder_is_refused(sns):
    (sns.folder / "sn1").write_text("x")
    await refused(sns, "SN_DATA_DIR")


async def test_garbage_in_place_of_the_database_is_refused(sns):
    folder = await made_chain(sns)
    (folder / DATABASE).write_bytes(b"garbage" * 1000)
    await refused(sns, "damaged or not a chain of ours")


async def test_a_truncated_database_is_refused(sns):
    folder = await made_chain(sns)
    size = (folder / DATABASE).stat().st_size
    os.truncate(folder / DATABASE, size // 2)
    await refused(sns, "damaged")


async def test_another_programs_database_is_refused(sns):
    folder = sns.folder / "sn1"
    folder.mkdir()
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute("create table notes (text)")
    connection.close()
    await refused(sns, "another program's database")


async def test_a_newer_schema_is_refused(sns):
    folder = await made_chain(sns)
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute("pragma user_version = 99")
    connection.close()
    await refused(sns, "schema 99")


async def test_a_chain_that_lost_its_head_is_refused(sns):
    folder = await made_chain(sns)
    connection = sqlite3.connect(folder / DATABASE)
    connection.execute("delete from kv where k = ?", (b"v1:canonical_head_hash",))
    connection.commit()
    connection.close()
    await refused(sns, "is damaged")


async def test_a_chain_that_lost_its_state_is_refused(sns):
    sn = await sns.start("1", sentinel=True)
    await sn.deploy()
    root = bytes.fromhex((await sn.call("eth_getBlockByNumber", "latest"))["stateRoot"][2:])
    await sns.stop(sn)
    connection = sqlite3.connect(sns.folder / "sn1" / DATABASE)
    connection.execute("delete from kv where k = ?", (root,))
    connection.commit()
    connection.close()
    await refused(sns, "state or genesis block missing")


async def test_a_chain_without_its_account_key_is_refused(sns):
    folder = await made_chain(sns)
    (folder / "account.key").unlink()
    await refused(sns, "account.key is missing")


async def test_a_damaged_account_key_is_refused(sns):
    folder = await made_chain(sns)
    (folder / "account.key").write_text("0x12\n")
    await refused(sns, "account key")


async def test_a_full_disk_loses_nothing_and_sealing_goes_on_when_there_is_room(sns, monkeypatch):
    sn = await sns.start("1", sentinel=True)
    counter = await sn.deploy()
    sql, node = sn.node.chain.store._sql, sn.node

    def limit(extra):
        pages = sql.execute("pragma page_count").fetchone()[0]
        sql.execute(f"pragma max_page_count = {pages + extra}")

    failed, tries, loop = asyncio.Event(), [], asyncio.get_running_loop()
    propose = node.decisions.propose

    def count(seal):  # on the chain's thread
        tries.append(time.monotonic())
        if len(tries) == 3:
            loop.call_soon_threadsafe(failed.set)
        return propose(seal)

    monkeypatch.setattr(node.decisions, "propose", count)
    await node.do(limit, 0)
    sent = [await sn.submit(to=counter, data=os.urandom(8000), nonce=n) for n in range(1, 4)]
    async with asyncio.timeout(30):
        await failed.wait()
    assert tries[2] - tries[0] > RETRY_S, "a full disk is not tried again without a pause"
    assert "disk full" in sn.chain.status()
    assert await sn.call("eth_blockNumber") == "0x1"
    assert await sn.call("eth_getTransactionReceipt", sent[0]) is None
    await node.do(limit, 10_000)
    for transaction in sent:
        assert (await sn.receipt(transaction))["status"] == "0x1"
    assert sn.chain.status() == "sealing"


class OopsError(Exception):
    """What a caller raises in a transaction."""


def test_an_inner_transaction_is_undone_alone(store):
    with store.transaction():
        store[b"kept"] = b"1"
        with pytest.raises(OopsError), store.transaction():
            store[b"undone"] = b"1"
            raise OopsError
    assert store[b"kept"] == b"1"
    assert not store.exists(b"undone")


def test_an_outer_transaction_takes_the_inner_ones_with_it(store):
    with pytest.raises(OopsError), store.transaction():
        with store.atomic_batch() as batch:
            batch[b"k"] = b"v"
        raise OopsError
    assert b"k" not in store


def test_the_store_is_a_mapping(store):
    store[b"k"] = b"v"
    assert store.get(b"k") == b"v"
    del store[b"k"]
    with pytest.raises(KeyError):
        store[b"k"]
    with pytest.raises(KeyError):
        del store[b"k"]


def test_logs_come_in_order_and_go_with_their_block(store):
    rows = [LogRow(n, p, b"b", b"t", 0, b"a", b"", b"") for n in (1, 2, 3) for p in (0, 1)]
    store.add_logs(reversed(rows))
    assert list(store.logs(1, 3)) == rows
    store.drop_logs(2)
    assert [row.number for row in store.logs(0, 9)] == [1, 1, 3, 3]


def test_a_closed_database_is_an_unavailable_chain(tmp_path):
    store = Store.open(tmp_path / "data")
    store.close()
    with pytest.raises(ChainUnavailableError):
        store[b"k"]
