"""What the API answers about a training contract, made from the two folds."""

from services.common import sn_api as api
from services.sn.core.nodes import Nodes
from services.sn.core.training import Peer, Training


def cursor_of(training: Training, nodes: Nodes) -> str:
    """Names what :func:`view_of` shows: another string whenever that may differ."""
    revision = max((nodes.revision_of(uid) for uid in training.peers), default=0)
    return f"{training.cursor}-{revision}"


def view_of(training: Training, nodes: Nodes, quorum_age_s: float | None) -> api.ContractView:
    """A contract as its peers and operators see it.

    Args:
        training: the contract.
        nodes: for the peers' addresses.
        quorum_age_s: seconds since the present leader was elected; None without one.
    """
    return api.ContractView(
        name=training.name, generation=training.generation, phase=training.phase,
        round=training.round, term=training.term, leader=training.leader, terms=training.terms,
        peers=[_peer_view(training.peers[uid], nodes) for uid in sorted(training.peers)],
        merged=training.merged, quorum_age_s=quorum_age_s,
        waiting_for=waiting_for(training, nodes), proposal=training.proposal,
    )  # fmt: skip


def summary_of(training: Training) -> api.ContractSummary:
    """A row of the list of contracts."""
    return api.ContractSummary(
        name=training.name, address=training.address, created=training.created,
        phase=training.phase, round=training.round,
        min_peers=training.terms.min_peers if training.terms else 0, peers=len(training.peers),
        completed_peers=sum(peer.closed for peer in training.peers.values()),
    )  # fmt: skip


def waiting_for(training: Training, nodes: Nodes) -> str:
    """What the contract waits for, in words; empty once it is completed."""
    match training.phase:
        case api.Phase.UNINITIALIZED:
            return "waiting for the first peer to enrol"
        case api.Phase.CHECKIN:
            return _missing_for_quorum(training)
        case api.Phase.QUORUM:
            return _missing_for_close(training, nodes)
        case api.Phase.MERGING if training.proposal is not None:
            return _missing_for_verdict(training, training.proposal, nodes)
        case api.Phase.MERGING:
            models = sum(p.participant and not p.dropped for p in training.peers.values())
            return (
                f"waiting for leader {name_of(training.leader, nodes)} to publish the merge of "
                f"{models} models"
            )
        case api.Phase.COMPLETED:
            return ""


def _missing_for_quorum(training: Training) -> str:
    """Names the first condition of a quorum that does not hold."""
    assert training.terms is not None, "a phase other than UNINITIALIZED without terms"
    wanted = training.terms.min_peers
    ready = [p for p in training.peers.values() if p.live and p.checkin is not None]
    checked_in = f"{len(ready)} of {wanted} checked in"
    missing = wanted - len(ready)
    if missing > 0:
        return f"waiting for {missing} more peer{'s' if missing > 1 else ''} ({checked_in})"
    if not any(peer.is_fresh(training.round) for peer in ready):
        return f"waiting for a peer that still trains ({checked_in}, all of them closed)"
    if not any(peer.may_lead and not peer.exposed for peer in ready):
        exposed = ", or exposed" if any(peer.exposed for peer in ready) else ""
        return (
            f"waiting for a peer that may lead ({checked_in}, none with SL_MAKE_ME_ADMIN{exposed})"
        )
    return f"waiting for the next check-in ({checked_in})"


def _missing_for_verdict(training: Training, proposal: api.Proposal, nodes: Nodes) -> str:
    """Names the merge and how many attested it; who got something else, where somebody did."""
    assert training.terms is not None, "a merge without terms"
    got, wanted = len(proposal.attested), training.terms.attestations
    words = f"attestations {got}/{wanted} for the merge by {name_of(training.leader, nodes)}"
    if proposal.disputed:
        others = ", ".join(name_of(item.peer, nodes) for item in proposal.disputed)
        words += f" (another result than the leader's: {others})"
    return f"waiting for {words}"


def _missing_for_close(training: Training, nodes: Nodes) -> str:
    """Names the peers that have not checked in; where all did, the leader."""
    leader = name_of(training.leader, nodes)
    live = [peer for peer in training.peers.values() if peer.live]
    missing = sorted(name_of(peer.uid, nodes) for peer in live if peer.checkin is None)
    ready = len(live) - len(missing)
    if not missing:
        return (
            f"waiting for leader {leader} to close the round "
            f"({ready} of {len(live)} live peers checked in)"
        )
    return (
        f"waiting for {', '.join(missing)} to check in ({ready} of {len(live)} live peers did); "
        f"leader {leader} closes the round without them when its "
        "SL_WAIT_FOR_FULL_QUORUM_SECONDS are over"
    )


def name_of(uid: str, nodes: Nodes) -> str:
    """What a person calls a node: its container and the start of its uid."""
    node = nodes.get(uid)
    return f"{node.container} ({uid[:8]})" if node and node.container else uid[:8]


def _peer_view(peer: Peer, nodes: Nodes) -> api.PeerView:
    node = nodes.get(peer.uid)
    return api.PeerView(
        uid=peer.uid, endpoint=node.endpoint if node else "",
        fingerprint=node.fingerprint if node else "", container=node.container if node else "",
        live=peer.live, may_lead=peer.may_lead and not peer.exposed, state=peer.state,
        checkin=peer.checkin, participant=peer.participant, dropped=peer.dropped, perf=peer.perf,
        perf_round=peer.perf_round, rounds=peer.rounds, left=peer.left, exposed=peer.exposed,
    )  # fmt: skip
