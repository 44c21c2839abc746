"""Consensus: what a chain accepts from other signers, and what may take the head's place."""

import time

import pytest
import rlp
from eth.consensus.clique._utils import sign_block_header
from eth.consensus.clique.constants import NONCE_AUTH, NONCE_DROP
from eth.consensus.clique.snapshot_manager import make_snapshot_lookup_key
from eth.exceptions import TransactionNotFound
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from services.sn.adapters.evm_chain import install, load
from services.sn.adapters.evm_rules import (
    SNAPSHOT_EVERY,
    TRANSACTION_GAS_CAP,
    Context,
    genesis_header,
    read_genesis,
)
from services.sn.adapters.evm_store import Store
from services.sn.core.signers import Motion
from tests.component.sn.engine import COUNTER, creation

KEYS = sorted(
    (PrivateKey(bytes([n]) * 32) for n in range(1, 6)),
    key=lambda key: key.public_key.to_canonical_address(),
)
A, B, C, D, OUTSIDER = KEYS
CHAIN_ID = 77_777


def address(key):
    return key.public_key.to_canonical_address()


def refuse(transaction, reason):
    raise AssertionError(reason)


class Copy:
    """One SN's copy of the chain, driven by hand."""

    def __init__(self, folder, genesis):
        self.store = Store.open(folder)
        self.chain = load(self.store) or install(self.store, genesis)

    def seal(self, key, transactions=(), *, vote=None, admit=True, timestamp=0):
        vote = None if vote is None else Motion(vote, admit)
        decoded = [self.chain.decode_transaction(raw) for raw in transactions]
        change = self.chain.seal(
            key, decoded, timestamp=timestamp, vote=vote, even_empty=True, refuse=refuse
        )
        return change.block

    def take(self, block):
        return self.chain.import_sealed(block)

    def signers(self):
        return self.chain.signers_after(self.chain.head).get_sorted_signers()

    def in_turn(self, keys):
        return keys[(self.chain.head.block_number + 1) % len(keys)]


@pytest.fixture
def copies(tmp_path):
    """Makes copies of one chain whose genesis A signed."""
    made = []
    genesis = rlp.encode(genesis_header(address(A), CHAIN_ID, int(time.time())))

    def make(name):
        copy = Copy(tmp_path / name, genesis)
        made.append(copy)
        return copy

    yield make
    for copy in made:
        copy.store.close()


@pytest.fixture
def three(copies):
    """Two copies of a chain with the signers A, B, C."""
    one, two = copies("one"), copies("two")
    for key, subject in [(A, B), (A, C), (B, C)]:
        two.take(one.seal(key, vote=address(subject)))
    assert one.signers() == two.signers() == [address(k) for k in (A, B, C)]
    return one, two


def transaction(nonce, *, key=A, to=None, data=b"", **changes):
    fields = {"nonce": nonce, "gasPrice": 0, "gas": 300_000, "value": 0, "data": data}
    fields |= {"to": to or "", "chainId": CHAIN_ID}
    return bytes(Account.sign_transaction(fields | changes, key.to_bytes()).raw_transaction)


def resealed(block, key, **changes):
    """The block with other header fields, sealed again."""
    return block.copy(header=sign_block_header(block.header.copy(**changes), key))


def test_an_imported_block_gives_the_same_chain(three):
    one, two = three
    deployed = one.seal(A, [transaction(0, data=creation(COUNTER))])
    change = two.take(deployed)
    assert (change.block, change.removed) == (deployed, ())
    assert one.chain.head == two.chain.head
    assert list(one.store.logs(0, 99)) == list(two.store.logs(0, 99))


def test_gas_stays_free(three):
    one, _ = three
    for nonce in range(3):
        one.seal(A, [transaction(nonce, data=creation(COUNTER))])
    assert one.chain.head.base_fee_per_gas == 0
    assert one.chain.head.gas_limit == one.chain.get_canonical_block_header_by_number(0).gas_limit


def test_blocks_may_share_a_second_and_time_never_goes_back(three):
    one, two = three
    now = one.chain.head.timestamp
    stamps = []
    for stamp in (now, now, now + 5, now - 100):
        block = one.seal(A, timestamp=stamp)
        two.take(block)
        stamps.append(block.header.timestamp - now)
    assert stamps == [0, 0, 5, 5]
    early = resealed(one.seal(A), A, timestamp=now)
    with pytest.raises(ValidationError, match="timestamp"):
        two.take(early)


def test_an_unauthorised_signer_is_refused(three):
    one, two = three
    block = one.seal(A)
    with pytest.raises(ValidationError, match="not a signer"):
        two.take(resealed(block, OUTSIDER, difficulty=1))
    with pytest.raises(ValidationError):
        one.seal(OUTSIDER)


def test_a_seal_that_is_no_signature_is_refused(three):
    one, two = three
    block = one.seal(A)
    broken = block.header.copy(extra_data=block.header.extra_data[:-65] + b"\xff" * 65)
    with pytest.raises(ValidationError, match="no valid seal"):
        two.take(block.copy(header=broken))


def test_a_wrong_difficulty_is_refused(three):
    one, two = three
    key = one.in_turn([A, B, C])
    block = one.seal(key)
    assert block.header.difficulty == 2
    with pytest.raises(ValidationError, match="has difficulty 1, its signer's is 2"):
        two.take(resealed(block, key, difficulty=1))


def test_a_changed_gas_limit_is_refused(three):
    one, two = three
    block = one.seal(A)
    with pytest.raises(ValidationError, match="gas limit"):
        two.take(resealed(block, A, gas_limit=block.header.gas_limit + 1))


@pytest.mark.parametrize("field", ["state_root", "receipt_root"])
def test_a_false_result_is_refused_and_leaves_nothing_behind(three, field):
    one, two = three
    before = two.chain.head
    block = one.seal(A, [transaction(0, data=creation(COUNTER))])
    with pytest.raises(ValidationError):
        two.take(resealed(block, A, **{field: b"\x01" * 32}))
    assert two.chain.head == before
    assert list(two.store.logs(0, 99)) == []
    two.take(block)
    assert two.chain.head == block.header


def test_a_transaction_for_another_chain_or_with_too_much_gas_makes_a_block_invalid(three):
    one, _ = three
    said = []
    for raw, words in [
        (transaction(0, chainId=5), "for chain 5"),
        (transaction(0, gas=TRANSACTION_GAS_CAP + 1), "a transaction may use"),
    ]:
        decoded = [one.chain.decode_transaction(raw)]
        sealed = one.chain.seal(
            A, decoded, timestamp=0, refuse=lambda *refused: said.append(refused)
        )
        assert sealed is None
        assert words in said.pop()[1]


def test_an_invalid_transaction_is_left_out_and_the_others_stay(three):
    one, two = three
    refused = []
    raws = [transaction(0, data=b""), transaction(5, data=b""), transaction(1, data=b"")]
    change = one.chain.seal(
        A,
        [one.chain.decode_transaction(raw) for raw in raws],
        timestamp=0,
        refuse=lambda bad, reason: refused.append((bad.nonce, reason)),
    )
    assert [t.nonce for t in change.block.transactions] == [0, 1]
    assert [nonce for nonce, _ in refused] == [5]
    two.take(change.block)


def test_a_majority_votes_a_signer_in(three):
    one, two = three
    two.take(one.seal(A, vote=address(D)))
    two.take(one.seal(A, vote=address(D)))
    assert address(D) not in two.signers(), "one signer counts once"
    two.take(one.seal(C, vote=address(D)))
    assert address(D) in two.signers()
    two.take(one.seal(D))


def test_a_signer_that_votes_itself_out_is_refused(three):
    one, two = three
    block = one.seal(A)
    with pytest.raises(ValidationError, match="votes on itself"):
        two.take(resealed(block, A, coinbase=address(A), nonce=NONCE_DROP))


def test_a_majority_votes_a_signer_out(three):
    one, two = three
    for key, left in [(A, [A, B, C]), (B, [A, B])]:
        two.take(one.seal(key, vote=address(C), admit=False))
        assert one.signers() == two.signers() == [address(k) for k in left]
    with pytest.raises(ValidationError):
        one.seal(C)


def test_of_two_signers_the_sentinel_alone_admits_and_removes(copies):
    one, two = copies("one"), copies("two")
    two.take(one.seal(A, vote=address(B)))
    two.take(one.seal(B, vote=address(C)))
    assert two.signers() == [address(A), address(B)], "the other's vote alone admits nobody"
    two.take(one.seal(B, vote=address(A), admit=False))
    assert two.signers() == [address(A), address(B)], "nor does it remove the sentinel"
    two.take(one.seal(A, vote=address(B), admit=False))
    assert two.signers() == [address(A)]
    two.take(one.seal(A, vote=address(B)))
    two.take(one.seal(A, vote=address(D)))
    assert two.signers() == [address(A), address(B), address(D)]
    two.take(one.seal(A, vote=address(C)))
    assert address(C) not in two.signers(), "among three it takes two"


def test_a_forged_checkpoint_is_refused(copies, monkeypatch):
    monkeypatch.setattr(Context, "epoch_length", 4)
    one, two = copies("one"), copies("two")
    for _ in range(3):
        two.take(one.seal(A))
    honest = one.seal(A)
    assert honest.header.block_number == 4
    forged = bytes(32) + address(OUTSIDER) + bytes(65)
    with pytest.raises(ValidationError, match="lists other signers"):
        two.take(resealed(honest, A, extra_data=forged))
    two.take(honest)
    assert two.signers() == [address(A)]


def test_a_checkpoint_carries_no_vote_and_the_next_block_does(copies, monkeypatch):
    monkeypatch.setattr(Context, "epoch_length", 4)
    one = copies("one")
    for _ in range(3):
        one.seal(A)
    assert one.seal(A, vote=address(B)).header.nonce == NONCE_DROP
    assert one.signers() == [address(A)]
    assert one.seal(A, vote=address(B)).header.nonce == NONCE_AUTH
    assert one.signers() == [address(A), address(B)]


def test_snapshots_are_stored_so_that_a_start_is_quick(copies):
    one = copies("one")
    one.seal(A, vote=address(B))
    while one.chain.head.block_number < SNAPSHOT_EVERY + 2:
        one.seal(A)
    stored = one.chain.get_canonical_block_hash(SNAPSHOT_EVERY)
    assert one.store.exists(make_snapshot_lookup_key(stored))
    genesis = one.chain.get_canonical_block_header_by_number(0)
    one.store.close()
    again = copies("one")
    # nothing below the stored snapshot is needed
    again.store.delete(again.chain.get_canonical_block_hash(SNAPSHOT_EVERY - 1))
    assert again.signers() == [address(A), address(B)]
    assert again.chain.get_canonical_block_header_by_number(0) == genesis


def test_a_block_takes_the_place_of_the_head_whatever_their_difficulties(three):
    one, two = three
    two.take(one.seal(A, [transaction(0, data=creation(COUNTER))]))
    counter = keccak(rlp.encode([address(A), 0]))[12:]
    heavy = one.seal(one.in_turn([A, B, C]), [transaction(1, to=counter)])
    other = next(key for key in (A, B, C) if key is not two.in_turn([A, B, C]))
    light = two.seal(other)
    assert light.header.difficulty < heavy.header.difficulty
    logs = list(one.store.logs(0, 99))
    assert [row.block for row in logs] == [heavy.hash]
    change = one.take(light)
    assert change.block == light
    assert [block.hash for block in change.removed] == [heavy.hash]
    assert one.chain.head == light.header
    assert one.chain.get_canonical_block_hash(light.number) == light.hash
    with pytest.raises(TransactionNotFound):
        one.chain.get_canonical_transaction_index(heavy.transactions[0].hash)
    assert list(one.store.logs(0, 99)) == []

    back = one.chain.make_head(heavy)
    assert [block.hash for block in back.removed] == [light.hash]
    assert one.chain.get_canonical_transaction_index(heavy.transactions[0].hash) == (5, 0)
    assert list(one.store.logs(0, 99)) == logs
    one.seal(one.in_turn([A, B, C]))  # and it can be built on


def test_a_genesis_that_is_not_ours_is_refused():
    header = genesis_header(address(A), CHAIN_ID, 1_000)
    assert read_genesis(header) == (address(A), CHAIN_ID)
    for changes in (
        {"gas_limit": 30_000_000},
        {"state_root": b"\x01" * 32},
        {"base_fee_per_gas": 7},
        {"extra_data": bytes(97)},
        {"extra_data": header.extra_data + address(B)},
    ):
        with pytest.raises(ValidationError, match="not one of this software"):
            read_genesis(header.copy(**changes))


@pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x80", bytes(300), b"\xf9\xff\xff"])
def test_garbage_is_neither_block_nor_transaction_nor_genesis(copies, raw):
    one = copies("one")
    for parse in (one.chain.decode_block, one.chain.decode_transaction):
        with pytest.raises(ValidationError):
            parse(raw)
    with pytest.raises(ValidationError):
        install(one.store, raw)
