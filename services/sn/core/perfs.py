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
class OpenPerf:
    """What the events so far say of the latest merged model."""

    round: int = 0
    """Its round; 0: there is none yet."""
    peers: dict[NodeId, api.Perf] = field(default_factory=dict)
    """The latest of each peer."""

    def apply(self, event: ledger.TrainingEvent) -> api.PerfRecord | None:
        """Advance by one event of the contract; the record that it ends."""
        ended = None
        match event:
            case ledger.CheckedIn():
                if event.perf is not None and event.round > 1:
                    self.round = event.round - 1  # says so where the publish was not read
                    self.peers[event.peer] = event.perf
            case ledger.PerfReported():
                if event.round == self.round:
                    self.peers[event.peer] = event.perf
            case ledger.Published():
                ended = self.record()
                self.round, self.peers = event.round, {}
            case ledger.Reset():
                ended = self.record()
                self.round, self.peers = 0, {}
            case _:
                pass
        return ended

    def record(self) -> api.PerfRecord | None:
        """The record as it stands; None without a merged model."""
        if not self.round:
            return None
        measured = [api.PeerPerf(peer=uid, perf=perf) for uid, perf in sorted(self.peers.items())]
        return api.PerfRecord(round=self.round, peers=measured)


@dataclass(slots=True)
class Perfs:
    """What is kept of the present generation."""

    latest: list[api.PerfRecord] = field(default_factory=list)
    """The newest :data:`KEPT_PERFS` that are not open any more."""
    open: OpenPerf = field(default_factory=OpenPerf)

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
        opened = self.open.record()
        kept = [*self.latest, *([opened] if opened is not None else [])]
        return [record for record in kept if record.round >= first]


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
    open_perf = OpenPerf()
    ended = [open_perf.apply(event) for event in found if event.generation == generation]
    return [record for record in ended if record is not None and first <= record.round <= last]
