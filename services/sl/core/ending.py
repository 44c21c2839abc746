"""How long a peer waits for minPeers, and the closed peers for one that still trains.

The contract lets both waits last for ever, as HPE documents. Each SL can bound its own part:
``SL_MIN_PEERS_TIMEOUT`` ends a wait for peers that never come, and ``SL_STRAGGLER_TIMEOUT`` is how
long the others, once minPeers of them have closed, wait for our ML program. 0 is HPE's rule: the
training ends as soon as minPeers have closed. An SL whose time is over leaves the training, so that
the contract can complete it; its ML program gets the final model, with ``trainingOver``, at its
next sync.
"""

from dataclasses import dataclass

from services.common.errors import RemoteError
from services.common.ids import NO_DIGEST, Digest, NodeId
from services.common.sn_api import ContractView, PeerState, PeerView, Phase
from services.sl.core.events import Fetch, Leave, Model, Seconds

FOREVER = float("inf")


@dataclass(slots=True)
class Shortage:
    """The wait of our ML program while fewer than minPeers are there at all."""

    limit: Seconds
    """Seconds; FOREVER never ends it."""
    since: Seconds = FOREVER

    def look(self, view: ContractView, now: Seconds, *, waiting: bool) -> None:
        """Note how many there are."""
        short = waiting and view.phase is Phase.CHECKIN and _missing(view) > 0
        self.since = min(self.since, now) if short else FOREVER

    @property
    def due(self) -> Seconds:
        """When it ends."""
        return self.since + self.limit

    def check(self, view: ContractView, now: Seconds) -> None:
        """End the wait if it lasted too long.

        Raises:
            RemoteError: it did (code ``min-peers``).
        """
        if now < self.due:
            return
        assert view.terms is not None
        wanted = view.terms.min_peers
        raise RemoteError(
            f"only {wanted - _missing(view)} of {wanted} peers (minPeers) were there for "
            f"{self.limit:g} s (SL_MIN_PEERS_TIMEOUT): no round can be merged",
            "min-peers",
        )


@dataclass(slots=True)
class Straggler:
    """The wait of the closed peers for us, while our ML program still trains."""

    me: NodeId
    limit: Seconds
    """Seconds; FOREVER never ends it."""
    since: Seconds = FOREVER
    """When minPeers had closed."""
    fetched: Digest = NO_DIGEST
    """The merged model that we tried to get into our store before our ML program asks for it."""

    def look(self, view: ContractView, now: Seconds) -> None:
        """Note how many have closed."""
        closed = sum(p.live and p.state is not PeerState.TRAINING for p in view.peers)
        enough = view.terms is not None and view.merged and closed >= view.terms.min_peers
        self.since = min(self.since, now) if enough else FOREVER

    @property
    def due(self) -> Seconds:
        """When it ends."""
        return self.since + self.limit

    def is_over(self, view: ContractView, now: Seconds) -> bool:
        """Whether the training goes on, but without us; a round that we are part of ends first."""
        mine = self._mine(view)
        if now < self.due or mine is None:
            return False
        return view.phase is Phase.CHECKIN or (not mine.live and view.phase is not Phase.COMPLETED)

    def fetch(self, view: ContractView, installed: Digest) -> Fetch | None:
        """Get the merged model while those who have it are still there."""
        merged = view.merged
        if merged is None or merged.digest in (installed, self.fetched):
            return None
        model = Model(Digest(merged.digest), merged.size)
        return Fetch(merged.round, model, sources(view, self.me))

    def leave(self, view: ContractView) -> Leave | None:
        """Let the others end."""
        mine = self._mine(view)
        if mine is None or not mine.live or view.phase is not Phase.CHECKIN:
            return None
        assert view.terms is not None
        text = f"{view.terms.min_peers} peers (minPeers) have finished and waited {self.limit:g} s"
        return Leave(view.round, f"{text} for this one (SL_STRAGGLER_TIMEOUT)")

    def _mine(self, view: ContractView) -> PeerView | None:
        return next((p for p in view.peers if p.uid == self.me), None)


def sources(view: ContractView, me: NodeId) -> tuple[str, ...]:
    """File servers of the others, those first that have the merged model most likely."""
    leader = view.merged.leader if view.merged else ""
    others = [p for p in view.peers if p.uid != me]
    others.sort(key=lambda p: (not p.live, p.uid != leader))
    return tuple(dict.fromkeys(p.endpoint for p in others))


def _missing(view: ContractView) -> int:
    wanted = view.terms.min_peers if view.terms else 0
    return max(0, wanted - sum(p.live for p in view.peers))
