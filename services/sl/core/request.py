"""What the ML program waits for, and what is checked in for it."""

from dataclasses import dataclass

from services.common.ids import NodeId
from services.common.sn_api import PeerState, PeerView, Perf
from services.sl.core.events import CheckIn, Merge, Model


@dataclass(frozen=True, slots=True)
class Request:
    """A sync or closing request of the ML program that was not answered yet."""

    seq: int
    model: Model
    weightage: int
    state: PeerState
    base_round: int
    """The merged model that its ML program had when it asked, by round."""

    @property
    def closing(self) -> bool:
        """Whether it is the last one."""
        return self.state is not PeerState.TRAINING

    def is_in(self, merge: Merge, me: NodeId) -> bool:
        """Whether a merge has its model, and not one of an earlier process under our uid."""
        return any(i.peer == me and i.model == self.model for i in merge.inputs)

    def check_in(self, round_: int, base: Model, base_round: int, perf: Perf | None) -> CheckIn:
        """The check-in that it asks for.

        Args:
            round_: the open round.
            base: the merged model that the ML program has now.
            base_round: its round; 0: there is none yet.
            perf: of that model, if it was not reported yet.
        """
        model, weightage = self.model, self.weightage
        if self.state is PeerState.ACTIVE and base_round > 0:
            model = base
        if self.state is PeerState.INACTIVE:
            weightage = 0
        return CheckIn(round_, base.digest, model, weightage, self.state, perf)


def shows(peer: PeerView, ours: CheckIn) -> bool:
    """Whether a peer's check-in is ours, and not one of an earlier process under the same uid."""
    return peer.checkin is not None and peer.checkin.digest == ours.model.digest
