"""The progress line: round, leader, loss, metric, rate, time left. Pure but for :class:`Line`."""

import re
import shutil
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from services.common.sn_api import ContractView, Phase

PLAIN_SECONDS = 3.0
"""Between two lines where the output is no terminal."""
RATE_SECONDS = 10.0
"""Window of the rate."""
SLOW = 0.05
"""Rounds per second below which the line says what the training waits for."""


@dataclass(slots=True)
class Pace:
    """How fast a training goes: rounds per second of late, and the time left."""

    rounds: deque[tuple[float, int]] = field(default_factory=deque)
    """When (seconds) which round was open, over the last :data:`RATE_SECONDS`."""
    first: tuple[float, float] | None = None
    """When which share of the training was done, at the first look with any done; what came before
    was loading and connecting and says nothing of the pace."""
    last: tuple[float, float] = (0.0, 0.0)

    def add(self, now: float, view: ContractView) -> None:
        """Note where things stand ``now`` (seconds)."""
        self.rounds.append((now, view.round))
        while len(self.rounds) > 2 and self.rounds[0][0] < now - RATE_SECONDS:
            self.rounds.popleft()
        self.last = (now, share_done(view))
        if self.first is None and self.last[1] > 0:
            self.first = self.last

    def rate(self) -> float:
        """Rounds per second; 0 before two looks."""
        if len(self.rounds) < 2:
            return 0.0
        (then, before), (now, after) = self.rounds[0], self.rounds[-1]
        return (after - before) / (now - then) if now > then else 0.0

    def seconds_left(self) -> float | None:
        """Time left if all goes on as so far; None while there is nothing to judge by."""
        if self.first is None or self.last[1] <= self.first[1]:
            return None
        (then, before), (now, after) = self.first, self.last
        return (now - then) * (1 - after) / (after - before)


def share_done(view: ContractView) -> float:
    """How much of the training is done, 0 to 1: epochs done of all epochs, mean over live peers."""
    shares = [
        min(1.0, peer.perf.epochs / peer.perf.total_epochs)
        for peer in view.peers
        if peer.live and peer.perf is not None and peer.perf.total_epochs
    ]
    return sum(shares) / len(shares) if shares else 0.0


def describe(
    view: ContractView | None, names: Mapping[str, str], pace: Pace, elapsed: float
) -> str:
    """One line about where a training stands.

    Args:
        view: the contract; None before the SN answered.
        names: node names by UID.
        pace: brought up to date with ``view``.
        elapsed: seconds since the start.
    """
    if view is None or view.phase is Phase.UNINITIALIZED:
        return f"{elapsed:4.0f} s  waiting for the ML programs to connect"
    live = [peer for peer in view.peers if peer.live]
    parts = [f"{elapsed:4.0f} s", _round(view), f"{len(live)} node{'s' * (len(live) != 1)}"]
    if view.leader:
        parts.append(f"leader {names.get(view.leader, view.leader[:8])}")
    perfs = [peer.perf for peer in live if peer.perf is not None]
    if any(perf.loss for perf in perfs):
        parts.append(f"loss {sum(perf.loss for perf in perfs) / len(perfs):.3f}")
    if any(perf.metric for perf in perfs):
        parts.append(f"metric {sum(perf.metric for perf in perfs) / len(perfs):.3f}")
    rate, left = pace.rate(), pace.seconds_left()
    parts.append(f"{rate:.1f} rounds/s")
    if view.phase is Phase.COMPLETED:
        parts.append("completed")
    elif left is not None:
        parts.append(f"{pace.last[1]:.0%} done, {left:.0f} s left")
    if rate < SLOW and view.waiting_for:
        parts.append(waiting_words(view.waiting_for, names))
    return "  ".join(parts)


def _round(view: ContractView) -> str:
    """The round that is open; at the end, how many were published."""
    if view.phase is not Phase.COMPLETED:
        return f"round {view.round:<3d}"
    published = view.merged.round if view.merged is not None else 0
    return f"{published} round{'s' * (published != 1)}"


def waiting_words(text: str, names: Mapping[str, str]) -> str:
    """The SN's words for what a contract waits for, with the verb where it left that out.

    Args:
        text: the words.
        names: node names by UID; they take the place of the SN's containers and UIDs.
    """
    for uid, name in names.items():
        short = re.escape(uid[:8])
        text = re.sub(rf"\S+ \({short}\)|\b{short}\b", name, text)
    return text if not text or text.startswith("waiting") else f"waiting for {text}"


class Line:
    """Shows progress: one line that updates itself on a terminal, else a line now and then."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._shown = ""
        self._at = float("-inf")

    def show(self, text: str, now: float) -> None:
        """Show ``text``; where the output is no terminal, at most every few seconds."""
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._out.write("\r\x1b[K" + text[:width])
            self._out.flush()
            self._shown = text
        elif now - self._at >= PLAIN_SECONDS and text != self._shown:
            self._out.write(text + "\n")
            self._out.flush()
            self._shown, self._at = text, now

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._out.write(("\r\x1b[K" if self._live and self._shown else "") + text + "\n")
        self._out.flush()
