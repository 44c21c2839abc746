"""One SN: seal on demand, JSON-RPC, what the pool refuses."""

import asyncio

import pytest
from eth_account import Account
from web3 import AsyncWeb3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers.async_base import AsyncBaseProvider

from services.sn.adapters import evm_pool
from services.sn.adapters.evm_pool import BYTES
from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP
from services.sn.adapters.json_rpc import READ_METHODS
from tests.component.sn.engine import COUNTER, REVERTER, TOPIC, creation, swarm


@pytest.fixture
async def sn(tmp_path):
    async with swarm(tmp_path) as made:
        yield await made.start("1", sentinel=True)


def word(value):
    return "0x" + value.to_bytes(32, "big").hex()


async def test_deploy_write_read_and_events(sn):
    counter = await sn.deploy()
    receipts = [await sn.send(to=counter) for _ in range(3)]
    assert [r["status"] for r in receipts] == ["0x1"] * 3
    assert await sn.call("eth_getStorageAt", counter, "0x0", "latest") == word(3)
    assert await sn.call("eth_getCode", counter, "latest") == "0x" + COUNTER.hex()
    logs = await sn.call("eth_getLogs", {"fromBlock": "0x0", "address": counter})
    assert [log["data"] for log in logs] == [word(1), word(2), word(3)]
    assert logs == [log for r in receipts for log in r["logs"]]
    assert {tuple(log["topics"]) for log in logs} == {("0x" + TOPIC.hex(),)}


async def test_logs_are_filtered_by_block_address_and_topic(sn):
    first, second = await sn.deploy(), await sn.deploy()
    a, b = await sn.send(to=first), await sn.send(to=second)

    async def found(**query):
        return [log["transactionHash"] for log in await sn.call("eth_getLogs", query)]

    both = [a["transactionHash"], b["transactionHash"]]
    assert await found(fromBlock="earliest", toBlock="latest") == both
    assert await found(fromBlock="0x0", address=[first, second]) == both
    assert await found(fromBlock="0x0", address=second) == both[1:]
    assert await found(fromBlock=b["blockNumber"]) == both[1:]
    assert await found() == both[1:]
    assert await found(blockHash=a["blockHash"]) == both[:1]
    assert await found(fromBlock="0x0", topics=[["0x" + TOPIC.hex(), word(9)]]) == both
    assert await found(fromBlock="0x0", topics=[None]) == both
    assert await found(fromBlock="0x0", topics=[word(9)]) == []
    assert await found(fromBlock="0x0", topics=["0x" + TOPIC.hex(), None]) == []
    assert await found(fromBlock=hex(10**6)) == []


async def test_a_revert_says_why(sn):
    reverter = await sn.deploy(REVERTER)
    receipt = await sn.send(to=reverter)
    assert receipt["status"] == "0x0"
    assert receipt["revertReason"] == word(42)
    answer = await sn.chain.rpc("eth_call", [{"to": reverter}, "latest"])
    assert answer["error"] == {"code": 3, "message": "execution reverted", "data": word(42)}


async def test_an_empty_pool_makes_no_blocks(sn):
    await sn.deploy()
    head = sn.chain.head
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await sn.chain.wait_for_head(head)
    assert await sn.call("eth_blockNumber") == "0x1"


async def test_a_sender_is_executed_in_order_of_nonce_and_a_gap_waits(sn):
    counter = await sn.deploy()
    late = await sn.submit(to=counter, nonce=3)
    await sn.submit(to=counter, nonce=2)
    assert await sn.call("eth_getTransactionReceipt", late) is None
    assert (await sn.call("eth_getTransactionByHash", late))["blockNumber"] is None
    assert await sn.nonce() == 1
    await sn.submit(to=counter, nonce=1)
    assert (await sn.receipt(late))["status"] == "0x1"
    assert await sn.call("eth_getStorageAt", counter, "0x0", "latest") == word(3)


async def test_many_transactions_share_a_block(sn):
    counter = await sn.deploy()
    sent = [await sn.submit(to=counter, nonce=n) for n in range(20, 0, -1)]
    receipts = [await sn.receipt(transaction) for transaction in sent]
    assert {r["blockNumber"] for r in receipts} == {"0x2"}
    assert sum(int(r["gasUsed"], 16) for r in receipts) == max(
        int(r["cumulativeGasUsed"], 16) for r in receipts
    )
    assert await sn.call("eth_getStorageAt", counter, "0x0", "latest") == word(20)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chainId": 5}, "for chain 5"),
        ({"gas": TRANSACTION_GAS_CAP + 1}, "is over"),
        ({"gas": 100}, "gas"),
        ({"gasPrice": 1}, "gasPrice and value are 0"),
        ({"value": 1, "to": "0x" + "11" * 20}, "gasPrice and value are 0"),
        ({"nonce": 0}, "nonce too low"),
        ({"nonce": 1000}, "nonce too high"),
    ],
)
async def test_the_pool_refuses_with_words(sn, changes, words):
    await sn.deploy()
    raw = sn.sign(**({"nonce": 1} | changes))
    answer = await sn.chain.provider.make_request("eth_sendRawTransaction", ["0x" + raw.hex()])
    assert words in answer["error"]["message"]
    assert not sn.node.pool


@pytest.mark.parametrize("raw", ["0x", "0x00", "0x" + "c0" * 40, "0x02f8", "0xff", "zz", 7])
async def test_garbage_is_no_transaction(sn, raw):
    answer = await sn.chain.provider.make_request("eth_sendRawTransaction", [raw])
    assert answer["error"]["code"] in (-32000, -32602)


async def test_a_second_transaction_with_a_waiting_nonce_is_refused_a_repeat_is_not(sn):
    first = await sn.submit(nonce=5, data=b"\x01")
    assert await sn.submit(nonce=5, data=b"\x01") == first
    with pytest.raises(AssertionError, match="nonce 5: another transaction"):
        await sn.submit(nonce=5, data=b"\x02")


async def test_a_dynamic_fee_transaction_is_taken_when_it_offers_nothing(sn):
    fields = {
        "nonce": 0,
        "maxFeePerGas": 0,
        "maxPriorityFeePerGas": 0,
        "gas": 100_000,
        "data": b"",
        "to": "0x" + "11" * 20,
        "chainId": sn.chain.chain_id,
    }
    raw = bytes(Account.sign_transaction(fields, sn.chain.account.key.to_bytes()).raw_transaction)
    receipt = await sn.receipt(await sn.call("eth_sendRawTransaction", "0x" + raw.hex()))
    assert (receipt["status"], receipt["type"]) == ("0x1", "0x2")
    seen = await sn.call("eth_getTransactionByHash", receipt["transactionHash"])
    assert (seen["type"], seen["maxFeePerGas"]) == ("0x2", "0x0")


async def test_every_read_method_answers(sn):
    counter = await sn.deploy()
    receipt = await sn.send(to=counter)
    account, block, sent = (
        sn.chain.account.address,
        receipt["blockHash"],
        receipt["transactionHash"],
    )
    params = {
        "eth_getBlockByNumber": ["0x1", True],
        "eth_getBlockByHash": [block, False],
        "eth_getBlockTransactionCountByNumber": ["0x1"],
        "eth_getBlockTransactionCountByHash": [block],
        "eth_getBlockReceipts": ["0x1"],
        "eth_getTransactionByHash": [sent],
        "eth_getTransactionByBlockNumberAndIndex": ["0x1", "0x0"],
        "eth_getTransactionByBlockHashAndIndex": [block, "0x0"],
        "eth_getProof": [counter, ["0x0"], "0x1"],
        "eth_getTransactionReceipt": [sent],
        "eth_getTransactionCount": [account, "latest"],
        "eth_getLogs": [{"fromBlock": "0x0"}],
        "eth_call": [{"to": counter}, "latest"],
        "eth_estimateGas": [{"to": counter}],
        "eth_getCode": [counter, "0x1"],
        "eth_getBalance": [account, {"blockHash": block}],
        "eth_getStorageAt": [counter, "0x0", "0x1"],
        "eth_feeHistory": ["0x2", "latest", [50]],
        "swarm_getCertificate": ["0x1"],
    }
    answers = {m: await sn.chain.rpc(m, params.get(m, [])) for m in READ_METHODS}
    assert {m: a["error"] for m, a in answers.items() if "error" in a} == {}
    assert answers["eth_chainId"]["result"] == hex(sn.chain.chain_id)
    assert answers["net_version"]["result"] == str(sn.chain.chain_id)
    assert answers["eth_getTransactionCount"]["result"] == "0x2"
    assert answers["eth_getBlockByHash"]["result"]["transactions"] == [sent]
    assert answers["eth_getBlockByNumber"]["result"]["transactions"][0]["from"] == account
    assert answers["eth_getBlockByNumber"]["result"]["baseFeePerGas"] == "0x0"
    assert 21_000 < int(answers["eth_estimateGas"]["result"], 16) < 100_000
    assert answers["eth_getStorageAt"]["result"] == word(0)
    (vote,) = answers["swarm_getCertificate"]["result"]["votes"]
    assert vote["signer"] == account


async def test_the_endpoint_changes_nothing_and_explains_mistakes(sn):
    raw = "0x" + sn.sign(nonce=0).hex()
    codes = [
        (await sn.chain.rpc(method, params))["error"]["code"]
        for method, params in [
            ("eth_sendRawTransaction", [raw]),
            ("debug_setHead", ["0x0"]),
            ("eth_getBalance", []),
            ("eth_getBalance", ["nonsense"]),
            ("eth_getBlockByNumber", [True]),
            ("eth_getStorageAt", ["0x" + "11" * 20, "0x0", "0x99"]),
        ]
    ]
    assert codes == [-32601, -32601, -32602, -32602, -32602, -32000]
    assert (await sn.chain.rpc("eth_getBlockByNumber", ["0x99"]))["result"] is None
    assert not sn.node.pool


class InProcess(AsyncBaseProvider):
    """web3 on the engine of this process."""

    def __init__(self, engine):
        super().__init__()
        self.make_request = engine.provider.make_request

    async def is_connected(self, show_traceback=False):
        return True


async def test_web3_works_in_process(sn):
    w3 = AsyncWeb3(InProcess(sn.chain))
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    await sn.deploy()
    assert await w3.is_connected()
    assert await w3.eth.chain_id == sn.chain.chain_id
    block = await w3.eth.get_block("latest", full_transactions=True)
    assert block["number"] == 1
    assert block["transactions"][0]["from"] == sn.chain.account.address
    assert sn.chain.account.address == sn.chain.genesis_signer


async def test_the_status_says_sealing(sn):
    await sn.deploy()
    assert sn.chain.status() == "sealing"
    assert sn.chain.peers() == []


async def test_a_full_pool_refuses_until_a_block_takes_some(sn, monkeypatch):
    monkeypatch.setattr(evm_pool, "LIMIT", 2)
    counter = await sn.deploy()
    for nonce in (2, 3):  # wait for nonce 1
        await sn.submit(to=counter, nonce=nonce)
    with pytest.raises(AssertionError, match="try again later"):
        await sn.submit(to=counter, nonce=4)
    monkeypatch.undo()
    await sn.send(to=counter, nonce=1)
    assert (await sn.send(to=counter, nonce=4))["status"] == "0x1"
    assert not sn.node.pool


async def test_a_block_holds_a_bounded_number_of_transactions(sn, monkeypatch):
    monkeypatch.setattr(evm_pool, "PER_BLOCK", 3)
    counter = await sn.deploy()
    sent = [await sn.submit(to=counter, nonce=nonce) for nonce in range(7, 0, -1)]
    receipts = [await sn.receipt(transaction) for transaction in sent]
    numbers = [int(receipt["blockNumber"], 16) for receipt in reversed(receipts)]
    assert numbers == [2, 2, 2, 3, 3, 3, 4]


async def test_a_transaction_that_fits_into_no_block_is_refused(sn):
    answer = await sn.chain.provider.make_request(
        "eth_sendRawTransaction", ["0x" + sn.sign(data=bytes(BYTES), gas=30_000_000).hex()]
    )
    assert "a transaction may have 131072 bytes" in answer["error"]["message"]


async def test_a_block_holds_a_bounded_number_of_bytes(sn, monkeypatch):
    monkeypatch.setattr(evm_pool, "BYTES_PER_BLOCK", 25_000)
    sent = [
        await sn.submit(data=creation(COUNTER) + bytes(10_000), gas=3_000_000, nonce=nonce)
        for nonce in range(5)
    ]
    blocks = [(await sn.receipt(each))["blockNumber"] for each in sent]
    assert max(blocks.count(block) for block in blocks) <= 2
