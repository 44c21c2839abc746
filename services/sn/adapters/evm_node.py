"""A node of the chain: takes transactions, seals blocks when it is its turn, takes others'.

All work on the chain runs on one dedicated thread (py-evm is not re-entrant, SQLite connections
are bound to a thread); the event loop only waits for it. Blocks are sealed on demand: no
transaction, no block (except to cast a vote). :mod:`services.sn.core.turns` says who seals when,
:mod:`services.sn.adapters.evm_decisions` which block is final.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth.consensus.clique.datatypes import Snapshot, VoteAction
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, Hash32
from eth_utils.exceptions import ValidationError

from services.common.clock import steady_time
from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_chain import HeadChange, SwarmChain
from services.sn.adapters.evm_decisions import Decisions
from services.sn.adapters.evm_outcome import Outcome, Proposal
from services.sn.adapters.evm_pool import Pool, check_transaction
from services.sn.adapters.evm_ports import ChainThread, Gossip
from services.sn.adapters.evm_votes import Vote
from services.sn.core.agreement import Accepted, is_quorum
from services.sn.core.signers import Motion, doubles, motions
from services.sn.core.turns import STEP_S, Turn, Wait, turn

log = logging.getLogger("swarm.chain")

DEBOUNCE_S = 0.005
"""How long a sealer lets transactions gather before it seals."""
RETRY_S = 1.0
"""Pause after a block could not be sealed or stored."""
MOST_STEPS = 8
"""A ballot that does not succeed is given more time the more there were, up to so many steps."""
CATCH_UP_S, DISTRUST_S = 5.0, 60.0
"""Catching up holds sealing up while it gets on. If it got nowhere for the first time, whoever
claims to be ahead is not waited for during the second: sealing is safe all the same."""
SEALING, CATCHING_UP = "sealing", "catching up with the other SNs"
USUAL = (SEALING, CATCHING_UP)
"""Statuses that nobody needs to look into."""


@dataclass(frozen=True, slots=True)
class _Plan:
    turn: Turn
    cut_off: bool
    work: bool
    may_propose: bool
    steps: int
    """How long a ballot under way is given, in steps."""
    stage: object
    """Another one: the decision on the next block moved on."""


class EvmNode:
    """See the module.

    Args:
        decisions: on the blocks of ``chain``; both belong to ``thread``.
        final: the newest final block.
        chain: this SN's.
        key: its signing key.
        thread: the chain's.
        mine: whether to seal blocks.
    """

    def __init__(
        self, decisions: Decisions, final: BlockHeaderAPI, chain: SwarmChain, key: PrivateKey,
        thread: ChainThread, *, mine: bool,
    ) -> None:  # fmt: skip
        self.chain = chain
        self.decisions = decisions
        self.key = key
        self.address = Address(key.public_key.to_canonical_address())
        self.do = thread
        self.pool = Pool()
        self.gossip: Gossip | None = None
        self.final_hash = final.hash
        """Hash of the newest final block."""
        self.final_number = final.block_number
        """Its number."""
        self.clock_offset = 0.0
        """Seconds from this machine's clock to the swarm's."""
        self.catching_up = False
        """Whether a linked SN is ahead and its blocks are on their way; see :meth:`catch_up`."""
        self._progress = 0.0
        """When catching up began or last brought a block."""
        self._distrusted = 0.0
        """Until when those who claim to be ahead are not waited for."""
        self._failing = False
        """Whether the last try to seal failed."""
        self._unsettled = False
        """Whether the disk did not take something that was decided."""
        self.cut_off = False
        """Whether this SN is not linked to a quorum of the signers."""
        self._mine = mine
        self.linked: frozenset[Address] = frozenset()
        """Accounts of the SNs that this one has a live link to."""
        self._wanting: frozenset[Address] = frozenset()
        self._holders: dict[bytes, str] = {}
        self._doubles: set[tuple[bytes, bytes]] = set()
        self._wake = asyncio.Event()
        self._head_changed = asyncio.Event()
        self._since: tuple[object, float] | None = None
        self._status = "starting"

    # --- for others -----------------------------------------------------------------------

    @property
    def status(self) -> str:
        """What the node does or waits for, in words."""
        return self._status

    def now(self) -> float:
        """The swarm's time, seconds since 1970."""
        return steady_time() + self.clock_offset

    async def wait_for_final(self, after: bytes) -> Hash32:
        """The hash of the newest final block, once it differs from ``after``."""
        while self.final_hash == after:
            await self._head_changed.wait()
        return self.final_hash

    async def submit(self, raw: bytes) -> Hash32:
        """Take a signed transaction into the pool and tell the other SNs.

        Returns:
            Its hash; it is on the chain once a receipt exists.

        Raises:
            ValidationError: it can never be executed, or not now (the pool is full).
        """
        transaction_hash, new = await self.do(self._admit, raw)
        if new:
            self.wake()
            if self.gossip is not None:
                self.gossip.transactions([raw])
        return transaction_hash

    async def admit(self, raw: bytes) -> bool:
        """Take a transaction that another SN passed on; whether it was new.

        Raises:
            ValidationError: see :meth:`submit`.
        """
        _, new = await self.do(self._admit, raw)
        if new:
            self.wake()
        return new

    def wake(self) -> None:
        """Look again whether there is something to seal."""
        self._wake.set()

    async def take(self, proposal: Proposal) -> Outcome:
        """Take another SN's block; see :class:`Outcome`, its failure included."""
        now = self.now()
        return await self._effect(lambda: self.decisions.on_proposal(proposal, now))

    async def hear(self, votes: Sequence[Vote]) -> Outcome:
        """Take others' votes; see :class:`Outcome`, its failure included."""
        return await self._effect(lambda: self.decisions.on_votes(votes))

    def catch_up(self, flag: bool) -> None:
        """A linked SN is ahead and was asked for its blocks; or they are here, or do not come."""
        if flag and not self.catching_up:
            self._progress = time.monotonic()
        self.catching_up = flag
        self.wake()

    def _waits_for_blocks(self) -> bool:
        now = time.monotonic()
        if not self.catching_up or now < self._distrusted:
            return False
        if now - self._progress > CATCH_UP_S:
            self._distrusted = now + DISTRUST_S
            return False
        return True

    async def promised(
        self, by: bytes, number: int, ballot: int, accepted: Accepted | None
    ) -> None:
        """Another SN answered this one's PREPARE."""
        await self.do(self.decisions.on_promise, by, number, ballot, accepted)
        self.wake()

    def set_links(
        self, linked: Iterable[Address], wanting: Iterable[Address], holders: Mapping[bytes, str]
    ) -> None:
        """Which SNs this one has live links to.

        Args:
            linked: their accounts.
            wanting: those of them that want to be signers.
            holders: of the certificate that each account was last seen with, this SN's included.
        """
        self.linked = frozenset(linked)
        self._wanting = frozenset(wanting)
        self._holders = dict(holders)
        self.wake()

    # --- sealing --------------------------------------------------------------------------

    async def run(self) -> None:
        """Seal blocks until cancelled."""
        while True:
            self._wake.clear()
            try:
                delay = await self._step()
            except (ChainUnavailableError, ValidationError) as exc:
                self._say(f"cannot seal: {exc}")
                self._failing = True
                await asyncio.sleep(RETRY_S)
                continue
            if delay == 0:
                continue
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(DEBOUNCE_S)

    async def _step(self) -> float | None:
        """Seal if it is time; seconds until it may be, None: until something happens."""
        if self._unsettled:
            await asyncio.sleep(RETRY_S)
            await self.hear([])
        plan = await self.do(self._plan)
        self.cut_off = plan.cut_off
        if isinstance(plan.turn, Wait):
            self._say(plan.turn.reason)
            self._since = None
            return CATCH_UP_S if self.catching_up else None
        if not (self._failing and plan.work):
            self._say(SEALING)
        if not plan.work:
            self._since = None
            return None
        if self._since is None or self._since[0] != plan.stage:
            self._since = (plan.stage, time.monotonic())
        patience = plan.turn.delay_s + STEP_S * plan.steps
        left = self._since[1] + patience - time.monotonic()
        if left > 0 and not plan.may_propose:
            return left
        await (self._propose() if plan.may_propose else self._prepare(plan.stage))
        self._failing = False
        return 0

    async def _propose(self) -> None:
        outcome = await self._effect(lambda: self.decisions.propose(self._seal))
        if outcome.failure is not None:
            raise outcome.failure

    async def _prepare(self, stage: object) -> None:
        begun = await self.do(self._begin_ballot, stage)
        if begun is not None and self.gossip is not None:
            self.gossip.prepare(*begun)

    def _begin_ballot(self, stage: object) -> tuple[int, int] | None:
        """Number and ballot; None where another SN's message came in between."""
        if self._stage() != stage:
            return None
        return self.decisions.open.number, self.decisions.prepare()

    def _stage(self) -> object:
        opened = self.decisions.open
        return opened.number, opened.promised, opened.accepted

    def _say(self, status: str) -> None:
        if status == self._status:
            return
        usual = status in USUAL
        log.log(logging.INFO if usual else logging.WARNING, "chain: %s", status)
        self._status = status

    async def _effect(self, work: Callable[[], Outcome]) -> Outcome:
        """Do something on the chain's thread and tell what came of it."""
        outcome, back, final = await self.do(self._settled, work)
        self._unsettled = isinstance(outcome.failure, ChainUnavailableError)
        if self.gossip is not None:
            if back:
                self.gossip.transactions(back)
            if outcome.proposal is not None:
                self.gossip.proposal(outcome.proposal)
            if outcome.votes:
                self.gossip.votes(outcome.votes)
        if final.hash != self.final_hash:
            self.final_hash, self.final_number = final.hash, final.block_number
            self._progress = time.monotonic()
            self._head_changed.set()
            self._head_changed = asyncio.Event()
        self._wake.set()
        return outcome

    # --- on the chain's thread ------------------------------------------------------------

    def _nonces(self) -> Callable[[Address], int]:
        state = self.chain.state_at(self.chain.head).state
        return lambda sender: state.get_nonce(sender)

    def _admit(self, raw: bytes) -> tuple[Hash32, bool]:
        transaction = self.chain.decode_transaction(raw)
        if transaction.hash in self.pool:
            return transaction.hash, False
        check_transaction(transaction, self.chain.chain_id, self._nonces())
        self.pool.add(transaction, raw)
        return transaction.hash, True

    def _plan(self) -> _Plan:
        opened = self.decisions.open
        count = len(opened.signers)
        idle = self.linked - self._wanting
        decision = turn(
            opened.number, opened.signers, self.address, self.linked, self.chain.genesis_signer,
            idle,
        )  # fmt: skip
        if not self._mine:
            decision = Wait("not sealing, as configured: waiting for other SNs to seal")
        elif self._waits_for_blocks():
            decision = Wait(CATCHING_UP)
        alive = {self.address, *self.linked}
        return _Plan(
            decision,
            cut_off=not is_quorum(alive, opened.signers, self.chain.genesis_signer),
            work=opened.accepted is not None or self._has_work(),
            may_propose=opened.may_propose_at_once() or opened.is_prepared(),
            steps=0 if opened.untouched else min(MOST_STEPS, 1 + opened.promised // count),
            stage=self._stage(),
        )

    def _has_work(self) -> bool:
        if self.pool and self.pool.ready(self._nonces()):
            return True
        return self._vote(self.chain.signers_after(self.chain.head)) is not None

    def _vote(self, snapshot: Snapshot) -> Motion | None:
        """On whom to vote next: nothing that this SN has voted on already."""
        voted = {
            Motion(vote.subject, admit=vote.action is VoteAction.NOMINATE)
            for vote in snapshot.votes
            if vote.signer == self.address
        }
        linked = {self.address, *self.linked}
        self._complain(snapshot, linked)
        due = motions(snapshot.signers, linked, self._wanting, self._holders)
        return next((motion for motion in due if motion not in voted), None)

    def _complain(self, snapshot: Snapshot, linked: set[Address]) -> None:
        pairs = set(doubles(snapshot.signers, linked, self._wanting, self._holders))
        for account, signer in sorted(pairs - self._doubles):
            log.warning(
                "chain: SN 0x%s does not become a signer: it shows the certificate of signer 0x%s, "
                "and a certificate's holder has one. Give each SN a certificate of its own",
                account.hex(), signer.hex(),
            )  # fmt: skip
        self._doubles = pairs

    def _seal(self) -> HeadChange | None:
        vote = self._vote(self.chain.signers_after(self.chain.head))
        return self.chain.seal(
            self.key,
            self.pool.ready(self._nonces()),
            timestamp=int(self.now()),
            vote=vote,
            even_empty=vote is not None,
            refuse=self._refuse,
        )

    def _refuse(self, transaction: SignedTransactionAPI, reason: str) -> None:
        self.pool.remove([transaction.hash])
        log.warning("chain: transaction 0x%s refused: %s", transaction.hash.hex(), reason)

    def _settled(self, work: Callable[[], Outcome]) -> tuple[Outcome, list[bytes], BlockHeaderAPI]:
        """Do it, and bring the pool in line with the new head.

        Returns:
            What came of it; transactions of a replaced block, which wait for another one again;
            the final block.
        """
        outcome = work()
        back = [raw for change in outcome.changes for raw in self._bring_in_line(change)]
        if self.pool and outcome.changes:
            self.pool.prune(self._nonces())
        return outcome, back, self.decisions.final

    def _bring_in_line(self, change: HeadChange) -> list[bytes]:
        back = []
        for transaction in (t for block in change.removed for t in block.transactions):
            try:
                self.pool.add(transaction, transaction.encode())
                back.append(transaction.encode())
            except ValidationError as exc:
                log.warning("chain: transaction 0x%s lost: %s", transaction.hash.hex(), exc)
        self.pool.remove(transaction.hash for transaction in change.block.transactions)
        return back
