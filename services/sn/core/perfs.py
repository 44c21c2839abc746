"""How good each merged model was at each peer: what comes with the check-ins to the next round.

A round's record is open until the next round is published; the last one's until the contract is
reset. What a peer says later of an older round is on the ledger and not in here, so that a record
follows from the events between two publishes alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common import sn_api as api
from services.common.ids import NodeId
from services.sn.core import ledger

KEPT_PERFS = 200
"""Records of the present generation that stay in memory; 32 peers take about 3 MB."""


@dataclass(slots=True)
class Measured:
    """What peers measured of one merged model."""

    round: int = 0
    """Its round; 0: there is none yet."""
    peers: dict[NodeId, api.Perf] = field(default_factory=dict)
    """The latest of each peer."""

    def apply(self, event: ledger.TrainingEvent) -> "Measured | None":
        """Advance by one event of the contract; what it ends, where it is followed by another."""
        match event:
            case ledger.CheckedIn():
                if event.perf is not None and event.round > 1:
                    self.round = event.round - 1  # says so where the publish was not read
                    self.peers[event.peer] = event.perf
            case ledger.PerfReported():
                if event.round == self.round:
                    self.peers[event.peer] = event.perf
            case ledger.Published():
                return self._next(event.round)
            case ledger.Reset():
                return self._next(0)
            case _:
                pass
        return None

    def _next(self, number: int) -> "Measured | None":
        ended = Measured(self.round, self.peers) if self.round else None
        self.round, self.peers = number, {}
        return ended

    def record(self) -> api.PerfRecord:
        """The same for readers."""
        measured = [api.PeerPerf(peer=uid, perf=perf) for uid, perf in sorted(self.peers.items())]
        return api.PerfRecord(round=self.round, peers=measured)


@dataclass(slots=True)
class Perfs:
    """What is kept of the present generation."""

    latest: list[Measured] = field(default_factory=list)
    """The newest :data:`KEPT_PERFS` that are not open any more."""
    open: Measured = field(default_factory=Measured)

    def apply(self, event: ledger.TrainingEvent) -> None:
        """Advance by one event of the contract, in chain order."""
        ended = self.open.apply(event)
        if isinstance(event, ledger.Reset):
            self.latest = []
        elif ended is not None:
            self.latest.append(ended)
            del self.latest[:-KEPT_PERFS]

    def in_memory(self, first: int) -> list[api.PerfRecord]:
        """The records of rounds from ``first`` on, or from the first one that is here."""
        kept = [*self.latest, self.open] if self.open.round else self.latest
        return [measured.record() for measured in kept if measured.round >= first]


def perf_records(
    found: Iterable[ledger.TrainingEvent], generation: int, first: int, last: int
) -> list[api.PerfRecord]:
    """The records of rounds ``first`` to ``last``, from all events of one contract around them.

    Args:
        found: in chain order, from before the publish of round ``first`` to the publish of the
            round after ``last`` or the contract's reset; others do not matter.
        generation: of these rounds.
        first: number of the first round.
        last: of the last one.
    """
    measured = Measured()
    ended = [measured.apply(event) for event in found if event.generation == generation]
    return [each.record() for each in ended if each is not None and first <= each.round <= last]
