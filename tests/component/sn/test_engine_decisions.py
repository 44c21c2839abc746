"""Decisions on real chains on disk: what three SNs carry to each other by hand."""

import logging
import time

import pytest
import rlp
from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError, ConfigError
from services.sn.adapters.evm_chain import install, load
from services.sn.adapters.evm_decisions import Decisions
from services.sn.adapters.evm_outcome import Proposal
from services.sn.adapters.evm_rules import genesis_header
from services.sn.adapters.evm_store import Store
from services.sn.adapters.evm_votes import cast, decode_votes, encode_votes
from services.sn.core.agreement import Accepted
from services.sn.core.signers import Motion
from tests.component.sn.test_engine_rules import CHAIN_ID, KEYS, address, refuse, resealed

A, B, C = KEYS[:3]
NOW = int(time.time())


class Sn:
    """One SN's chain and decisions."""

    def __init__(self, folder, key, genesis):
        self.folder, self.key, self.genesis = folder, key, genesis
        self.open()

    def open(self):
        self.store = Store.open(self.folder)
        self.chain = load(self.store) or install(self.store, self.genesis)
        self.decisions = Decisions(self.chain, self.key)
        return self

    def restart(self):
        self.store.close()
        return self.open()

    @property
    def final(self):
        return self.decisions.final

    def propose(self, vote=None, timestamp=NOW):
        return self.decisions.propose(
            lambda: self.chain.seal(
                self.key, [], timestamp=timestamp, vote=vote, even_empty=True, refuse=refuse
            )
        )

    def take(self, proposal, now=NOW):
        outcome = self.decisions.on_proposal(proposal, now)
        if outcome.failure is not None:
            raise outcome.failure
        return outcome

    def follow(self, other):
        """Get the final blocks that the other has, as a sync does."""
        for number in range(self.final.block_number + 1, other.final.block_number + 1):
            block = rlp.encode(other.chain.get_canonical_block_by_number(number))
            votes = encode_votes(other.decisions.certificate(number))
            self.take(Proposal(block, b"", votes))


@pytest.fixture
def sns(tmp_path):
    """A, B and C, all of them signers; the one in turn for the next block comes first."""
    genesis = rlp.encode(genesis_header(address(A), CHAIN_ID, NOW - 5))
    made = [Sn(tmp_path / name, key, genesis) for name, key in zip("abc", (A, B, C), strict=True)]
    a, b, c = made
    a.propose(vote=Motion(address(B), admit=True))
    b.follow(a)
    while len(a.decisions.open.signers) < 3:  # of two signers, the sentinel's vote admits
        one, other = (a, b) if a.decisions.open.may_propose_at_once() else (b, a)
        motion = Motion(address(C), admit=True) if one is a else None
        one.decisions.on_votes(other.take(one.propose(motion).proposal).votes)
        a.follow(b)
        b.follow(a)
    c.follow(a)
    in_turn = next(sn for sn in made if sn.decisions.open.may_propose_at_once())
    yield [in_turn, *(sn for sn in made if sn is not in_turn)]
    for sn in made:
        sn.store.close()


def promises(owner, *others):
    """``owner`` prepares a ballot and gets the promises of ``others``."""
    number, ballot = owner.decisions.open.number, owner.decisions.prepare()
    for other in others:
        accepted = other.decisions.on_prepare(address(owner.key), number, ballot)
        assert accepted is not False
        if accepted is not True:
            owner.decisions.on_proposal(other.decisions.proposal(), NOW)
        owner.decisions.on_promise(
            address(other.key), number, ballot, None if accepted is True else accepted
        )
    return ballot


def test_a_block_is_final_once_a_majority_accepted_it(sns):
    first, second, third = sns
    before = first.final.block_number
    proposed = first.propose()
    assert not proposed.final
    heard = second.take(proposed.proposal)
    assert heard.final  # its own vote and the proposer's
    assert first.decisions.on_votes(heard.votes).final
    assert third.take(second.decisions.proposal()).final
    assert {sn.final.block_number for sn in sns} == {before + 1}
    assert {sn.final.hash for sn in sns} == {first.final.hash}


def test_a_promise_keeps_a_late_proposal_out_also_after_a_restart(sns):
    first, second, third = sns
    late = first.propose().proposal
    owner = next(sn for sn in (second, third) if sn.decisions.open.owner(1) == address(sn.key))
    other = third if owner is second else second
    promises(owner, other)
    for sn in (owner, other):
        sn.restart().take(late)
        assert sn.decisions.open.accepted is None


def test_a_prepare_in_between_takes_the_right_to_propose_away(sns):
    """Between the plan to propose and doing so, another SN's message may be worked off."""
    first, second, third = sns
    owner = second if second.decisions.open.owner(1) == address(second.key) else third
    assert first.decisions.open.may_propose_at_once()
    promises(owner, first)
    outcome = first.propose()
    assert (outcome.changes, outcome.proposal, outcome.failure) == ([], None, None)
    assert first.chain.head == first.final
    assert first.decisions.open.accepted is None


def test_a_block_that_became_final_in_between_is_not_proposed_upon(sns):
    first, second, third = sns
    number = first.final.block_number
    proposed = first.propose()
    second.take(proposed.proposal)
    assert third.take(second.decisions.proposal()).final
    behind = next(sn for sn in (second, third) if not sn.decisions.open.may_propose_at_once())
    assert behind.propose().proposal is None
    assert behind.final.block_number == number + 1


def test_what_the_disk_did_not_take_is_not_told_as_done(sns, monkeypatch):
    first, second, _ = sns
    proposal = first.propose().proposal

    def full(*_):
        raise ChainUnavailableError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(second.store, "set_meta", full)
        outcome = second.decisions.on_proposal(proposal, NOW)
    assert isinstance(outcome.failure, ChainUnavailableError)
    assert (outcome.changes, outcome.votes[1:]) == ([], [])
    assert second.decisions.on_votes([]).final  # tried again


def test_a_promise_is_on_disk_before_it_is_told_also_when_asked_again(sns, monkeypatch):
    first, second, third = sns
    owner = second if second.decisions.open.owner(1) == address(second.key) else third
    number, by = first.decisions.open.number, address(owner.key)

    def full(*_):
        raise ChainUnavailableError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(first.store, "set_meta", full)
        with pytest.raises(ChainUnavailableError):
            first.decisions.on_prepare(by, number, 1)
    assert first.decisions.on_prepare(by, number, 1) is True
    assert first.restart().decisions.open.promised == 1


def test_blocks_that_nobody_proposed_take_no_room(sns):
    first, second, _ = sns
    proposal = first.propose().proposal
    block = first.chain.decode_block(proposal.block)
    for stamp in range(100):
        junk = resealed(block, KEYS[3], timestamp=NOW + stamp)
        with pytest.raises(ValidationError, match="nobody whose ballot"):
            second.take(Proposal(rlp.encode(junk), b"", b""))
    assert second.take(proposal).final


def test_what_a_majority_may_have_accepted_is_proposed_again(sns):
    first, second, third = sns
    proposed = first.propose()
    # the second accepts, and dies before anybody hears of its vote
    second.take(proposed.proposal)
    final = second.final.hash
    promises(third, first)
    again = third.propose()
    assert rlp.decode(again.proposal.block) == rlp.decode(proposed.proposal.block)
    first.take(again.proposal)
    assert first.final.hash == final


def test_a_block_that_only_its_proposer_accepted_gives_way(sns):
    first, second, third = sns
    lonely = first.propose().changes[0].block
    owner, other = (
        (second, third)
        if second.decisions.open.owner(1) == address(second.key)
        else (third, second)
    )
    promises(owner, other)
    chosen = owner.propose(vote=Motion(address(KEYS[3]), admit=True))  # so that its hash differs
    outcome = other.take(chosen.proposal)
    owner.decisions.on_votes(outcome.votes)
    assert first.chain.head == lonely.header
    moved = first.take(owner.decisions.proposal())
    assert [block.hash for block in moved.changes[0].removed] == [lonely.hash]
    assert first.final.hash == owner.final.hash == other.final.hash != lonely.hash
    assert first.restart().final.hash == owner.final.hash


def test_an_accepted_block_survives_the_restart_of_all(sns):
    first, second, third = sns
    proposed = first.propose()
    number = first.final.block_number
    assert first.restart().final.block_number == number  # one vote of three
    assert second.take(first.decisions.proposal()).final
    assert second.restart().final.block_number == number  # its own vote only, until it hears more
    assert second.decisions.on_votes(decode_votes(proposed.proposal.votes)).final
    assert third.restart().take(second.decisions.proposal()).final


def test_votes_before_the_block_are_kept_and_the_lack_is_told(sns):
    first, second, third = sns
    proposal = first.propose().proposal
    votes = [*decode_votes(proposal.votes), *second.take(proposal).votes]
    early = third.decisions.on_votes(votes)
    assert early.behind
    assert not early.final
    assert third.take(Proposal(proposal.block, b"", b"")).final


def test_a_vote_of_a_stranger_or_for_another_block_counts_nothing(sns):
    first, second, third = sns
    proposal = first.propose().proposal
    genesis, number = first.chain.get_canonical_block_hash(0), first.decisions.open.number
    block = first.chain.decode_block(proposal.block).hash
    idle = third.key
    for key, accepted in [(KEYS[3], Accepted(0, block)), (idle, Accepted(0, b"\1" * 32))]:
        first.decisions.on_votes([cast(key, genesis, number, accepted)])
    assert first.final.block_number == number - 1
    assert first.decisions.on_votes(second.take(proposal).votes).final


def test_a_vote_from_another_chain_is_none(sns):
    first, second, _ = sns
    proposal = first.propose().proposal
    block = first.chain.decode_block(proposal.block).hash
    foreign = [cast(key, b"\2" * 32, 4, Accepted(0, block)) for key in (A, B, C)]
    with pytest.raises(ValidationError, match="nobody whose ballot it is proposed"):
        second.take(Proposal(proposal.block, b"", encode_votes(foreign)))
    assert second.decisions.open.accepted is None


def test_a_block_from_the_future_is_accepted_only_if_others_did(sns):
    first, second, third = sns
    proposal = first.propose(timestamp=NOW + 600).proposal
    with pytest.raises(ValidationError, match="600 s in the future: check the clocks"):
        second.take(proposal)
    assert second.decisions.open.accepted is None
    votes = third.take(proposal, now=NOW + 600).votes
    assert second.decisions.on_votes(votes).final  # a majority accepted it


def test_clocks_that_were_ahead_once_stop_nothing(sns):
    """The head's time is the swarm's no more; the next blocks share it until that has come."""
    first, second, _ = sns
    assert second.take(first.propose().proposal, now=NOW - 600).final


def test_an_invalid_block_is_refused_whoever_voted_for_it(sns):
    first, second, _ = sns
    proposal = first.propose().proposal
    block = first.chain.decode_block(proposal.block)
    false = resealed(block, first.key, state_root=b"\5" * 32)
    vote = cast(first.key, first.chain.get_canonical_block_hash(0), block.number,
                Accepted(0, false.hash))  # fmt: skip
    with pytest.raises(ValidationError):
        second.take(Proposal(rlp.encode(false), b"", encode_votes([vote])))
    assert second.decisions.open.accepted is None
    assert second.chain.head == second.final


def test_a_block_on_another_history_is_refused(sns):
    first, second, _ = sns
    proposal = first.propose().proposal
    block = first.chain.decode_block(proposal.block)
    other = resealed(block, first.key, parent_hash=b"\6" * 32)
    with pytest.raises(ValidationError, match="does not build on this chain"):
        second.take(Proposal(rlp.encode(other), b"", b""))


def test_a_signer_that_votes_twice_is_told_of(sns, caplog):
    first, second, _ = sns
    proposal = first.propose().proposal
    genesis, number = first.chain.get_canonical_block_hash(0), first.decisions.open.number
    twice = cast(first.key, genesis, number, Accepted(0, b"\7" * 32))
    second.decisions.on_votes([twice])
    with caplog.at_level(logging.ERROR), pytest.raises(ValidationError, match="nobody whose"):
        second.take(proposal)  # in a ballot its owner's first word holds
    assert f"voted for two blocks with number {number} in one ballot" in caplog.text


def test_two_final_blocks_of_one_number_are_told_of(sns, caplog):
    first, second, _ = sns
    proposal = first.propose().proposal
    second.take(proposal)
    block = first.chain.decode_block(proposal.block)
    other = resealed(block, first.key, timestamp=block.header.timestamp + 1)
    genesis = first.chain.get_canonical_block_hash(0)
    lies = [cast(k, genesis, block.number, Accepted(0, other.hash)) for k in (A, B)]
    with caplog.at_level(logging.ERROR):
        second.take(Proposal(rlp.encode(other), b"", encode_votes(lies)))
    assert f"block {block.number} is final as 0x{block.hash.hex()} here" in caplog.text
    assert second.final.hash == block.hash


def test_a_full_disk_keeps_promises_and_votes_back(sns, monkeypatch):
    first, second, _ = sns
    proposal = first.propose().proposal

    def full(*_):
        raise ChainUnavailableError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(second.store, "set_meta", full)
        with pytest.raises(ChainUnavailableError):
            second.take(proposal)
        assert second.decisions.open.accepted is None
        assert second.chain.head.block_number == second.final.block_number
    assert second.take(proposal).final


def test_a_head_that_this_sn_never_accepted_is_damage(sns):
    first = sns[0]
    first.chain.seal(first.key, [], timestamp=NOW, even_empty=True, refuse=refuse)
    with pytest.raises(ConfigError, match="never accepted"):
        first.restart()


def test_a_certificate_is_kept_with_each_block(sns):
    first, second, third = sns
    for sn in (first, second, third):
        for number in range(1, sn.final.block_number + 1):
            assert sn.decisions.certificate(number)
        assert sn.decisions.certificate(0) == []
