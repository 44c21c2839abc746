"""Who may read our model files, and who may leave a copy with us."""

from services.common.ids import Digest
from services.common.sn_api import ContractView
from services.common.tls import PeerCertificate

COPIES = 4
"""Most models that the leader of a term may leave with us; it merges again where an input fails."""


class Members:
    """The peers of our training contract, by certificate, as the last view showed them."""

    def __init__(self) -> None:
        self._fingerprints: frozenset[str] = frozenset()
        self._leader = ""
        self._largest = 0
        self.copied: set[Digest] = set()
        """Merged models that leaders left with us, the last two."""
        self._order: list[Digest] = []
        self._term = (0, 0, 0)
        self._brought: set[Digest] = set()
        """What the leader of this term brought."""

    def update(self, view: ContractView) -> None:
        """Take over the present members."""
        term = (view.generation, view.round, view.term)
        if term != self._term:
            self._term, self._brought = term, set()
        self._fingerprints = frozenset(p.fingerprint for p in view.peers)
        self._leader = next((p.fingerprint for p in view.peers if p.uid == view.leader), "")
        self._largest = max((p.checkin.size for p in view.peers if p.checkin), default=0)

    def may_read(self, certificate: PeerCertificate) -> bool:
        """Whether it is a peer enrolled in the same contract."""
        return certificate.fingerprint in self._fingerprints

    def may_copy(self, certificate: PeerCertificate, digest: Digest, size: int) -> bool:
        """Whether it leads the present round and brings a model no larger than those checked in.

        A few in a term: files that are copies stay until the next round, and the disk is not the
        leader's.
        """
        if not self._leader or certificate.fingerprint != self._leader or size > self._largest:
            return False
        if len(self._brought | {digest}) > COPIES:
            return False
        self._brought.add(digest)
        self._order = [*(known for known in self._order if known != digest), digest][-2:]
        self.copied = set(self._order)
        return True
