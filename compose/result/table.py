"""The lines of a run: what happened meanwhile, and the table at its end; pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from compose.report import count
from compose.result.judge import Pair, Sight, Verdict, same_model, why_lost, why_out
from compose.status import columns

HEAD = ("", "", "alone", "in swarm", "rounds", "model", "end")
SHOWN = 16
"""Characters of a digest."""


class Change(NamedTuple):
    """Something that happened."""

    text: str
    trouble: bool = True
    """Whether it is told once more at the end: a loss, or a return."""


def changes(old: Sequence[Pair], new: Sequence[Pair]) -> list[Change]:
    """What happened to the pairs between two looks."""
    before = {pair.index: pair for pair in old}
    found: list[Change] = []
    for pair in new:
        was = before.get(pair.index, Pair(pair.index))
        found += [*_of_peer(was, pair), *_of_program(was, pair)]
    return found


def _of_peer(old: Pair, new: Pair) -> list[Change]:
    lost, was_lost = why_lost(new), why_lost(old)
    found: list[Change] = []
    if new.peer is not None and old.peer is None:
        found.append(Change(f"{new.name} enrolled", trouble=False))
    if lost and lost != was_lost:
        found.append(Change(f"{new.name} left: {lost}"))
    elif was_lost and not lost:
        found.append(Change(f"{new.name} is back"))
    return found


def _of_program(old: Pair, new: Pair) -> list[Change]:
    if new.program is None:
        return []
    if new.program.attempt > (old.program.attempt if old.program else 1):
        attempts = f"attempt {new.program.attempt} of {new.program.attempts}"
        return [Change(f"{new.name}: its ML program is started again, {attempts}")]
    if (out := why_out(new, 0.0)) and not why_out(old, 0.0):
        return [Change(f"{new.name}: {out}")]
    finished = new.done and not old.done
    return [Change(f"{new.name} finished", trouble=False)] if finished else []


def programs(pairs: Sequence[Pair]) -> str:
    """How many ML programs wait and run; empty where none began."""
    states = [pair.program.state for pair in pairs if pair.program is not None]
    words = {"waits": "wait for their SLs", "runs": "train alone or load"}
    counts = {word: states.count(state) for state, word in words.items()}
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def outcome(sight: Sight, verdict: Verdict, notices: Sequence[str]) -> list[str]:
    """The table and all that needs to be said about it.

    Args:
        sight: the last look.
        verdict: what it comes to.
        notices: losses and returns, in the order in which they happened.
    """
    lines = ["", *columns([HEAD, *(_row(pair, sight) for pair in sight.pairs)]), ""]
    if notices:
        lines += ["What happened meanwhile:", *(f"  {each}" for each in notices), ""]
    done = sum(pair.done for pair in sight.pairs)
    if verdict.exit_code == 0:
        lines.append(
            f"{count(done, 'pair')} ended with the same model, byte for byte: "
            f"{sight.digest[:SHOWN]}"
        )
    else:
        lines.append(f"FAILED: {verdict.reason}")
    word = "failed" if verdict.exit_code else "done"
    lines.append(f"{word}: {count(sight.rounds, 'round')} in {sight.elapsed:.1f} s")
    return lines


def _row(pair: Pair, sight: Sight) -> list[str]:
    return [
        pair.name, pair.holds, _number(pair.numbers, "alone"), _number(pair.numbers, "swarm"),
        str(pair.peer.rounds) if pair.peer else "", _model(pair, sight.digest),
        _end(pair, sight.elapsed),
    ]  # fmt: skip


def _number(numbers: Mapping[str, float], way: str) -> str:
    return f"{numbers[way]:.3f}" if way in numbers else ""


def _model(pair: Pair, digest: str) -> str:
    if not pair.done or pair.program is None:
        return ""
    return f"{pair.program.digest[:SHOWN]} " + ("same" if same_model(pair, digest) else "DIFFERENT")


def _end(pair: Pair, elapsed: float) -> str:
    if pair.done:
        again = pair.program.attempt - 1 if pair.program else 0
        return f"finished, started again {again}x" if again else "finished"
    whys = dict.fromkeys(filter(None, (why_lost(pair), why_out(pair, elapsed), pair.sl_reason)))
    return "LOST: " + "; ".join(whys) if whys else "did not finish"


def as_json(sight: Sight, verdict: Verdict, notices: Sequence[str]) -> dict[str, object]:
    """The same for programs: ``result.json``."""
    return {
        "exit_code": verdict.exit_code, "reason": verdict.reason, "rounds": sight.rounds,
        "seconds": round(sight.elapsed, 1), "digest": sight.digest, "notices": list(notices),
        "pairs": [
            {
                "pair": pair.index, "holds": pair.holds, **pair.numbers, "done": pair.done,
                "digest": pair.program.digest if pair.program else "",
                "rounds": pair.peer.rounds if pair.peer else 0, "end": _end(pair, sight.elapsed),
            }
            for pair in sight.pairs
        ],
    }  # fmt: skip
