"""What an open round's merge consists of, as every participant reads it from the same view.

The leader makes this merge, and others make it once more to attest it; whose turn that is, is said
here, too. Nothing of it depends on who asks.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

from services.common.ids import Digest, NodeId
from services.common.sn_api import ContractView, Merged, PeerView, Proposal
from services.sl.core.events import Input, Merge, Model, Seconds

PATIENCE_SECONDS = 15.0
PATIENCE_BYTES_PER_SECOND = 32 * 1024 * 1024
"""How long the next participants leave attesting to those before them: the seconds, and the time
that all inputs take at this rate (Our choice)."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What becomes of a frozen round's models."""

    contributors: tuple[NodeId, ...]
    """Sorted; those of weightage 0 included."""
    merge: Merge | Model
    """A model where nothing is to be computed: nobody weighs anything, so the last one stays."""


def plan_of(view: ContractView) -> MergePlan:
    """The merge of a round in MERGING."""
    assert view.terms is not None
    inputs = tuple(
        Input(
            NodeId(p.uid),
            p.endpoint,
            Model(Digest(p.checkin.digest), p.checkin.size),
            p.checkin.weightage,
        )
        for p in participants_of(view)
        if p.checkin is not None
    )
    contributors = tuple(i.peer for i in inputs)
    weighted = tuple(i for i in inputs if i.weightage > 0)
    base = merged_model(view.merged) if view.merged else None
    if not weighted and base is not None:
        return MergePlan(contributors, base)
    weighted = weighted or tuple(replace(i, weightage=1) for i in inputs)
    merge = Merge(view.round, view.term, view.terms.merge_method, weighted, base)
    return MergePlan(contributors, merge)


def participants_of(view: ContractView) -> list[PeerView]:
    """Whose models are merged, sorted by uid."""
    return [p for p in view.peers if p.participant and not p.dropped]


def merged_model(merged: Merged) -> Model:
    """The file of a published merge."""
    return Model(Digest(merged.digest), merged.size)


# --- attesting


def is_asked(view: ContractView, proposal: Proposal, me: NodeId) -> bool:
    """Whether a peer may still attest the leader's merge: it contributed, and has not said yet."""
    said = {*proposal.attested, *(dispute.peer for dispute in proposal.disputed)}
    return me != view.leader and me not in said and me in {p.uid for p in participants_of(view)}


def patience_of(view: ContractView, proposal: Proposal, me: NodeId) -> Seconds:
    """How long after the proposal a peer that is asked begins to make the merge.

    By lot of round and term, so many as the terms ask for begin at once, one more for each that
    got another result than the leader, and as many again after each wait.
    """
    assert view.terms is not None
    asked = [p for p in participants_of(view) if p.uid != view.leader and (p.live or p.uid == me)]
    asked.sort(key=lambda p: _lot(p.uid, view))
    place = [p.uid for p in asked].index(me)
    late = place - view.terms.attestations - len(proposal.disputed)
    if late < 0:
        return 0.0
    size = sum(p.checkin.size for p in asked if p.checkin is not None)
    wait = PATIENCE_SECONDS + size / PATIENCE_BYTES_PER_SECOND
    return wait * (late // max(view.terms.attestations, 1) + 1)


def sources_of(view: ContractView, proposal: Proposal, me: NodeId) -> tuple[str, ...]:
    """Who has all inputs of the leader's merge: the leader, and who made it once more."""
    uids = [view.leader, *proposal.attested, *(dispute.peer for dispute in proposal.disputed)]
    endpoints = {p.uid: p.endpoint for p in view.peers}
    return tuple(dict.fromkeys(endpoints[uid] for uid in uids if uid != me))


def _lot(uid: str, view: ContractView) -> str:
    return sha256(f"{view.generation} {view.round} {view.term} {uid}".encode()).hexdigest()
