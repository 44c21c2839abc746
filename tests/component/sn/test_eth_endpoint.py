"""``POST /eth`` of a real SN with the tools that Ethereum's users have: web3.py and curl."""

import asyncio
import json
import shutil

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3
from web3.middleware import ExtraDataToPOAMiddleware

import contracts
from services.common.ids import NodeKind
from services.sn.api import json_rpc
from tests.component.sn import tape


@pytest.fixture
async def sn(swarm):
    running = await swarm.sn()
    await tape.some_rounds(swarm, running, 2)
    return running


class _Mutual(HTTPAdapter):
    """Certificates name roles, not hosts: the chain of trust is checked, the host name is not."""

    def __init__(self, identity):
        self.context = identity.client_context()
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs, ssl_context=self.context, assert_hostname=False)


async def test_async_web3_reads_the_chain_and_calls_the_contracts(swarm, sn):
    context = swarm.pki.identity(NodeKind.SWCI).client_context()
    provider = AsyncHTTPProvider(f"https://{sn.endpoint}/eth", request_kwargs={"ssl": context})
    w3 = AsyncWeb3(provider)
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    try:
        assert await w3.is_connected()
        head = await w3.eth.block_number
        block = await w3.eth.get_block(head, full_transactions=True)
        assert await w3.eth.get_block(block["hash"], full_transactions=True) == block
        assert await w3.eth.get_block_transaction_count(head) == len(block["transactions"])
        (receipt, *_) = await w3.eth.get_block_receipts(head)
        transaction = block["transactions"][0]
        assert await w3.eth.get_transaction(transaction["hash"]) == transaction
        assert await w3.eth.get_transaction_by_block(head, 0) == transaction
        assert await w3.eth.get_transaction_receipt(transaction["hash"]) == receipt
        assert (await w3.net.version, await w3.net.listening, await w3.net.peer_count) == (
            str(await w3.eth.chain_id), True, 0,
        )  # fmt: skip
        assert await w3.client_version

        (row,) = await swarm.client(sn, kind=NodeKind.SWCI).contracts()
        training = w3.eth.contract(
            AsyncWeb3.to_checksum_address(row.address), abi=contracts.load("TrainingContract").abi
        )
        summary = await training.functions.summary().call()
        assert (summary[0], summary[2], summary[10]) == (1, 3, 2)
        events = await training.events.Published.get_logs(from_block=0)
        assert [event["args"]["round"] for event in events] == [1, 2]
        assert len(await w3.eth.get_code(training.address)) > 1000
        assert await w3.eth.get_balance(training.address) == 0
        assert (await w3.eth.get_storage_at(training.address, 0)) != bytes(32)
        proof = await provider.make_request("eth_getProof", [training.address, ["0x0"], hex(head)])
        slot = proof["result"]["storageProof"][0]["value"]
        assert int(slot, 16) == int.from_bytes(await w3.eth.get_storage_at(training.address, 0))
    finally:
        await provider.disconnect()


async def test_web3_with_requests(swarm, sn):
    session = requests.Session()
    session.mount("https://", _Mutual(swarm.pki.identity(NodeKind.SWCI)))
    w3 = Web3(HTTPProvider(f"https://{sn.endpoint}/eth", session=session))
    w3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    with session:
        block = await asyncio.to_thread(w3.eth.get_block, "latest")
        assert block["number"] == await asyncio.to_thread(lambda: w3.eth.block_number)
        assert len(block["proofOfAuthorityData"]) == 97


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
async def test_curl(swarm, sn):
    async def curl(role, body):
        files = swarm.pki.files(role)
        port = sn.endpoint.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--cert", files["SWARM_ID_CERT"], "--key", files["SWARM_ID_KEY"],
            "--cacert", str(swarm.pki.ca_cert), "--connect-to", f"SN-1:{port}:127.0.0.1:{port}",
            "--json", json.dumps(body), f"https://SN-1:{port}/eth",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return json.loads((await process.communicate())[0])

    calls = [
        {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
        for n, (method, params) in enumerate(
            [("eth_blockNumber", []), ("clique_getSigners", []), ("debug_setHead", ["0x0"])]
        )
    ]
    number, signers, refused = await curl(NodeKind.SWCI, calls)
    assert (int(number["result"], 16) > 5, len(signers["result"])) == (True, 1)
    assert (refused["id"], refused["error"]["code"]) == (2, -32601)
    assert (await curl(NodeKind.SWOP, calls[0]))["result"] == number["result"]
    assert (await curl(NodeKind.SL, calls[0]))["code"] == "forbidden"


async def test_a_batch_that_would_answer_too_much_is_cut(swarm, sn, monkeypatch):
    monkeypatch.setattr(json_rpc, "MOST_BYTES", 2000)
    call = {"jsonrpc": "2.0", "method": "eth_getBlockByNumber", "params": ["0x1", True]}
    context = swarm.pki.identity(NodeKind.SWCI).client_context()
    async with httpx.AsyncClient(verify=context) as http:
        batch = [{**call, "id": number} for number in range(4)]
        said = (await http.post(f"https://{sn.endpoint}/eth", json=batch)).json()
    assert [(item["id"], "result" in item) for item in said] == [
        (0, True), (1, False), (2, False), (3, False),
    ]  # fmt: skip
    assert said[3]["error"]["code"] == -32005
    transport = httpx.AsyncHTTPTransport(verify=context)
    found = await tape.audited(transport, "--sn", sn.endpoint)  # asks again for what was cut
    assert len(found.events.chronicle.rounds) == 2
