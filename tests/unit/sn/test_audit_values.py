"""Headers and transactions of any fork and type, out of JSON and back to their hashes."""

import pytest
import rlp
from eth.rlp.headers import BlockHeader
from eth.vm.forks.cancun.blocks import CancunBlockHeader
from eth.vm.forks.london.blocks import LondonBlockHeader
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth.vm.forks.shanghai.blocks import ShanghaiBlockHeader
from eth_account import Account
from eth_utils import keccak

from services.sn.adapters.audit_headers import check_link, read_header
from services.sn.adapters.audit_roots import EMPTY_ROOT, trie_root
from services.sn.adapters.audit_transactions import created_by, read_transaction
from services.sn.core.verdict import Violation

KEY = "0x" + "11" * 32
NAMES = {
    "parentHash": "parent_hash", "sha3Uncles": "uncles_hash", "miner": "coinbase",
    "stateRoot": "state_root", "transactionsRoot": "transaction_root",
    "receiptsRoot": "receipt_root", "difficulty": "difficulty", "number": "block_number",
    "gasLimit": "gas_limit", "gasUsed": "gas_used", "timestamp": "timestamp",
    "extraData": "extra_data", "mixHash": "mix_hash", "nonce": "nonce",
    "baseFeePerGas": "base_fee_per_gas", "withdrawalsRoot": "withdrawals_root",
    "blobGasUsed": "blob_gas_used", "excessBlobGas": "excess_blob_gas",
    "parentBeaconBlockRoot": "parent_beacon_block_root", "requestsHash": "requests_hash",
}  # fmt: skip


def hexed(value):
    return hex(value) if isinstance(value, int) else "0x" + value.hex()


def view_of(header):
    view = {k: hexed(getattr(header, v)) for k, v in NAMES.items() if hasattr(header, v)}
    bloom = hexed(header.bloom.to_bytes(256, "big"))
    return {**view, "logsBloom": bloom, "hash": hexed(header.hash)}


def made(kind):
    return kind(
        difficulty=2, block_number=7, gas_limit=10**9, timestamp=1_700_000_000, gas_used=21_000,
        extra_data=b"\x01" * 97, bloom=1 << 2000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (BlockHeader, 15), (LondonBlockHeader, 16), (ShanghaiBlockHeader, 17),
        (CancunBlockHeader, 20), (PragueBlockHeader, 21),
    ],
)  # fmt: skip
def test_a_header_of_every_fork(kind, fields):
    header = made(kind)
    read = read_header(view_of(header), 7)
    assert (read.hash, len(read.fields), read.time) == (header.hash, fields, 1_700_000_000)
    assert read.raw == rlp.encode(header)


def test_null_stands_for_a_field_that_is_not_there_and_a_hole_is_found():
    view = {**view_of(made(LondonBlockHeader)), "requestsHash": None, "blobGasUsed": None}
    assert len(read_header(view, 7).fields) == 16
    with pytest.raises(Violation, match="block 7: the header has baseFeePerGas, blobGasUsed, but"):
        read_header({**view, "blobGasUsed": "0x0"}, 7)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("timestamp", "0x1", "fields do not make its hash"),
        ("number", "0x8", "another block was given for it: found 8, expected 7"),
        ("miner", "0x12", "miner is of a wrong length"),
        ("stateRoot", "0xzz", "stateRoot is not 0x hex"),
        ("stateRoot", 5, "stateRoot is not 0x hex"),
        ("gasUsed", "0x", "gasUsed is not a number"),
        ("gasUsed", "0x-5", "gasUsed is not a number"),
        ("gasUsed", None, "gasUsed is not a number"),
        ("gasUsed", "0x" + "f" * 70, "gasUsed is not a number"),
    ],
)
def test_a_header_that_is_none(name, value, words):
    with pytest.raises(Violation, match=words) as found:
        read_header({**view_of(made(PragueBlockHeader)), name: value}, 7)
    assert found.value.block == 7


def test_qbft_hashes_a_header_without_round_and_commit_seals():
    extra = [bytes(32), [b"\x07" * 20] * 4, [], b"\x03", [b"\x09" * 65] * 3]
    header = made(LondonBlockHeader).copy(extra_data=rlp.encode(extra))
    hashed = header.copy(extra_data=rlp.encode([*extra[:3], b"", []])).hash
    assert read_header({**view_of(header), "hash": hexed(hashed)}, 7).hash == hashed
    other = header.copy(extra_data=rlp.encode([extra[0], [], *extra[2:]]))
    with pytest.raises(Violation, match="do not make its hash"):
        read_header({**view_of(other), "hash": hexed(hashed)}, 7)


def test_links():
    parent = read_header(view_of(made(PragueBlockHeader)), 7)
    child = made(PragueBlockHeader).copy(block_number=8, parent_hash=parent.hash)
    check_link(read_header(view_of(child), 8), parent)
    with pytest.raises(Violation, match="block 8: its parent is another block"):
        check_link(read_header(view_of(child.copy(parent_hash=b"\1" * 32)), 8), parent)
    with pytest.raises(Violation, match="older than its parent"):
        check_link(read_header(view_of(child.copy(timestamp=5)), 8), parent)


# --- transactions

COMMON = {"nonce": 3, "gas": 100_000, "value": 5, "data": "0x1234", "chainId": 77}
FEES = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 2}
ACCESS = [{"address": "0x" + "22" * 20, "storageKeys": ["0x" + "00" * 31 + "05"]}]
TO = {"to": "0x" + "33" * 20}
SENT = {
    "legacy": {**COMMON, **TO, "gasPrice": 4},
    "creation": {**COMMON, "gasPrice": 4, "to": ""},
    "unprotected": {**{k: v for k, v in COMMON.items() if k != "chainId"}, **TO, "gasPrice": 4},
    "access list": {**COMMON, **TO, "gasPrice": 4, "accessList": ACCESS, "type": 1},
    "dynamic fee": {**COMMON, **TO, **FEES, "accessList": ACCESS, "type": 2},
}


def json_of(fields):
    signed = Account.sign_transaction(fields, KEY)
    raw = bytes(signed.raw_transaction)
    numbers = ("nonce", "gas", "value", "chainId", "gasPrice", *FEES)
    view = {name: hex(fields[name]) for name in numbers if name in fields}
    return raw, {
        **view, "type": hex(fields.get("type", 0)), "input": fields["data"],
        "to": fields["to"] or None, "accessList": fields.get("accessList", []),
        "hash": hexed(bytes(signed.hash)), "from": Account.from_key(KEY).address,
        "v": hex(signed.v), "r": hex(signed.r), "s": hex(signed.s),
    }  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_a_transaction_of_every_type(name):
    raw, view = json_of(SENT[name])
    read = read_transaction(view, 7, 0)
    assert (read.raw, read.hash) == (raw, keccak(raw))
    assert (read.nonce, read.data) == (3, b"\x12\x34")
    assert bool(read.creates) == (name == "creation")


def test_a_set_code_transaction():
    authorization = Account.sign_authorization(
        {"chainId": 77, "address": TO["to"], "nonce": 1}, KEY
    )
    fields = {**COMMON, **TO, **FEES, "authorizationList": [authorization], "type": 4}
    raw, view = json_of(fields)
    view["authorizationList"] = [
        {
            "chainId": "0x4d", "address": TO["to"], "nonce": "0x1",
            "yParity": hex(authorization.y_parity), "r": hex(authorization.r),
            "s": hex(authorization.s),
        }
    ]  # fmt: skip
    assert read_transaction(view, 7, 0).raw == raw


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("input", "0x9999", "fields do not make its hash"),
        ("nonce", "0x4", "fields do not make its hash"),
        ("from", "0x" + "55" * 20, "its sender did not sign it"),
        ("type", "0x9", "unknown type: found 9"),
    ],
)
def test_a_transaction_that_was_changed(name, value, words):
    _, view = json_of(SENT["legacy"])
    with pytest.raises(Violation, match=f"block 7: transaction 2: .*{words}"):
        read_transaction({**view, name: value}, 7, 2)


def test_where_a_contract_goes():
    """The example that geth's tests have."""
    sender = bytes.fromhex("970e8128ab834e8eac17ab8e3812f010678cf791")
    assert created_by(sender, 0).hex() == "333c3310824b7c685133f2bedb2ca4b8b4df633d"


def test_roots():
    assert trie_root([]) == EMPTY_ROOT
    assert trie_root([b"a" * 40]) != trie_root([b"b" * 40])
    assert trie_root([b"a" * 40, b"b" * 40]) != trie_root([b"b" * 40, b"a" * 40])
