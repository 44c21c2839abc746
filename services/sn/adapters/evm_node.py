"""A node of the chain: takes transactions, seals blocks when it is its turn, imports others'.

All work on the chain runs on one dedicated thread (py-evm is not re-entrant, SQLite connections
are bound to a thread); the event loop only waits for it. Blocks are sealed on demand: no
transaction, no block (except to cast a vote). :mod:`services.sn.core.turns` says who seals when.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import rlp
from eth.abc import BlockAPI, SignedTransactionAPI
from eth.consensus.clique.datatypes import Snapshot, VoteAction
from eth_keys.datatypes import PrivateKey
from eth_typing import Address, Hash32
from eth_utils.exceptions import ValidationError

from services.common.clock import steady_time
from services.common.errors import ChainUnavailableError
from services.sn.adapters.evm_chain import HeadChange, SwarmChain
from services.sn.adapters.evm_pool import Pool
from services.sn.adapters.evm_rules import TRANSACTION_GAS_CAP
from services.sn.core.turns import Turn, Wait, turn

log = logging.getLogger("swarm.chain")

DEBOUNCE_S = 0.005
"""How long a sealer lets transactions gather before it seals."""
RETRY_S = 1.0
"""Pause after a block could not be sealed or stored."""
MAX_DRIFT_S = 15.0
"""How far a block's timestamp may lie ahead of the swarm's time."""
NONCE_GAP = 256
"""How far ahead of its sender's next nonce a transaction may be."""

SEALING, CATCHING_UP = "sealing", "catching up with the other SNs"
USUAL = (SEALING, CATCHING_UP)
"""Statuses that nobody needs to look into."""

T = TypeVar("T")


class Imported(Enum):
    """What became of another SN's block."""

    NEW = "new"
    KNOWN = "known"
    ORPHAN = "orphan"
    """Its parent is not here: ask for what lies between."""


class Gossip(Protocol):
    """Tells the other SNs; must not block."""

    def transactions(self, raws: list[bytes]) -> None:
        """Pass transactions on."""

    def block(self, raw: bytes) -> None:
        """Pass a block on."""


class ChainThread:
    """The one thread that touches the chain."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="chain")

    async def __call__(self, work: Callable[..., T], *args: object) -> T:
        """Run ``work`` there; calls run one after another in the order of arrival."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def stop(self) -> None:
        """End the thread after the work that it has."""
        self._executor.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    head: Hash32
    turn: Turn
    work: bool


class EvmNode:
    """See the module. Make it on the loop; ``chain`` belongs to ``thread``."""

    def __init__(
        self, chain: SwarmChain, head: Hash32, key: PrivateKey, thread: ChainThread, *, mine: bool
    ) -> None:
        self.chain = chain
        self.key = key
        self.address = Address(key.public_key.to_canonical_address())
        self.do = thread
        self.pool = Pool()
        self.gossip: Gossip | None = None
        self.head_hash = head
        self.clock_offset = 0.0
        """Seconds from this machine's clock to the swarm's."""
        self.catching_up = False
        """Whether a linked SN is ahead and its blocks are on their way: no sealing meanwhile."""
        self._mine = mine
        self._linked: frozenset[Address] = frozenset()
        self._candidates: frozenset[Address] = frozenset()
        self._wake = asyncio.Event()
        self._head_changed = asyncio.Event()
        self._since: tuple[Hash32, float] | None = None
        self._status = "starting"

    # --- for others -----------------------------------------------------------------------

    @property
    def status(self) -> str:
        """What the node does or waits for, in words."""
        return self._status

    def now(self) -> float:
        """The swarm's time, seconds since 1970."""
        return steady_time() + self.clock_offset

    async def wait_for_head(self, after: bytes) -> Hash32:
        """The head's hash, once it differs from ``after``."""
        while self.head_hash == after:
            await self._head_changed.wait()
        return self.head_hash

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

    async def import_raw(self, raw: bytes) -> tuple[Imported, Hash32]:
        """Take another SN's block.

        Returns:
            What became of it, and its hash.

        Raises:
            ValidationError: it breaks a rule.
            ChainUnavailableError: the disk took it not.
        """
        outcome, block_hash, change = await self.do(self._import, raw)
        if change is not None:
            self._announce(change)
        return outcome, block_hash

    def set_links(self, linked: Iterable[Address], candidates: Iterable[Address]) -> None:
        """Which SNs this one has live links to, and which of them want to be signers."""
        self._linked = frozenset(linked)
        self._candidates = frozenset(candidates)
        self.wake()

    # --- sealing --------------------------------------------------------------------------

    async def run(self) -> None:
        """Seal blocks until cancelled."""
        while True:
            self._wake.clear()
            delay = await self._step()
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
        plan = await self.do(self._plan)
        if isinstance(plan.turn, Wait):
            self._say(plan.turn.reason)
            return None
        self._say(SEALING)
        if not plan.work:
            self._since = None
            return None
        if self._since is None or self._since[0] != plan.head:
            self._since = (plan.head, time.monotonic())
        left = self._since[1] + plan.turn.delay_s - time.monotonic()
        if left > 0:
            return left
        try:
            change = await self.do(self._seal)
        except (ChainUnavailableError, ValidationError) as exc:
            self._say(f"cannot seal: {exc}")
            await asyncio.sleep(RETRY_S)
            return 0
        if change is not None:
            if self.gossip is not None:
                self.gossip.block(rlp.encode(change.block))
            self._announce(change)
        return 0

    def _say(self, status: str) -> None:
        if status == self._status:
            return
        usual = status in USUAL
        log.log(logging.INFO if usual else logging.WARNING, "chain: %s", status)
        self._status = status

    def _announce(self, change: HeadChange) -> None:
        if change.removed:
            log.warning(
                "chain: %d blocks replaced by %d of the heavier fork, head %d",
                len(change.removed),
                len(change.added),
                change.added[-1].number,
            )
        if change.added:
            self.head_hash = change.added[-1].hash
            self._head_changed.set()
            self._head_changed = asyncio.Event()
        self._wake.set()

    # --- on the chain's thread ------------------------------------------------------------

    def _nonces(self) -> Callable[[Address], int]:
        state = self.chain.state_at(self.chain.head).state
        return lambda sender: state.get_nonce(sender)

    def _admit(self, raw: bytes) -> tuple[Hash32, bool]:
        transaction = self.chain.decode_transaction(raw)
        if transaction.hash in self.pool:
            return transaction.hash, False
        self._check(transaction)
        self.pool.add(transaction, raw)
        return transaction.hash, True

    def _check(self, transaction: SignedTransactionAPI) -> None:
        transaction.validate()
        if transaction.chain_id != self.chain.chain_id:
            raise ValidationError(
                f"the transaction is for chain {transaction.chain_id}, this is chain "
                f"{self.chain.chain_id}"
            )
        if transaction.gas > TRANSACTION_GAS_CAP:
            raise ValidationError(f"gas {transaction.gas} is over {TRANSACTION_GAS_CAP}")
        if transaction.max_fee_per_gas or transaction.value:
            raise ValidationError("gas is free and there is no currency: gasPrice and value are 0")
        nonce = self._nonces()(transaction.sender)
        if transaction.nonce < nonce:
            raise ValidationError(f"nonce too low: {transaction.nonce}, the next is {nonce}")
        if transaction.nonce > nonce + NONCE_GAP:
            raise ValidationError(f"nonce too high: {transaction.nonce}, the next is {nonce}")

    def _plan(self) -> _Plan:
        head = self.chain.head
        snapshot = self.chain.signers_after(head)
        decision = turn(
            head.block_number + 1,
            snapshot.get_sorted_signers(),
            self.address,
            self._linked,
            self.chain.genesis_signer,
        )
        if not self._mine:
            decision = Wait("not sealing, as configured: waiting for other SNs to seal")
        elif self.catching_up:
            decision = Wait(CATCHING_UP)
        work = bool(self.pool and self.pool.ready(self._nonces())) or bool(self._vote(snapshot))
        return _Plan(head.hash, decision, work)

    def _vote(self, snapshot: Snapshot) -> Address | None:
        """A linked SN that wants to be a signer and that this one has not voted for yet."""
        voted = {
            vote.subject
            for vote in snapshot.votes
            if vote.signer == self.address and vote.action is VoteAction.NOMINATE
        }
        return min(self._candidates - snapshot.signers - voted, default=None)

    def _seal(self) -> HeadChange | None:
        vote = self._vote(self.chain.signers_after(self.chain.head))
        change = self.chain.seal(
            self.key,
            self.pool.ready(self._nonces()),
            timestamp=int(self.now()),
            vote=vote,
            even_empty=vote is not None,
            refuse=self._refuse,
        )
        self._settle(change)
        return change

    def _refuse(self, transaction: SignedTransactionAPI, reason: str) -> None:
        self.pool.remove([transaction.hash])
        log.warning("chain: transaction 0x%s refused: %s", transaction.hash.hex(), reason)

    def _import(self, raw: bytes) -> tuple[Imported, Hash32, HeadChange | None]:
        block = self.chain.decode_block(raw)
        if self.chain.knows(block.hash):
            return Imported.KNOWN, block.hash, None
        if not self.chain.knows(block.header.parent_hash):
            return Imported.ORPHAN, block.hash, None
        if block.header.timestamp > self.now() + MAX_DRIFT_S:
            ahead = block.header.timestamp - self.now()
            raise ValidationError(f"{block} lies {ahead:.0f} s in the future: check the clocks")
        change = self.chain.import_sealed(block)
        self._settle(change)
        return Imported.NEW, block.hash, change

    def _settle(self, change: HeadChange | None) -> None:
        """Bring the pool in line with the new head; what a reorganisation dropped comes back."""
        if change is None or not change.added:
            return
        for block in change.removed:
            self._take_back(block)
        for block in change.added:
            self.pool.remove(transaction.hash for transaction in block.transactions)
        if self.pool:
            self.pool.prune(self._nonces())

    def _take_back(self, block: BlockAPI) -> None:
        for transaction in block.transactions:
            try:
                self.pool.add(transaction, transaction.encode())
            except ValidationError as exc:
                log.warning("chain: transaction 0x%s lost: %s", transaction.hash.hex(), exc)
