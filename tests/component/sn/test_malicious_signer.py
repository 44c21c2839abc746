"""A signer that breaks the rules of EIP-225, or ours: every such block is refused, nothing changes.

It has a signer's key and seals whatever it likes; what it cannot do is make others take it.
"""

import re
import time

import pytest
import rlp
from eth.consensus.clique._utils import sign_block_header
from eth.consensus.clique.constants import NONCE_AUTH, NONCE_DROP
from eth.constants import SECPK1_N
from eth.db.trie import make_trie_root_and_nodes
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from services.sn.adapters.evm_chain import install, load
from services.sn.adapters.evm_decisions import MAX_DRIFT_S
from services.sn.adapters.evm_outcome import Proposal
from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP, Context, genesis_header
from services.sn.adapters.evm_store import Store
from services.sn.adapters.evm_votes import cast, encode_votes
from services.sn.core.agreement import Accepted
from services.sn.core.signers import Motion
from tests.component.sn.engine import COUNTER, creation, swarm

KEYS = sorted(
    (PrivateKey(bytes([n]) * 32) for n in range(1, 6)),
    key=lambda key: key.public_key.to_canonical_address(),
)
A, B, C, D, OUTSIDER = KEYS
CHAIN_ID = 77_777


def address(key):
    return key.public_key.to_canonical_address()


def transaction(nonce, *, key=A, to="", **changes):
    fields = {"nonce": nonce, "gasPrice": 0, "gas": 300_000, "value": 0, "chainId": CHAIN_ID}
    fields |= {"data": creation(COUNTER) if not to else b"", "to": to}
    return bytes(Account.sign_transaction(fields | changes, key.to_bytes()).raw_transaction)


class Copy:
    """One SN's copy of the chain, driven by hand."""

    def __init__(self, folder, genesis):
        self.store = Store.open(folder)
        self.chain = load(self.store) or install(self.store, genesis)

    def draft(self, key, transactions=(), vote=None):
        """A block that ``key`` could seal honestly, not stored."""
        decoded = [self.chain.decode_transaction(raw) for raw in transactions]
        motion = None if vote is None else Motion(vote, admit=True)
        return self.chain._build(key, decoded, 0, motion, refuse)

    def signers(self):
        return self.chain.signers_after(self.chain.head).get_sorted_signers()


def refuse(transaction, reason):
    raise AssertionError(reason)


@pytest.fixture
def copies(tmp_path):
    made = []
    genesis = rlp.encode(genesis_header(address(A), CHAIN_ID, int(time.time()) - 60))

    def make(name):
        made.append(Copy(tmp_path / name, genesis))
        return made[-1]

    yield make
    for copy in made:
        copy.store.close()


@pytest.fixture
def honest(copies):
    """A copy with the signers A, B and C; the next block is block 4."""
    one = copies("one")
    for key, subject in [(A, B), (A, C), (B, C)]:
        one.chain.import_sealed(one.draft(key, vote=address(subject)))
    assert one.signers() == [address(key) for key in (A, B, C)]
    return one


def resealed(block, key, **changes):
    return block.copy(header=sign_block_header(block.header.copy(**changes), key))


def refused(copy, block):
    """The copy refuses the block, in this form and as it comes over the network."""
    before = copy.chain.head
    with pytest.raises(ValidationError) as caught:
        copy.chain.import_sealed(block)
    with pytest.raises(ValidationError):
        copy.chain.import_sealed(copy.chain.decode_block(rlp.encode(block)))
    assert copy.chain.head == before
    assert not copy.chain.knows(block.hash)
    assert copy.signers() == [address(key) for key in (A, B, C)]
    return str(caught.value)


HEADER_LIES = {
    "parent": {"parent_hash": b"\x01" * 32},
    "number ahead": {"block_number": 9},
    "number of the parent": {"block_number": 3},
    "uncles": {"uncles_hash": b"\x01" * 32},
    "state root": {"state_root": b"\x01" * 32},
    "transaction root": {"transaction_root": b"\x01" * 32},
    "receipt root": {"receipt_root": b"\x01" * 32},
    "bloom": {"bloom": 1},
    "gas used": {"gas_used": 21_000},
    "gas used beyond the limit": {"gas_used": 10**12 + 1},
    "gas limit up by one": {"gas_limit": 10**12 + 1},
    "gas limit down": {"gas_limit": 10**12 - 10**8},
    "base fee": {"base_fee_per_gas": 7},
    "difficulty 0": {"difficulty": 0},
    "difficulty 3": {"difficulty": 3},
    "difficulty huge": {"difficulty": 2**200},
    "mix hash": {"mix_hash": b"\x01" * 32},
    "nonce of no vote": {"nonce": b"\x01" * 8},
    "withdrawals": {"withdrawals_root": b"\x01" * 32},
    "blob gas": {"blob_gas_used": 131_072},
    "excess blob gas": {"excess_blob_gas": 131_072},
    "requests": {"requests_hash": b"\x01" * 32},
    "time before the parent's": {"timestamp": 1},
    "extra data cut": {"extra_data": bytes(96)},
    "extra data empty": {"extra_data": b""},
    "extra data with a signer, no checkpoint": {
        "extra_data": bytes(32) + address(OUTSIDER) + bytes(65)
    },
    "extra data huge": {"extra_data": bytes(32 + 20 * 5_000 + 65)},
}


@pytest.mark.parametrize("lie", HEADER_LIES.values(), ids=HEADER_LIES)
def test_a_header_that_lies_is_refused(honest, lie):
    block = honest.draft(A)
    refused(honest, resealed(block, A, **lie) if "extra_data" not in lie else odd(block, lie))
    honest.chain.import_sealed(block)


def odd(block, lie):
    """Extra data that the sealing function would not even take: sealed by hand."""
    header = block.header.copy(**lie)
    try:
        return block.copy(header=sign_block_header(header, A))
    except (ValidationError, ValueError):
        return block.copy(header=header)


def test_a_block_that_was_changed_after_sealing_is_refused(honest):
    """Whatever is changed, the seal is then another account's, or nobody's."""
    block = honest.draft(A, [transaction(0)])
    for changes in ({"timestamp": block.header.timestamp + 1}, {"nonce": NONCE_AUTH}):
        assert "not a signer" in refused(honest, block.copy(header=block.header.copy(**changes)))
    unsigned = block.header.extra_data[:-65] + bytes(65)
    refused(honest, block.copy(header=block.header.copy(extra_data=unsigned)))


@pytest.mark.parametrize("form", ["other half", "v of Ethereum's messages"])
def test_nobody_makes_a_twin_of_anothers_block(honest, form):
    """No key is needed for the other form of a signature; the block's hash would be another."""
    block = honest.draft(A)
    extra = bytearray(block.header.extra_data)
    if form == "other half":
        extra[-33:-1] = (SECPK1_N - int.from_bytes(extra[-33:-1], "big")).to_bytes(32, "big")
        extra[-1] ^= 1
    else:
        extra[-1] += 27
    twin = block.copy(header=block.header.copy(extra_data=bytes(extra)))
    assert twin.hash != block.hash
    assert "no valid seal" in refused(honest, twin)
    honest.chain.import_sealed(block)


def test_what_means_nothing_is_free(honest):
    """32 bytes of vanity, and 32 more that no contract of ours reads, change nothing."""
    block = honest.draft(A)
    vanity = b"\x01" * 32 + block.header.extra_data[32:]
    free = resealed(block, A, extra_data=vanity, parent_beacon_block_root=b"\x01" * 32)
    honest.chain.import_sealed(free)
    assert honest.chain.head.state_root == block.header.state_root
    assert honest.signers() == [address(key) for key in (A, B, C)]


def test_transactions_that_do_not_belong_to_the_header_are_refused(honest):
    block = honest.draft(A, [transaction(0)])
    for transactions in ((), (*block.transactions, *block.transactions)):
        refused(honest, block.copy(transactions=transactions))


@pytest.mark.parametrize("place", [2, 3, 4], ids=["uncles", "withdrawals", "one part more"])
def test_uncles_and_withdrawals_are_refused(honest, place):
    block = rlp.decode(rlp.encode(honest.draft(A)))
    assert len(block) == 4
    block[place:] = [[block[0]] if place == 2 else [[b"", b"", bytes(20), b"\x01"]]]
    block += [[]] * (4 - len(block))
    with pytest.raises(ValidationError):
        honest.chain.import_sealed(honest.chain.decode_block(rlp.encode(block)))


TRANSACTIONS = {
    "another chain's": (transaction(0, chainId=CHAIN_ID + 1), "for chain"),
    "too much gas": (transaction(0, gas=TRANSACTION_GAS_CAP + 1), "may use"),
    "money": (transaction(0, value=1, to="0x" + "11" * 20), "nsufficient|balance|cannot afford"),
    "a nonce of the future": (transaction(5), "nonce"),
    "too little gas": (transaction(0, gas=21_000), "gas"),
    "paid gas": (transaction(0, gasPrice=1), "nsufficient|balance|afford"),
}


@pytest.mark.parametrize(("raw", "words"), TRANSACTIONS.values(), ids=TRANSACTIONS)
def test_a_bad_transaction_makes_its_block_invalid(honest, raw, words):
    """The signer lists it as if it had been executed; roots and seal fit."""
    bad = (honest.chain.decode_transaction(raw),)
    block = honest.draft(A, [transaction(0)]).copy(transactions=bad)
    root, _ = make_trie_root_and_nodes(bad)
    assert re.search(words, refused(honest, resealed(block, A, transaction_root=root)))


def test_a_replayed_transaction_makes_its_block_invalid(honest):
    raw = transaction(0)
    first = honest.draft(A, [raw])
    honest.chain.import_sealed(first)
    again = honest.draft(B).copy(transactions=first.transactions)
    replay = resealed(
        again, B, transaction_root=first.header.transaction_root,
        receipt_root=first.header.receipt_root, gas_used=first.header.gas_used,
        bloom=first.header.bloom,
    )  # fmt: skip
    assert "nonce" in refused(honest, replay)


# --- votes


def test_nobody_votes_itself_in_or_out(honest):
    block = honest.draft(A)
    refused(honest, resealed(block, A, coinbase=address(A), nonce=NONCE_DROP))
    refused(honest, resealed(block, OUTSIDER, coinbase=address(OUTSIDER), nonce=NONCE_AUTH))


def test_one_signer_removes_nobody_however_often_it_votes(honest):
    for _ in range(6):
        block = honest.draft(A)
        honest.chain.import_sealed(resealed(block, A, coinbase=address(B), nonce=NONCE_DROP))
        block = honest.draft(A)
        honest.chain.import_sealed(resealed(block, A, coinbase=address(C), nonce=NONCE_DROP))
    assert honest.signers() == [address(key) for key in (A, B, C)]


def test_one_signer_admits_nobody_however_many_it_names(honest):
    for n in range(1, 20):
        subject = PrivateKey(bytes([100 + n]) * 32)
        block = honest.draft(A)
        honest.chain.import_sealed(resealed(block, A, coinbase=address(subject), nonce=NONCE_AUTH))
    assert honest.signers() == [address(key) for key in (A, B, C)]
    honest.chain.import_sealed(honest.draft(B))


def test_votes_for_what_is_so_already_change_nothing(honest):
    for key, subject, nonce in [(A, B, NONCE_AUTH), (A, OUTSIDER, NONCE_DROP), (B, B, NONCE_AUTH)]:
        block = honest.draft(key)
        honest.chain.import_sealed(resealed(block, key, coinbase=address(subject), nonce=nonce))
    assert honest.signers() == [address(key) for key in (A, B, C)]


@pytest.fixture
def short_epoch(monkeypatch):
    monkeypatch.setattr(Context, "epoch_length", 4)


@pytest.fixture
def at_checkpoint(short_epoch, honest):
    """The next block is a checkpoint."""
    assert honest.chain.head.block_number == 3
    return honest


@pytest.mark.parametrize(
    "listed",
    [[], [A], [A, B], [A, B, C, D], [C, B, A], [A, A, B, C], [OUTSIDER], [A, B, OUTSIDER]],
    ids=lambda keys: "".join("ABCDX"[KEYS.index(key)] for key in keys) or "nobody",
)
def test_a_checkpoint_cannot_replace_the_signers(at_checkpoint, listed):
    block = at_checkpoint.draft(A)
    extra = bytes(32) + b"".join(map(address, listed)) + bytes(65)
    refused(at_checkpoint, resealed(block, A, extra_data=extra))


def test_a_checkpoint_carries_no_vote(at_checkpoint):
    block = at_checkpoint.draft(A)
    for nonce in (NONCE_AUTH, NONCE_DROP):
        refused(at_checkpoint, resealed(block, A, coinbase=address(D), nonce=nonce))
    refused(at_checkpoint, resealed(block, A, nonce=NONCE_AUTH))
    at_checkpoint.chain.import_sealed(block)


# --- time, as a running node judges it


async def test_a_running_node_takes_no_block_from_the_future_or_before_its_parent(tmp_path):
    async with swarm(tmp_path) as sns:
        a = await sns.start("1", sentinel=True)
        await a.deploy()
        node, key = a.node, a.node.key
        head = a.chain.head

        def made(ahead):
            draft = node.chain._build(key, [], 0, None, refuse)
            stamp = int(node.now()) + ahead
            return rlp.encode(draft.copy(header=sign_block_header(
                draft.header.copy(timestamp=stamp), key)))  # fmt: skip

        for ahead in (int(MAX_DRIFT_S) + 30, 10**9):
            raw = await node.do(made, ahead)
            outcome = await node.take(Proposal(raw, b"", b""))
            assert "nobody whose ballot it is proposed" in str(outcome.failure)
        raw = await node.do(made, -(10**6))
        block = node.chain.decode_block(raw)
        vote = cast(key, node.chain.genesis_hash, block.number, Accepted(0, block.hash))
        outcome = await node.take(Proposal(raw, b"", encode_votes([vote])))
        assert "timestamp" in str(outcome.failure)
        assert a.chain.head == head
