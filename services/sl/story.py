"""The story of a training in log lines: what the contract's view shows, and what is waited for."""

import logging

from services.common import logs
from services.common import sn_api as api
from services.common.ids import NodeId

log = logging.getLogger("swarm.startSL")

WAIT_SAID = 3.0
"""Seconds of a wait for a quorum before a line tells of it; most are over sooner."""
WAIT_SAID_AGAIN = 60.0


class Story:
    """Turns changes of a contract's view, and waits that last, into log lines.

    Args:
        me: our node id.
    """

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._told: tuple[object, ...] = ()
        self._exposed: set[str] = set()
        self._view: api.ContractView | None = None
        self._next_word: float | None = None

    def tell(self, view: api.ContractView, now: float) -> None:
        """Take a new view."""
        self._view = view
        if not self._waits(view):
            self._next_word = None
        elif self._next_word is None:
            self._next_word = now + WAIT_SAID
        logs.bind(round=f"r{view.round}")
        proposed = view.proposal.digest if view.proposal else ""
        chapter = (view.round, view.term, view.phase, proposed)
        if chapter == self._told:
            return
        self._told = chapter
        self._tell_exposed(view)
        if view.phase is api.Phase.QUORUM:
            log.info("quorum reached, peer %.8s leads (term %d)", view.leader, view.term)
        elif view.proposal is not None and view.terms is not None:
            log.info("peer %.8s published model %.12s, %d others must get the same",
                     view.leader, proposed, view.terms.attestations)  # fmt: skip
        elif view.phase is api.Phase.MERGING:
            count = sum(p.participant for p in view.peers)
            log.info("round closed, peer %.8s merges %d models", view.leader, count)
        elif view.phase is api.Phase.COMPLETED:
            log.info("all peers finished, the training is complete")

    def _tell_exposed(self, view: api.ContractView) -> None:
        for peer in view.peers:
            if peer.exposed and peer.uid not in self._exposed:
                self._exposed.add(peer.uid)
                log.warning("peer %.8s is exposed: as a leader it published another merge than "
                            "others got; it leads no more", peer.uid)  # fmt: skip

    def remind(self, now: float) -> None:
        """Say what we wait for, soon after the wait began and then every minute."""
        if self._view is None or self._next_word is None or now < self._next_word:
            return
        self._next_word = now + WAIT_SAID_AGAIN
        logs.bind(round=f"r{self._view.round}")
        log.info("%s", waiting_words(self._view))

    def _waits(self, view: api.ContractView) -> bool:
        """Whether our ML program waits for peers that have not checked in."""
        mine = next((p for p in view.peers if p.uid == self._me), None)
        return view.phase is api.Phase.CHECKIN and mine is not None and mine.checkin is not None


def waiting_words(view: api.ContractView) -> str:
    """Who is missing for a quorum, for people."""
    wanted = view.terms.min_peers if view.terms else 0
    live = [p for p in view.peers if p.live]
    ready = sum(p.checkin is not None for p in live)
    words = [f"WAITING {ready}/{wanted}: {view.waiting_for or 'waiting for a quorum'}"]
    if training := [_name(p) for p in live if p.checkin is None]:
        words.append(f"not checked in yet: {', '.join(training)}")
    if gone := [f"{_name(p)} ({p.left or 'gone'})" for p in view.peers if not p.live]:
        words.append(f"no longer there: {', '.join(gone)}")
    if len(view.peers) < wanted:
        words.append(f"never enrolled: {wanted - len(view.peers)} more")
    return "; ".join(words)


def _name(peer: api.PeerView) -> str:
    return f"{peer.container} ({peer.uid[:8]})" if peer.container else peer.uid[:8]
