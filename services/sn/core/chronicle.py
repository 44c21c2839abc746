"""The whole history of one training contract: every generation's rounds and what lay between.

A fold like :class:`Training`, which keeps only what the present generation needs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common import sn_api as api
from services.sn.core import ledger
from services.sn.core.ledger import Block
from services.sn.core.training import Training


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened beside the published rounds."""

    generation: int
    round: int
    """The round that was open."""
    kind: str
    """``joined``, ``left``, ``returned``, ``refused``, ``remarked``, ``reopened``, ``disputed``,
    ``exposed``, ``completed``, ``reset``."""
    peer: str
    """Uid, or empty."""
    reason: str
    block: int
    time: int
    """Chain time, Unix seconds."""


@dataclass(slots=True)
class Generation:
    """One life of the contract, from its first enrolment to a RESET CONTRACT."""

    number: int
    terms: api.Terms | None = None
    rounds: list[api.RoundRecord] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over some rounds and notes."""

    rounds: int
    contributions: int
    merged_bytes: int
    failovers: int
    drops: int
    notes: dict[str, int]
    """By kind."""


class Chronicle:
    """History of one contract, after the events applied so far.

    Args:
        training: the contract, before its first event.
        registered: block of its registration.
    """

    def __init__(self, training: Training, registered: int) -> None:
        self.training = training
        self.registered = registered
        self.generations: dict[int, Generation] = {}

    @property
    def rounds(self) -> list[api.RoundRecord]:
        """The published rounds of the present generation."""
        present = self.generations.get(self.training.generation)
        return present.rounds if present is not None else []

    def apply(self, event: ledger.TrainingEvent, block: Block) -> None:
        """Advance by one event of this contract, in chain order."""
        of = self.generations.setdefault(event.generation, Generation(event.generation))
        self.training.apply(event, block)
        if isinstance(event, ledger.Published):
            of.rounds.append(self.training.history.latest[-1])
        if isinstance(event, ledger.Enrolled):
            of.terms = self.training.terms
        note = _note(event, block)
        if note is not None:
            of.notes.append(note)


def _note(event: ledger.TrainingEvent, block: Block) -> Note | None:
    found: tuple[str, str, str]
    match event:
        case ledger.Enrolled() | ledger.Returned():
            kind = "joined" if isinstance(event, ledger.Enrolled) else "returned"
            found = kind, event.peer, ""
        case ledger.Left():
            found = "left", event.peer, event.reason
        case ledger.Refused():
            remark = event.code == api.OUTLIER
            words = event.detail if remark else f"{event.code}: {event.detail}"
            found = "remarked" if remark else "refused", event.peer, words
        case ledger.Reopened():
            found = "reopened", "", event.reason
        case ledger.Attested(agrees=False) | ledger.Exposed():
            found = _doubt(event)
        case ledger.Completed():
            found = "completed", "", ""
        case ledger.Reset():
            found = "reset", "", event.by
        case _:
            return None
    kind, peer, reason = found
    return Note(event.generation, event.round, kind, peer, reason, block.number, block.time)


def _doubt(event: ledger.Attested | ledger.Exposed) -> tuple[str, str, str]:
    published = _file(event.digest, event.size)
    if isinstance(event, ledger.Attested):
        return "disputed", event.peer, f"got {published}"
    computed = _file(event.computed, event.computed_size)
    return "exposed", event.leader, f"published {published}, the others got {computed}"


def _file(digest: str, size: int) -> str:
    return f"{digest} ({size} bytes)"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a history to show."""

    generation: int | None = None
    """None: all."""
    first: int = 1
    last: int | None = None
    """None: to the end."""
    newest: int | None = None
    """Only this many rounds of each generation."""

    def of(self, generation: Generation) -> Generation:
        """What of a generation is to be shown."""
        whole = self.first <= 1 and self.last is None and self.newest is None
        if whole:
            return generation
        rounds = [item for item in generation.rounds if self._has(item.round)]
        if self.newest is not None:
            rounds = rounds[-self.newest :]
        numbers = {item.round for item in rounds}
        open_round = generation.rounds[-1].round + 1 if generation.rounds else 1
        if self.last is None or self.last >= open_round:
            numbers.add(open_round)
        notes = [note for note in generation.notes if note.round in numbers]
        return Generation(generation.number, generation.terms, rounds, notes)

    def chosen(self, generations: Iterable[Generation]) -> list[Generation]:
        """The generations to be shown, each cut to its rounds."""
        wanted = [item for item in generations if self.generation in (None, item.number)]
        return [self.of(item) for item in wanted]

    def _has(self, number: int) -> bool:
        return number >= self.first and (self.last is None or number <= self.last)


def totals(generations: Iterable[Generation]) -> Totals:
    """Counts over these generations."""
    shown = list(generations)
    rounds = [record for generation in shown for record in generation.rounds]
    notes = Counter(note.kind for generation in shown for note in generation.notes)
    return Totals(
        rounds=len(rounds), contributions=sum(len(item.contributors) for item in rounds),
        merged_bytes=sum(item.size for item in rounds),
        failovers=sum(max(0, len(item.leaders) - 1) for item in rounds),
        drops=sum(len(item.drops) for item in rounds), notes=dict(notes),
    )  # fmt: skip
