"""The decisions on the blocks of one chain: what this SN promised, accepted, and knows as final.

Joins the pure :mod:`services.sn.core.agreement` with the chain on disk: a promise or an acceptance
is stored, in one durable transaction with the block, before anybody hears of it. The chain's head
is the final block, or its child that this SN accepted and that waits for votes.

Everything here runs on the chain's thread. Methods return what is to be told.
"""

import logging
from collections.abc import Callable, Sequence

import rlp
from eth.abc import BlockAPI, BlockHeaderAPI
from eth_keys.datatypes import PrivateKey
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from services.common.errors import ChainUnavailableError, ConfigError
from services.sn.adapters.evm_chain import HeadChange, SwarmChain
from services.sn.adapters.evm_outcome import (
    RECORD_KEY,
    Outcome,
    Proposal,
    noting,
    read_record,
    write_record,
)
from services.sn.adapters.evm_votes import Vote, cast, certifies, decode_votes, encode_votes
from services.sn.core.agreement import Accepted, Agreement

log = logging.getLogger("swarm.chain")

MOST_PROPOSALS = 64
"""Blocks of one number that are kept while none is final."""
COMPARED = 128
"""Of so many of the newest final blocks others' are compared with ours."""
MAX_DRIFT_S = 15.0
"""How far a block's timestamp may lie ahead of the swarm's time, and of its parent's."""

Seal = Callable[[], HeadChange | None]


class Decisions:
    """One SN's share in the decisions.

    Args:
        chain: of this SN.
        key: signs its votes.

    Raises:
        ConfigError: the chain's head is neither final nor what this SN accepted.
    """

    def __init__(self, chain: SwarmChain, key: PrivateKey) -> None:
        self._chain = chain
        self._key = key
        self._me = Address(key.public_key.to_canonical_address())
        self._certificate: list[Vote] = []
        self._proposals: dict[bytes, BlockAPI] = {}
        self._early: set[bytes] = set()
        self._signatures: dict[tuple[bytes, Accepted], bytes] = {}
        self.final: BlockHeaderAPI = chain.head
        """The newest final block."""
        self.open = self._load()
        """The decision on the next block."""
        self._settle(Outcome())

    # --- start ----------------------------------------------------------------------------

    def _load(self) -> Agreement:
        head = self._chain.head
        record = read_record(self._chain.store.meta(RECORD_KEY))
        certificate = decode_votes(self._chain.store.certificate(head.block_number))
        if head.block_number == 0 or certificate:
            self._certificate = certificate
            return self._begin(head, record)
        number, _, accepted = record
        if number != head.block_number or accepted is None or accepted.block != head.hash:
            raise ConfigError(
                f"the chain in {self._chain.store.folder} ends with block {head.block_number}, "
                "which this SN never accepted. Restore the folder from a copy, or, if other SNs "
                "hold the chain, empty it: this SN fetches the chain from them again"
            )
        parent = self._chain.get_block_header_by_hash(head.parent_hash)
        self._certificate = decode_votes(self._chain.store.certificate(parent.block_number))
        opened = self._begin(parent, record)
        self._proposals[head.hash] = self._chain.get_block_by_header(head)
        self._count(opened, self._own_vote(opened, accepted))
        return opened

    def _begin(self, final: BlockHeaderAPI, record: tuple[int, int, Accepted | None]) -> Agreement:
        self.final = final
        self._proposals, self._signatures, self._early = {}, {}, set()
        number, promised, accepted = record
        mine = number == final.block_number + 1
        return Agreement(
            final.block_number + 1,
            self._chain.signers_after(final).get_sorted_signers(),
            self._me,
            self._chain.genesis_signer,
            promised if mine else 0,
            accepted if mine else None,
        )

    # --- messages -------------------------------------------------------------------------

    def on_proposal(self, proposal: Proposal, now: float) -> Outcome:
        """A block came, with votes; ``now`` is the swarm's time."""
        outcome = Outcome()
        with noting(outcome):
            self._hear(decode_votes(proposal.parent_certificate), outcome)
            self._settle(outcome)
            self._on_block(
                self._chain.decode_block(proposal.block), decode_votes(proposal.votes), now, outcome
            )
        return outcome

    def _on_block(
        self, block: BlockAPI, votes: Sequence[Vote], now: float, outcome: Outcome
    ) -> None:
        if block.number < self.open.number:
            self._compare(block, votes)
        elif block.number > self.open.number:
            outcome.behind = True
        elif block.header.parent_hash != self.final.hash:
            raise ValidationError(f"{block} does not build on this chain's {self.final}")
        else:
            self._hear(votes, outcome)
            outcome.is_new = self._take(block, now)
            self._settle(outcome)

    def on_votes(self, votes: Sequence[Vote]) -> Outcome:
        """Votes came."""
        outcome = Outcome()
        with noting(outcome):
            self._hear(votes, outcome)
            self._settle(outcome)
        return outcome

    def on_prepare(self, by: bytes, number: int, ballot: int) -> Accepted | bool:
        """Another SN begins a ballot: what this SN accepted so far, or True for nothing yet.

        Returns:
            False where this SN promises nothing.

        Raises:
            ChainUnavailableError: the disk took it not.
        """
        if number != self.open.number or by not in self.open.signers:
            return False
        if not self.open.promise(by, ballot):
            return False
        self._keep(self.open.promised, self.open.accepted)
        return self.open.accepted or True

    def on_promise(self, by: bytes, number: int, ballot: int, accepted: Accepted | None) -> None:
        """Another SN promised what this one asked it for."""
        if number == self.open.number:
            self.open.promised_by(by, ballot, accepted)

    # --- proposing ------------------------------------------------------------------------

    def prepare(self) -> int:
        """Begin a ballot of this SN's own.

        Raises:
            ChainUnavailableError: the disk took it not.
        """
        ballot = self.open.prepare()
        self._keep(ballot, self.open.accepted)
        return ballot

    def propose(self, seal: Seal) -> Outcome:
        """Propose a block in the ballot that this SN has.

        Args:
            seal: seals a new block; None where there is nothing to seal.
        """
        outcome = Outcome()
        if not (self.open.may_propose_at_once() or self.open.is_prepared()):
            return outcome  # another SN's message came in between
        with noting(outcome):
            choice = None if self.open.untouched else self.open.choice()
            if choice is None:
                self._seal(seal, outcome)
            elif choice in self._proposals:
                self._accept(Accepted(self.open.promised, choice), outcome)
            else:
                raise ValidationError("the block that another SN accepted has not come yet")
            outcome.proposal = self.proposal() if self.open.accepted is not None else None
            self._settle(outcome)
        return outcome

    def _seal(self, seal: Seal, outcome: Outcome) -> None:
        assert self._chain.head.hash == self.final.hash, "something is accepted already"
        with self._chain.store.transaction():
            change = seal()
            if change is None:
                return
            accepted = Accepted(self.open.promised, change.block.hash)
            self._keep(accepted.ballot, accepted)
        self._proposals[change.block.hash] = change.block
        outcome.changes.append(change)
        self._vote(accepted, outcome)

    # --- telling --------------------------------------------------------------------------

    def proposal(self) -> Proposal | None:
        """The head with its votes, for an SN that was just linked to, or to propose it."""
        if self.open.accepted is not None:
            block = self._proposals[self.open.accepted.block]
            certificate, votes = self._certificate, self._votes_for(self.open.accepted)
        elif self.final.block_number > 0:
            block = self._chain.get_block_by_header(self.final)
            store, before = self._chain.store, self.final.block_number - 1
            certificate, votes = decode_votes(store.certificate(before)), self._certificate
        else:
            return None
        return Proposal(rlp.encode(block), encode_votes(certificate), encode_votes(votes))

    def certificate(self, number: int) -> list[Vote]:
        """The votes that made the canonical block ``number`` final; none for block 0."""
        if number == self.final.block_number:
            return self._certificate
        return decode_votes(self._chain.store.certificate(number))

    def close(self) -> None:
        """Store what this SN need not ask for again after a restart."""
        with self._chain.store.transaction():
            self._keep_certificate()

    # --- deciding -------------------------------------------------------------------------

    def _take(self, block: BlockAPI, now: float) -> bool:
        """Keep a block of the open number; whether it was new.

        One from the future is kept, too, but accepted only if others accepted it.
        """
        decided = self.open.decided()
        agreed = decided is not None and decided.block == block.hash
        if not agreed and not self.open.proposals(block.hash):
            raise ValidationError(f"nobody whose ballot it is proposed {block}")
        new = block.hash not in self._proposals
        if new and len(self._proposals) >= MOST_PROPOSALS:
            self._forget_oldest()
        self._proposals[block.hash] = block
        self._early.discard(block.hash)
        ahead = block.header.timestamp - max(now, self.final.timestamp)  # time never goes back
        if ahead > MAX_DRIFT_S and not agreed:
            self._early.add(block.hash)
            raise ValidationError(f"{block} lies {ahead:.0f} s in the future: check the clocks")
        return new

    def _forget_oldest(self) -> None:
        """Make room among the proposals; what this SN accepted stays."""
        accepted = self.open.accepted.block if self.open.accepted is not None else b""
        self._proposals.pop(
            min(
                self._proposals.keys() - {accepted},
                key=lambda block: max((a.ballot for a in self.open.proposals(block)), default=-1),
            )
        )

    def _hear(self, votes: Sequence[Vote], outcome: Outcome) -> None:
        for vote in votes:
            if vote.number > self.open.number:
                signer = vote.signer(self._chain.genesis_hash)
                outcome.behind = outcome.behind or signer in self.open.signers
            elif vote.number == self.open.number and self._count(self.open, vote):
                outcome.votes.append(vote)

    def _count(self, opened: Agreement, vote: Vote) -> bool:
        signer = vote.signer(self._chain.genesis_hash)
        if opened.contradicts(signer, vote.accepted):
            log.error(
                "chain: SN 0x%s voted for two blocks with number %d in one ballot: its data folder "
                "was restored from an old copy, or it cheats", signer.hex(), vote.number,
            )  # fmt: skip
        new = opened.vote(signer, vote.accepted)
        if new:
            self._signatures[signer, vote.accepted] = vote.signature
        return new

    def _settle(self, outcome: Outcome) -> None:
        """Accept and make final whatever can be."""
        while True:
            decided = self.open.decided()
            if decided is not None:
                if decided.block not in self._proposals:
                    outcome.behind = True
                    return
                self._finish(decided, outcome)
                continue
            proposed = self._acceptable()
            if proposed is None:
                return
            self._accept(proposed, outcome)

    def _acceptable(self) -> Accepted | None:
        found = [
            proposed
            for block in self._proposals.keys() - self._early
            for proposed in self.open.proposals(block)
            if proposed != self.open.accepted and self.open.accepts(proposed)
        ]
        return max(found, key=lambda each: each.ballot, default=None)

    def _accept(self, proposed: Accepted, outcome: Outcome) -> None:
        with self._chain.store.transaction():
            changes = self._lead_to(self._proposals[proposed.block])
            self._keep(proposed.ballot, proposed)
        outcome.changes += changes
        self._vote(proposed, outcome)

    def _vote(self, accepted: Accepted, outcome: Outcome) -> None:
        self.open.accept(accepted)
        if self._me in self.open.signers:
            vote = self._own_vote(self.open, accepted)
            if self._count(self.open, vote):
                outcome.votes.append(vote)

    def _own_vote(self, opened: Agreement, accepted: Accepted) -> Vote:
        return cast(self._key, self._chain.genesis_hash, opened.number, accepted)

    def _finish(self, decided: Accepted, outcome: Outcome) -> None:
        block = self._proposals[decided.block]
        votes = self._votes_for(decided)
        if self._chain.head.hash != block.hash:
            with self._chain.store.transaction():
                changes = self._lead_to(block)
                self._keep_certificate()
                self._chain.store.set_certificate(block.number, encode_votes(votes))
            outcome.changes += changes
        self._certificate = votes
        self.open = self._begin(block.header, (0, 0, None))
        outcome.final, outcome.behind = True, False

    def _lead_to(self, block: BlockAPI) -> list[HeadChange]:
        """Make a proposal the head; one that breaks a rule, or py-evm, is forgotten."""
        if self._chain.head.hash == block.hash:
            return []
        try:
            if self._chain.knows(block.hash):
                return [self._chain.make_head(block)]
            return [self._chain.import_sealed(block)]
        except ChainUnavailableError:
            raise
        except ValidationError:
            self._proposals.pop(block.hash, None)
            raise
        except Exception as exc:
            self._proposals.pop(block.hash, None)
            log.exception("chain: %s cannot be executed: this is a bug", block)
            raise ValidationError(f"{block} cannot be executed: {exc}") from exc

    def _votes_for(self, accepted: Accepted) -> list[Vote]:
        return [
            Vote(self.open.number, accepted, self._signatures[signer, accepted])
            for signer in self.open.voters(accepted)
        ]

    def _compare(self, block: BlockAPI, votes: Sequence[Vote]) -> None:
        """Complain where a block is final elsewhere and another one here: a quorum lied."""
        if block.number <= max(0, self.final.block_number - COMPARED):
            return
        ours = self._chain.get_canonical_block_header_by_number(block.number)
        if ours.hash == block.hash or not votes:
            return
        parent = self._chain.get_block_header_by_hash(ours.parent_hash)
        signers = self._chain.signers_after(parent).get_sorted_signers()
        if certifies(
            votes,
            block.number,
            block.hash,
            self._chain.genesis_hash,
            signers,
            self._chain.genesis_signer,
        ):
            log.error(
                "chain: block %d is final as 0x%s here and as 0x%s elsewhere: signers voted twice. "
                "Their data folders were restored from old copies, or they cheat",
                block.number, ours.hash.hex(), block.hash.hex(),
            )  # fmt: skip

    # --- on disk --------------------------------------------------------------------------

    def _keep(self, promised: int, accepted: Accepted | None) -> None:
        with self._chain.store.transaction():
            self._keep_certificate()
            self._chain.store.set_meta(
                RECORD_KEY, write_record(self.open.number, promised, accepted)
            )

    def _keep_certificate(self) -> None:
        """Store what makes the last final block final, with the first word on the next one."""
        if self._certificate:
            number = self.final.block_number
            self._chain.store.set_certificate(number, encode_votes(self._certificate))
