"""Who may read our model files, and who may leave a copy with us."""

from statistics import multimode

from services.common.ids import Digest
from services.common.sn_api import ContractView
from services.common.tls import PeerCertificate


class Members:
    """The peers of our training contract, by certificate, as the last view showed them."""

    def __init__(self) -> None:
        self._fingerprints: frozenset[str] = frozenset()
        self._leader = ""
        self._term: tuple[int, int, int] | None = None
        self._size = 0
        """Bytes that a merge of the open round has."""
        self._taken: Digest | None = None
        """What the present leader left, or began to: a term has one merge."""
        self.copied: set[Digest] = set()
        """Merged models that leaders left with us, the last two."""
        self._order: list[Digest] = []

    def update(self, view: ContractView) -> None:
        """Take over the present members."""
        self._fingerprints = frozenset(p.fingerprint for p in view.peers)
        self._leader = next((p.fingerprint for p in view.peers if p.uid == view.leader), "")
        sizes = multimode(p.checkin.size for p in view.peers if p.checkin)
        self._size = view.merged.size if view.merged else min(sizes, default=0)
        term = (view.generation, view.round, view.term)
        if term != self._term:
            self._term, self._taken = term, None

    def may_read(self, certificate: PeerCertificate) -> bool:
        """Whether it is a peer enrolled in the same contract."""
        return any(map(certificate.is_or_was, self._fingerprints))

    def may_copy(self, certificate: PeerCertificate, digest: Digest, size: int) -> bool:
        """Whether it leads the present round and brings its term's merge, of the models' size.

        What a peer says of its own model's size does not count, and there is one file a term: a
        leader cannot fill our disk.
        """
        if not self._leader or not certificate.is_or_was(self._leader) or size > self._size:
            return False
        if self._taken is not None:
            return digest == self._taken
        self._taken = digest
        self._order = [*self._order, digest][-2:]
        self.copied = set(self._order)
        return True
