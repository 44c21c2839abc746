"""What standard tools ask the chain for: by place in a block, receipts of a block, proofs."""

import pytest
import rlp
from eth_utils import keccak
from trie.hexary import HexaryTrie

from services.sn.adapters import json_params
from tests.component.sn.engine import swarm


@pytest.fixture
async def sn(tmp_path):
    async with swarm(tmp_path) as made:
        yield await made.start("1", sentinel=True)


def unhexed(values):
    return [rlp.decode(bytes.fromhex(value[2:])) for value in values]


async def test_by_place_and_by_block_say_the_same_as_by_hash(sn):
    counter = await sn.deploy()
    sent = [await sn.submit(to=counter, nonce=n) for n in (3, 2, 1)]
    receipts = [await sn.receipt(each) for each in reversed(sent)]
    number, block = receipts[0]["blockNumber"], receipts[0]["blockHash"]
    assert [r["blockNumber"] for r in receipts] == ["0x2"] * 3
    assert await sn.call("eth_getBlockReceipts", number) == receipts
    assert await sn.call("eth_getBlockReceipts", block) == receipts
    assert sum(int(r["gasUsed"], 16) for r in receipts) == int(receipts[2]["cumulativeGasUsed"], 16)
    assert await sn.call("eth_getBlockTransactionCountByNumber", number) == "0x3"
    assert await sn.call("eth_getBlockTransactionCountByHash", block) == "0x3"
    for place, transaction in enumerate(reversed(sent)):
        whole = await sn.call("eth_getTransactionByHash", transaction)
        by = [
            await sn.call("eth_getTransactionByBlockNumberAndIndex", number, hex(place)),
            await sn.call("eth_getTransactionByBlockHashAndIndex", block, hex(place)),
        ]
        assert by == [whole, whole]


async def test_what_is_not_there_is_null(sn):
    await sn.deploy()
    unknown = "0x" + "77" * 32
    assert [
        await sn.call("eth_getBlockReceipts", "0x99"),
        await sn.call("eth_getBlockReceipts", unknown),
        await sn.call("eth_getBlockTransactionCountByHash", unknown),
        await sn.call("eth_getTransactionByBlockNumberAndIndex", "0x1", "0x1"),
        await sn.call("eth_getTransactionByBlockNumberAndIndex", "0x99", "0x0"),
        await sn.call("eth_getBlockByHash", unknown),
    ] == [None] * 6
    assert await sn.call("eth_getBlockReceipts", "0x0") == []


async def test_a_proof_leads_from_the_state_root_to_the_slot(sn):
    counter = await sn.deploy()
    for _ in range(3):
        await sn.send(to=counter)
    block = await sn.call("eth_getBlockByNumber", "latest")
    proof = await sn.call("eth_getProof", counter, ["0x0", "0x5"], "latest")
    account = rlp.decode(
        HexaryTrie.get_from_proof(
            bytes.fromhex(block["stateRoot"][2:]), keccak(hexstr=counter),
            unhexed(proof["accountProof"]),
        )
    )  # fmt: skip
    assert ["0x" + item.hex() for item in account[2:]] == [proof["storageHash"], proof["codeHash"]]
    assert [slot["value"] for slot in proof["storageProof"]] == ["0x3", "0x0"]
    value = HexaryTrie.get_from_proof(
        account[2], keccak(bytes(32)), unhexed(proof["storageProof"][0]["proof"])
    )
    assert rlp.decode(value) == b"\x03"
    nobody = await sn.call("eth_getProof", "0x" + "99" * 20, [], "latest")
    assert (nobody["balance"], nobody["nonce"], nobody["storageProof"]) == ("0x0", "0x0", [])


async def test_who_may_seal(sn):
    await sn.deploy()
    me = sn.chain.account.address
    assert await sn.call("clique_getSigners") == [me]
    snapshot = await sn.call("clique_getSnapshot", "0x0")
    assert (snapshot["number"], snapshot["signers"], snapshot["votes"]) == (0, {me: {}}, [])
    assert await sn.call("net_listening") is True
    assert await sn.call("net_peerCount") == "0x0"


async def test_too_many_events_at_once_are_refused_from_outside_only(sn, monkeypatch):
    monkeypatch.setattr(json_params, "MAX_LOGS", 3)
    counter = await sn.deploy()
    for _ in range(5):
        await sn.send(to=counter)
    query = [{"fromBlock": "0x0", "address": counter, "bounded": False}]
    assert len(await sn.call("eth_getLogs", *query)) == 5
    refused = await sn.chain.rpc("eth_getLogs", query)
    assert "ask for fewer blocks at a time (blocks 2 to 4 fit)" in refused["error"]["message"]
    query[0]["toBlock"] = "0x4"
    answer = await sn.chain.rpc("eth_getLogs", query)
    assert len(answer["result"]) == 3
