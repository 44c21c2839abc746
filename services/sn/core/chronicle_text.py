"""A contract's history as plain text: one line per round, more only where something happened."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from services.common import sn_api as api
from services.sn.core.chronicle import Chronicle, Generation, Note, Selection, Totals, totals
from services.sn.core.nodes import Nodes
from services.sn.core.verdict import some

DIGITS = 16
"""Of a model's digest that a line shows; ``--json`` has them all."""
_DIGEST = re.compile("[0-9a-f]{64}")
PER_LINE = 4
"""Contributors in one line."""


def render(chronicle: Chronicle, nodes: Nodes, selection: Selection) -> Iterator[str]:
    """The lines of a history.

    Args:
        chronicle: the history.
        nodes: for the names of containers.
        selection: which part of it.
    """
    names = Names(nodes)
    chosen = selection.chosen(chronicle.generations.values())
    training = chronicle.training
    yield f"contract    {training.name}"
    yield f"address     {training.address}"
    yield f"registered  {time_text(training.created)} UTC, block {chronicle.registered:,}"
    yield f"generation  {training.generation}: {_standing(training.phase, training.round)}"
    for generation in chosen:
        yield ""
        yield f"generation {generation.number}{_terms(generation.terms)}"
        yield from _generation(generation, names)
    yield ""
    yield f"totals: {_totals(totals(chosen))}"


class Names:
    """What a person calls a node.

    Args:
        nodes: for the names of containers.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def __call__(self, uid: str) -> str:
        """Its container and the start of its uid."""
        node = self._nodes.get(uid)
        return f"{printable(node.container)} ({uid[:8]})" if node and node.container else uid[:8]


def _generation(generation: Generation, names: Names) -> Iterator[str]:
    leaders = [names(record.leader) for record in generation.rounds]
    width = max([len("leader"), *map(len, leaders)])
    if generation.rounds:
        yield (
            f"{'round':>7}{'block':>9}  {'time (UTC)':<19}  {'leader':<{width}}  "
            f"{'model':<{DIGITS}}  {'size':>9}  contributors x weightage"
        )
    notes, told = generation.notes, 0
    for record, leader in zip(generation.rounds, leaders, strict=True):
        begin = told
        while told < len(notes) and notes[told].round <= record.round:
            told += 1
        yield from _notes(notes[begin:told], names)
        first, *more = _contributors(record, names)
        head = (
            f"{record.round:>7}{record.block:>9}  {time_text(record.time)}  {leader:<{width}}  "
            f"{record.digest[:DIGITS]}  {_size(record.size):>9}  "
        )
        yield head + first
        yield from (" " * len(head) + line for line in more)
        yield from _troubles(record, names)
    yield from _notes(notes[told:], names)


def _contributors(record: api.RoundRecord, names: Names) -> list[str]:
    words = [f"{names(item.peer)} x{item.weightage}" for item in record.contributors]
    parts = range(0, len(words), PER_LINE)
    return [", ".join(words[k : k + PER_LINE]) for k in parts] or ["none"]


def _troubles(record: api.RoundRecord, names: Names) -> Iterator[str]:
    """Failovers and drops of a round, and who attested its merge."""
    if len(record.leaders) > 1:
        terms = [f"term {x.term} {names(x.leader)}: {x.reason}" for x in record.leaders]
        yield aside(record.block, "leaders", "; ".join(terms))
    for drop in record.drops:
        yield aside(
            record.block, "dropped", f"{names(drop.peer)} in term {drop.term}: {drop.reason}"
        )
    if record.attested:
        yield aside(record.block, "attested", "by " + ", ".join(map(names, record.attested)))


def _notes(notes: Sequence[Note], names: Names) -> Iterator[str]:
    for (kind, peer, reason), same in groupby(notes, lambda n: (n.kind, n.peer, n.reason)):
        some = list(same)
        times = f" ({len(some)} times)" if len(some) > 1 else ""
        who = names(peer) if peer.strip("0") else ""
        yield aside(some[0].block, kind, ": ".join(w for w in (who, reason) if w) + times)


def aside(block: int, kind: str, words: str) -> str:
    """A line beside the others about something that happened in a block."""
    words = _DIGEST.sub(lambda found: f"{found[0][:DIGITS]}...", printable(words))
    return f"{'':>7}{block:>9}  {kind:<9}  {words}".rstrip()


def printable(words: str) -> str:
    """Text from elsewhere: anybody may have written it, so nothing of it steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in words)


def _standing(phase: api.Phase, number: int) -> str:
    return f"{phase}, round {number}" if number else str(phase)


def _terms(terms: api.Terms | None) -> str:
    if terms is None:
        return ""
    adaptive = ", adaptive sync" if terms.adaptive else ""
    attested = f", {some(terms.attestations, 'attestation')}" if terms.attestations else ""
    return (
        f": min peers {terms.min_peers}, {terms.merge_method}{adaptive}, "
        f"leader timeout {terms.leader_timeout_s} s{attested}"
    )


def _totals(counts: Totals) -> str:
    words = [
        some(counts.rounds, "round"), some(counts.contributions, "contribution"),
        f"{_size(counts.merged_bytes)} merged", some(counts.failovers, "failover"),
        some(counts.drops, "drop"),
    ]  # fmt: skip
    asides = ["joined", "left", "returned", "refused", "reopened"]
    asides += [kind for kind in ("disputed", "exposed", "remarked") if kind in counts.notes]
    return ", ".join(words + [f"{counts.notes.get(kind, 0):,} {kind}" for kind in asides])


def time_text(seconds: int) -> str:
    """Unix seconds as UTC, as far as a calendar goes."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
