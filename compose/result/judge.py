"""Whether a run is over, and whether it succeeded; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.common.sn_api import ContractView, PeerView, Phase

FIRST_SIGN = 300.0
"""Seconds within which an ML program must have begun."""
AFTER_END = 300.0
"""Seconds that programs have to end after the training is complete."""
NO_SN = 180.0
"""Seconds without any SN after which a run has failed."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a pair's ML program is known to be (``ml_program.py``)."""

    state: str
    """``waits``, ``runs``, ``done``, ``failed`` or ``stopped``."""
    attempt: int = 1
    attempts: int = 1
    reason: str = ""
    digest: str = ""
    """Of the final model, as it computed it."""
    alive: bool = True
    """Whether its container runs."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One SL and its ML program."""

    index: int
    program: Program | None = None
    """None before it began."""
    peer: PeerView | None = None
    """What the ledger says; None before it enrolled."""
    sl_reason: str = ""
    """Why the SL says that it ended early."""
    numbers: dict[str, float] = field(default_factory=dict)
    """``alone`` and ``swarm``: accuracy."""
    holds: str = ""
    """What data it has, in words."""

    @property
    def name(self) -> str:
        """What to call it."""
        return f"pair {self.index}"

    @property
    def done(self) -> bool:
        """Whether its program ended well, with a final model."""
        return self.program is not None and self.program.state == "done"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run must come to."""

    min_peers: int
    timeout: float
    """Seconds for the whole of it; 0: no limit."""


@dataclass(frozen=True, slots=True)
class Sight:
    """All that is known at one moment; times in seconds."""

    pairs: Sequence[Pair]
    view: ContractView | None
    elapsed: float
    completed_for: float = 0.0
    """Since the training was complete."""
    silent_for: float = 0.0
    """Since an SN answered."""

    @property
    def completed(self) -> bool:
        """Whether the training is over."""
        return self.view is not None and self.view.phase is Phase.COMPLETED

    @property
    def digest(self) -> str:
        """Of the latest merged model; empty without one."""
        return self.view.merged.digest if self.view and self.view.merged else ""

    @property
    def rounds(self) -> int:
        """How many rounds were merged."""
        return self.view.merged.round if self.view and self.view.merged else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a run."""

    exit_code: int
    reason: str = ""
    """Why it failed."""


def why_out(pair: Pair, elapsed: float) -> str:
    """Why a pair cannot finish any more; empty where it can, or did."""
    program = pair.program
    if program is None:
        return f"its ML program did not begin in {elapsed:.0f} s" if elapsed > FIRST_SIGN else ""
    if program.state == "failed":
        tries = f" ({program.attempt} attempts)" if program.attempt > 1 else ""
        return f"its ML program {program.reason}{tries}"
    if program.state == "stopped":
        return "its ML program was stopped"
    if program.state != "done" and not program.alive:
        return "its ML container was killed"
    return ""


def why_lost(pair: Pair) -> str:
    """Why a pair is not part of the training now; empty where it is, or never was."""
    peer = pair.peer
    if peer is None or peer.live:
        return ""
    words = {"lost": "its SL does not answer (lost)"}.get(peer.left, peer.left)
    return words or "left"


def verdict(sight: Sight, terms: Terms) -> Verdict | None:
    """How the run ended; None while it goes on."""
    if sight.completed:
        return _of_completed(sight, terms)
    able = [pair for pair in sight.pairs if not why_out(pair, sight.elapsed)]
    if len(able) < terms.min_peers:
        return Verdict(
            1,
            f"only {len(able)} of {len(sight.pairs)} pairs can still finish, and minPeers is "
            f"{terms.min_peers}",
        )
    if sight.silent_for > NO_SN:
        return Verdict(1, f"no SN answers for {sight.silent_for:.0f} s")
    if terms.timeout and sight.elapsed > terms.timeout:
        return Verdict(
            1, f"not over after {terms.timeout:.0f} s (SWARM_TIMEOUT); {_waiting(sight)}"
        )
    return None


def _waiting(sight: Sight) -> str:
    if sight.view is None:
        return "no SN answered"
    return f"the training waits: {sight.view.waiting_for or 'nobody said for what'}"


def _of_completed(sight: Sight, terms: Terms) -> Verdict | None:
    """Of a training that is over: once everybody who was there to the end has ended."""
    pending = [
        pair for pair in sight.pairs
        if not pair.done and pair.peer is not None and pair.peer.live
        and not why_out(pair, sight.elapsed)
    ]  # fmt: skip
    done = [pair for pair in sight.pairs if pair.done]
    if pending and sight.completed_for <= AFTER_END:
        return None
    different = [pair.name for pair in done if not same_model(pair, sight.digest)]
    if different:
        return Verdict(1, f"DIFFERENT models: {', '.join(different)}")
    if len(done) < terms.min_peers:
        return Verdict(
            1,
            f"{len(done)} of {len(sight.pairs)} pairs finished, and minPeers is {terms.min_peers}",
        )
    return Verdict(0)


def same_model(pair: Pair, digest: str) -> bool:
    """Whether a pair's program ended with the model that the ledger has."""
    return pair.program is not None and bool(digest) and pair.program.digest == digest
