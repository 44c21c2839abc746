"""How a peer of a run ended, in words short enough for the ledger."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.task_api import LONGEST_TEXT, TaskPeerState

LOST = "SWOP lost"
"""Description that the contract gives to peers of a SWOP whose heartbeats stopped."""
_REASON = re.compile(r"Exiting SL\. Reason: (.*)")
_OUTSIDE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def short(text: str) -> str:
    """One line of at most 160 characters (HPE's limit; more would be refused).

    Of a longer text the middle is left out: what failed stands at its beginning, and why, or what
    to do about it, at its end.

    Args:
        text: anything; control characters and line ends become spaces.
    """
    line = _OUTSIDE.sub(" ", text.encode(errors="replace").decode()).strip()
    return _fitted(line, LONGEST_TEXT)


def _fitted(line: str, room: int) -> str:
    """A line of at most so many characters, with its beginning and its end."""
    if len(line) <= room:
        return line
    beginning = room * 7 // 16
    return f"{line[:beginning]}...{line[beginning + 3 - room :]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a peer ended."""

    state: TaskPeerState
    """COMPLETE or ERROR."""
    description: str
    """At most 160 characters."""

    @classmethod
    def complete(cls, description: str) -> "Outcome":
        """It did what it should."""
        return cls(TaskPeerState.COMPLETE, short(description))

    @classmethod
    def error(cls, description: str) -> "Outcome":
        """It failed."""
        return cls(TaskPeerState.ERROR, short(description))


def of_ml(code: int, lines: Sequence[str]) -> Outcome:
    """An ML program that failed: its exit code and the end of what it said.

    Args:
        code: other than 0.
        lines: the last lines of its log, oldest first.
    """
    said = f"ML {_ended(code)}"
    room = LONGEST_TEXT - len(said) - 2
    end = ""
    for line in reversed([_OUTSIDE.sub(" ", each).strip() for each in lines]):
        if not line:
            continue
        longer = f"{line} | {end}" if end else line
        if len(longer) > room:
            end = end or _fitted(line, room)
            break
        end = longer
    return Outcome.error(f"{said}: {end}" if end else said)


def blames_ml(lines: Sequence[str]) -> bool:
    """Whether an SL says that it failed because of its ML program.

    Args:
        lines: the last lines of its log.
    """
    return any("the ML program" in found[1] for line in lines if (found := _REASON.search(line)))


def of_sl(code: int, lines: Sequence[str]) -> Outcome:
    """An SL that failed: the reason that it gave, else the last line of its log.

    Args:
        code: other than 0.
        lines: the last lines of its log, oldest first.
    """
    reasons = [found[1] for line in lines if (found := _REASON.search(line))]
    last = [line.strip() for line in lines if line.strip()][-1:]
    said = (reasons or last or ["its log is empty"])[-1]
    return Outcome.error(f"SL {_ended(code)}: {said}")


def _ended(code: int) -> str:
    number = -code if code < 0 else code - 128
    if not 0 < number < signal.NSIG:
        return f"exited with code {code}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    hint = ", perhaps out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name} (exit code {code}{hint})"
