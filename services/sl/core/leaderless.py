"""A round that has its quorum and no leader, though we could lead it.

The contract looks for a leader at each check-in and enrolment, and passes over nodes that are lost.
One that was silent for some seconds may check in before the chain counts it as alive again: then
nobody leads, and nothing further would happen. Repeating the check-in makes it look again.
"""

from services.common.ids import NodeId
from services.common.sn_api import ContractView, PeerState, Phase

LEADERLESS_SECONDS = 5.0
"""Before a check-in is repeated: more than a node takes to be counted as alive again, mostly."""


def is_leaderless(view: ContractView, me: NodeId) -> bool:
    """Whether we should ask the contract to look for a leader once more."""
    if view.phase is not Phase.CHECKIN or view.terms is None:
        return False
    live = [peer for peer in view.peers if peer.live]
    ready = [peer for peer in live if peer.checkin is not None]
    training = [peer for peer in live if peer.state is PeerState.TRAINING]
    fresh = not training or any(peer in ready for peer in training)
    mine = any(peer.uid == me and peer.may_lead for peer in ready)
    return mine and fresh and len(ready) >= view.terms.min_peers
