"""Who may read our model files, and who may leave a copy with us."""

from services.common.ids import Digest
from services.common.sn_api import ContractView
from services.common.tls import PeerCertificate


class Members:
    """The peers of our training contract, by certificate, as the last view showed them."""

    def __init__(self) -> None:
        self._fingerprints: frozenset[str] = frozenset()
        self._leader = ""
        self._largest = 0
        self.copied: set[Digest] = set()
        """Merged models that leaders left with us, the last two."""
        self._order: list[Digest] = []

    def update(self, view: ContractView) -> None:
        """Take over the present members."""
        self._fingerprints = frozenset(p.fingerprint for p in view.peers)
        self._leader = next((p.fingerprint for p in view.peers if p.uid == view.leader), "")
        self._largest = max((p.checkin.size for p in view.peers if p.checkin), default=0)

    def may_read(self, certificate: PeerCertificate) -> bool:
        """Whether it is a peer enrolled in the same contract."""
        return certificate.fingerprint in self._fingerprints

    def may_copy(self, certificate: PeerCertificate, digest: Digest, size: int) -> bool:
        """Whether it leads the present round and brings a model no larger than those checked in."""
        if not self._leader or certificate.fingerprint != self._leader or size > self._largest:
            return False
        self._order = [*self._order, digest][-2:]
        self.copied = set(self._order)
        return True
