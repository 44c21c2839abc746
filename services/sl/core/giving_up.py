"""A leader whose merges fail, for instance on a full disk, makes room for another.

The contract knows no resignation: the leader leaves the training, which elects another, and is back
by its next check-in: to the same round, if that is still open, or to the next one. It stays where
that would gain nothing, or would end the training: where no other participant that still trains may
lead.
"""

from dataclasses import dataclass

from services.common.ids import NodeId
from services.common.sn_api import ContractView, PeerState
from services.sl.core.events import Failed, Leave, Merge

MERGE_TRIES = 3
"""Merges of a term that may fail; one more in each further term of a round, so that leaders who all
fail alternate ever more slowly, as pauses grow (Our choice)."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The failed merges of a term that we lead."""

    round: int = 0
    term: int = 0
    times: int = 0
    reason: str = ""
    """Of the last one."""

    def after(self, event: Failed) -> "Trouble":
        """The same with what failed now."""
        command = event.command
        if not isinstance(command, Merge):
            return self
        before = self.times if (self.round, self.term) == (command.round, command.term) else 0
        return Trouble(command.round, command.term, before + 1, event.reason)

    def leave(self, view: ContractView, me: NodeId) -> Leave | None:
        """Make room, if it is time and another can lead."""
        if (self.round, self.term) != (view.round, view.term):
            return None
        if self.times < MERGE_TRIES + view.term or not _another_can_lead(view, me):
            return None
        return Leave(view.round, f"could not merge as leader: {self.reason}")


def _another_can_lead(view: ContractView, me: NodeId) -> bool:
    return any(
        p.live and p.may_lead and p.participant and p.state is PeerState.TRAINING
        for p in view.peers
        if p.uid != me
    )
