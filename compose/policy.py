"""Whether a run goes on, is finished, or must be stopped. Pure.

A pair survives until its SL or its ML program fails. The swarm survives the loss of pairs for as
long as ``min_peers`` are left, because rounds can still be merged; with fewer, all would wait for
ever, so the run ends with words instead, unless the user waits for lost nodes to return.

The chain goes on while a majority of the SNs runs; with two, while the sentinel does. Without, it
waits, and so do we for a while: an SN that is brought back goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ML_GRACE = 60.0
"""Seconds that an ML program may take to end by itself once its SL is gone: it may evaluate and
save the final model, and a Python with large frameworks takes seconds to exit."""
SL_GRACE = 60.0
"""Seconds that an SL may take to end by itself once its ML program is gone: it serves the final
model to the others first."""
ENROL_GRACE = 3.0
"""The same where the ML program never connected: there is nothing to finish."""
CONNECT_GRACE = 20.0
"""Seconds that an ML program may still take to connect once the training is over."""


UNCONNECTED = (
    "ended without connecting to its SL: the program must create a SwarmCallback (from "
    "swarmlearning.pyt) and call on_train_begin, on_batch_end, on_epoch_end and on_train_end"
)
"""What to tell the user whose program never met its SL."""


TOO_LATE = "did not connect to its SL, and the training of the others is over"
"""What to tell the user whose program came too late, or not at all."""


SN_PATIENCE = 120.0
"""Seconds that a run of several SNs waits for one to return once the chain cannot go on."""


class Next(StrEnum):
    """What to do."""

    GO_ON = "go on"
    FINISHED = "finished"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Half:
    """An SL or an ML program of a pair."""

    exit_code: int | None
    """None while it runs."""
    ended_ago: float = 0.0
    """Seconds since it ended."""

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""
        return bool(self.exit_code)

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Pair:
    """One organisation's SL and ML program."""

    index: int
    sl: Half
    ml: Half
    enrolled: bool
    """Whether its SL ever enrolled, i.e. its ML program connected."""
    unconnected: bool = False
    """Whether we found that its ML program ended without connecting."""

    @property
    def failed(self) -> bool:
        """Whether the pair is lost to the swarm."""
        return self.sl.failed or self.ml.failed or self.unconnected


@dataclass(frozen=True, slots=True)
class Sns:
    """The SNs of a run."""

    names: tuple[str, ...]
    """All, the sentinel first."""
    gone: tuple[str, ...] = ()
    """Those that do not run."""
    ends: str = ""
    """How they ended, e.g. ``sn-2 ended (killed by SIGKILL)``."""
    short_for: float = 0.0
    """Seconds for which too few have run, as seen."""
    patience: float = SN_PATIENCE
    """Seconds after which that ends the run; may be infinite."""

    @property
    def enough(self) -> bool:
        """Whether those that run can agree on a block."""
        if len(self.names) == 2:
            return self.names[0] not in self.gone
        return 2 * len(self.gone) < len(self.names)

    @property
    def count(self) -> str:
        """How many run, in words."""
        return f"{len(self.names) - len(self.gone)} of {len(self.names)} SNs run"

    @property
    def waiting(self) -> str:
        """What the chain waits for, in words; empty where it goes on, or never will."""
        if self.enough or len(self.names) == 1:
            return ""
        if len(self.names) == 2:
            return f"the chain waits for {self.names[0]}, without which two SNs decide nothing"
        return f"the chain waits: {self.count} and it needs {len(self.names) // 2 + 1}"

    @property
    def hopeless(self) -> str:
        """Why the run must end; empty while it need not. A single SN is not waited for."""
        if self.enough:
            return ""
        if len(self.names) == 1:
            return self.ends
        if self.short_for < self.patience:
            return ""
        return f"{self.waiting}, and none returned in {self.patience:.0f} s; {self.ends}"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A node to stop, because its other half is gone."""

    name: str
    why: str
    culprit: str
    """Which node failed by that; empty where the other half's own failure says it all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why."""

    next: Next
    reason: str = ""
    orphans: tuple[Orphan, ...] = ()


def judge(
    pairs: Sequence[Pair], min_peers: int, *, completed: bool, wait_for_return: bool,
    sns: Sns, completed_ago: float = 0.0, others_running: bool = False,
) -> Verdict:  # fmt: skip
    """Judge the state of a run.

    Args:
        pairs: all pairs of the run.
        min_peers: how many a round needs.
        completed: whether the training contract is completed: no further round comes.
        wait_for_return: go on waiting below ``min_peers``.
        sns: the SNs.
        completed_ago: for how many seconds it has been.
        others_running: whether anything beside the pairs must end first.
    """
    running = [pair for pair in pairs if _running(pair)]
    if not running and not others_running:
        return Verdict(Next.FINISHED)
    waiting_sls = [pair for pair in pairs if pair.sl.exit_code is None]
    if sns.hopeless and waiting_sls:
        return Verdict(Next.STOP, sns.hopeless)
    if waiting_sls and not completed:
        short = _too_few(pairs, min_peers, wait_for_return)
        if short:
            return Verdict(Next.STOP, short)
    late = _too_late(running) if completed and completed_ago > CONNECT_GRACE else []
    return Verdict(Next.GO_ON, orphans=(*_orphans(running), *late))


def _too_few(pairs: Sequence[Pair], min_peers: int, wait_for_return: bool) -> str:
    """Why no further round can be merged; empty where one can."""
    if min_peers > len(pairs):
        return (
            f"the programs ask for minPeers={min_peers}, but --nodes is {len(pairs)}: no round can "
            "be merged. Take minPeers from the environment variable MIN_PEERS"
        )
    left = [pair for pair in pairs if not pair.failed]
    if len(left) >= min_peers or wait_for_return:
        return ""
    names = ", ".join(str(pair.index) for pair in pairs if pair.failed)
    return (
        f"only {len(left)} of {len(pairs)} nodes are left (failed: {names}) and every round "
        f"needs {min_peers} (minPeers): no further round can be merged"
    )


def _too_late(pairs: Sequence[Pair]) -> list[Orphan]:
    """Both halves of the pairs that never connected, for a training that is over."""
    return [
        orphan
        for pair in pairs
        if not pair.enrolled and pair.sl.exit_code is None and pair.ml.exit_code is None
        for orphan in (
            Orphan(f"ml-{pair.index}", TOO_LATE, f"ml-{pair.index}"),
            Orphan(f"sl-{pair.index}", TOO_LATE, ""),
        )
    ]


def _running(pair: Pair) -> bool:
    return pair.sl.exit_code is None or pair.ml.exit_code is None


def _orphans(pairs: Sequence[Pair]) -> list[Orphan]:
    """Halves that outlived their other half for too long."""
    found: list[Orphan] = []
    for pair in pairs:
        sl, ml = f"sl-{pair.index}", f"ml-{pair.index}"
        if pair.sl.exit_code is not None and pair.sl.ended_ago > _ml_grace(pair):
            found.append(Orphan(ml, f"{sl} is gone, and it did not end", ml if pair.sl.ok else ""))
        elif pair.ml.ok and not pair.enrolled and pair.ml.ended_ago > ENROL_GRACE:
            found.append(Orphan(sl, UNCONNECTED, ml))
        elif pair.ml.exit_code is not None and pair.ml.ended_ago > _sl_grace(pair):
            found.append(Orphan(sl, f"{ml} is gone, and it did not end", sl if pair.ml.ok else ""))
    return found


def _ml_grace(pair: Pair) -> float:
    return ML_GRACE if pair.enrolled else ENROL_GRACE


def _sl_grace(pair: Pair) -> float:
    return SL_GRACE if pair.enrolled else ENROL_GRACE
