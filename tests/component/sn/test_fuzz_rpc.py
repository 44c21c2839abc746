"""Random JSON-RPC: every answer is a result or an error of JSON-RPC, and comes soon."""

import asyncio
import json
import time

import pytest
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.sn.adapters.evm_chain import create
from services.sn.adapters.evm_pool import Pool
from services.sn.adapters.evm_store import Store
from services.sn.adapters.json_rpc import READ_METHODS, JsonRpc
from tests.component.sn.engine import COUNTER, creation

BRIEF_S = 5.0
KEY = PrivateKey(b"\x01" * 32)
ADDRESS = KEY.public_key.to_checksum_address()


class Node:
    """As much of a node as JSON-RPC reads."""

    catching_up = False

    def __init__(self, folder):
        self.store = Store.open(folder)
        self.chain = create(self.store, KEY.public_key.to_canonical_address())
        self.pool = Pool()

    async def do(self, work, *args):
        return work(*args)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("chain"))
    raw = creation(COUNTER)
    fields = {"nonce": 0, "gasPrice": 0, "gas": 300_000, "value": 0, "data": raw, "to": ""}
    signed = Account.sign_transaction(fields | {"chainId": node.chain.chain_id}, KEY.to_bytes())
    transaction = node.chain.decode_transaction(bytes(signed.raw_transaction))
    node.chain.seal(KEY, [transaction], timestamp=0, refuse=print)
    yield JsonRpc(node)
    node.store.close()


TEXTS = st.one_of(
    st.sampled_from([
        "latest", "earliest", "pending", "safe", "finalized", "0x", "0x0", "0x1", "0x2", "-0x1",
        "0x" + "f" * 64, "0x" + "f" * 65, "0x" + "0" * 40, ADDRESS, ADDRESS[:-1], "0xzz", "", "1",
        "0x" + "5b600056", "0x" + "00" * 32, "0x" + "11" * 32, "0x" + "ff" * 10_000, "é", "\ud800",
    ]),
    st.text(max_size=10),
    st.binary(max_size=40).map(lambda raw: "0x" + raw.hex()),
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), TEXTS, st.integers(-2, 3), st.floats(),
    st.sampled_from([2**31, 2**63, 2**64, 2**256, 2**4000, -(2**256)]),
)  # fmt: skip
NAMES = st.sampled_from([
    "from", "to", "gas", "value", "data", "input", "nonce", "blockHash", "blockNumber", "address",
    "fromBlock", "toBlock", "topics", "odd",
])  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=12,
)
PARAMS = st.one_of(st.lists(VALUES, max_size=4))


@pytest.mark.parametrize("method", sorted(READ_METHODS))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(params=PARAMS)
@example(params=[{}])
@example(params=["0x" + "f" * 5_000])
@example(params=[2**4000, "latest", []])
@example(params=[ADDRESS, hex(2**300), "latest"])
@example(params=[ADDRESS, -1, "latest"])
@example(params=[{"fromBlock": -5, "toBlock": 2**70}])
@example(params=[{"fromBlock": "0x0", "address": [[]], "topics": [None, [None]]}])
@example(params=[{"to": ADDRESS, "gas": -1}])
@example(params=[{"data": "0x5b600056", "value": hex(2**256)}])
@example(params=["0x5", "latest", [1.0] * 200])
def test_whatever_is_asked_is_answered(rpc, method, params):
    started = time.monotonic()
    answer = asyncio.run(rpc(method, params))
    assert time.monotonic() - started < BRIEF_S
    assert answer.keys() in ({"jsonrpc", "result"}, {"jsonrpc", "error"})
    if "error" in answer:
        assert isinstance(answer["error"]["code"], int)
    json.dumps(answer, allow_nan=False).encode()
