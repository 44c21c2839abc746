"""Published rounds of one training contract: the latest here, where on the chain the others are.

A round's record follows from the events of that round alone. So a training may go on for a million
rounds: what stays in memory is the latest records, and one block number for every
:data:`STRIDE` rounds, from which the others are read again when somebody asks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common import sn_api as api
from services.common.ids import NodeId
from services.sn.core import ledger
from services.sn.core.ledger import Block

KEPT_ROUNDS = 200
"""Records of the present generation that stay in memory: 1 MB with 4 peers, 5 MB with 32."""
STRIDE = 100
"""Rounds between two whose block is remembered; as many are read again for one of them."""


@dataclass(slots=True)
class OpenRound:
    """What the events so far say of the round that is open."""

    checkins: dict[NodeId, api.Contributor] = field(default_factory=dict)
    """The latest of each peer, also where it does not count any more."""
    leaders: list[api.LeaderRecord] = field(default_factory=list)
    drops: list[api.DropRecord] = field(default_factory=list)
    attested: list[ledger.Attested] = field(default_factory=list)
    """To the latest proposal."""
    exposed: list[api.ExposedRecord] = field(default_factory=list)

    def apply(self, event: ledger.TrainingEvent, block: Block) -> api.RoundRecord | None:
        """Advance by one event of the contract; the round's record once it is published."""
        match event:
            case ledger.CheckedIn():
                self.checkins[event.peer] = api.Contributor(
                    peer=event.peer, digest=event.digest, size=event.size,
                    weightage=event.weightage,
                )  # fmt: skip
            case ledger.LeaderElected():
                self.leaders.append(
                    api.LeaderRecord(term=event.term, leader=event.leader, reason=event.reason)
                )
            case ledger.Dropped():
                self.drops.append(
                    api.DropRecord(peer=event.peer, term=event.term, reason=event.reason)
                )
            case ledger.Proposed() | ledger.Attested() | ledger.Exposed():
                self._attest(event)
            case ledger.Published():
                record = self._record(event, block)
                self._clear()
                return record
            case ledger.Reset():
                self._clear()
            case _:
                pass
        return None

    def _record(self, event: ledger.Published, block: Block) -> api.RoundRecord:
        return api.RoundRecord(
            generation=event.generation, round=event.round, term=event.term, leader=event.leader,
            leaders=self.leaders, digest=event.digest, size=event.size,
            contributors=[self.checkins[uid] for uid in event.contributors], drops=self.drops,
            block=block.number, time=block.time,
            attested=[item.peer for item in self.attested if item.agrees], exposed=self.exposed,
        )  # fmt: skip

    def _attest(self, event: ledger.Proposed | ledger.Attested | ledger.Exposed) -> None:
        match event:
            case ledger.Proposed():
                self.attested = []
            case ledger.Attested():
                self.attested.append(event)
            case ledger.Exposed():
                self.exposed.append(self._exposure(event))

    def _exposure(self, event: ledger.Exposed) -> api.ExposedRecord:
        computed = (event.computed, event.computed_size)
        return api.ExposedRecord(
            term=event.term, leader=event.leader, digest=event.digest, computed=event.computed,
            disputed=[i.peer for i in self.attested if (i.digest, i.size) == computed],
        )  # fmt: skip

    def _clear(self) -> None:
        self.checkins, self.leaders, self.drops = {}, [], []
        self.attested, self.exposed = [], []


@dataclass(slots=True)
class Chapter:
    """Where on the chain the rounds of one generation are."""

    starts: list[int]
    """Numbers of the blocks in which rounds 1, 1 + :data:`STRIDE`, ... opened."""
    rounds: int = 0
    """How many were published."""
    last: int = 0
    """Number of the block in which the latest of them was."""
    ended: int = 0
    """Number of the block with the reset; 0: there was none."""

    def published(self, block: int) -> None:
        """Another round was published in ``block``; the next one opened there."""
        self.rounds += 1
        self.last = block
        if self.rounds % STRIDE == 0:
            self.starts.append(block)

    def blocks(self, first: int, last: int) -> tuple[int, int]:
        """First and last block that may hold events of the published rounds ``first`` to ``last``.

        All their events are there; events of rounds before and after them may be, too.
        """
        after = (last - 1) // STRIDE + 1
        end = self.starts[after] if after < len(self.starts) else self.last
        return self.starts[(first - 1) // STRIDE], end

    def blocks_after(self, first: int, last: int) -> tuple[int, int]:
        """The same for what follows the publish of these rounds, up to that of the next one.

        Where ``last`` is the latest round, up to the reset; there must have been one.
        """
        if last < self.rounds:
            return self.blocks(first, last + 1)
        return self.starts[(first - 1) // STRIDE], self.ended


@dataclass(slots=True)
class History:
    """All published rounds of a contract, of every generation."""

    chapters: dict[int, Chapter] = field(default_factory=dict)
    """By generation."""
    latest: list[api.RoundRecord] = field(default_factory=list)
    """The newest :data:`KEPT_ROUNDS` of the present generation."""
    open: OpenRound = field(default_factory=OpenRound)

    def apply(self, event: ledger.TrainingEvent, block: Block) -> None:
        """Advance by one event of the contract, in chain order."""
        if isinstance(event, ledger.Enrolled) and event.generation not in self.chapters:
            self.chapters[event.generation] = Chapter([block.number])
        elif isinstance(event, ledger.Reset):
            self.latest = []
            if event.generation in self.chapters:
                self.chapters[event.generation].ended = block.number
        record = self.open.apply(event, block)
        if record is not None:
            self.latest.append(record)
            del self.latest[:-KEPT_ROUNDS]
            self.chapters[event.generation].published(block.number)

    def published(self, generation: int) -> int:
        """How many rounds of a generation were published; they are 1 to that."""
        chapter = self.chapters.get(generation)
        return chapter.rounds if chapter else 0

    def in_memory(self, generation: int, first: int, last: int) -> list[api.RoundRecord] | None:
        """The records of published rounds ``first`` to ``last``; None if some are not here."""
        if first > last:
            return []
        if not self.latest or self.latest[0].generation != generation:
            return None
        skipped = first - self.latest[0].round
        return self.latest[skipped : last - self.latest[0].round + 1] if skipped >= 0 else None


def records(
    found: Iterable[tuple[ledger.TrainingEvent, Block]], generation: int, first: int, last: int
) -> list[api.RoundRecord]:
    """The records of rounds ``first`` to ``last``, from all events of one contract around them.

    Args:
        found: in chain order, each with its block; events of other rounds do not matter.
        generation: of these rounds.
        first: number of the first round.
        last: of the last one.
    """
    open_round, made = OpenRound(), []
    for event, block in found:
        if event.generation == generation and first <= event.round <= last:
            record = open_round.apply(event, block)
            if record is not None:
                made.append(record)
    return made
