"""What an identity consists of, wherever it comes from: key, certificates, CAs, revocations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.common.certificate import (
    ODD,
    PeerCertificate,
    describe,
    is_issued_by,
    role_rule,
    trust_domain,
)
from services.common.errors import ConfigError
from services.common.ids import NodeKind


@dataclass(frozen=True, slots=True)
class Material:
    """A key, its certificate, and whom it trusts; never changed."""

    where: str
    """Names the certificate in messages: its file, or the Workload API."""
    key: PrivateKeyTypes = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    """Ours first, then intermediate CAs."""
    trusted: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    domains: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    """SPIFFE: by trust domain the CAs (DER) that may speak for it; empty without SPIFFE."""

    @property
    def leaf(self) -> x509.Certificate:
        """Our certificate."""
        return self.chain[0]

    def certificate(self) -> PeerCertificate:
        """What our certificate says."""
        return describe(self.leaf)

    def pem(self) -> bytes:
        """Key and chain as OpenSSL reads them."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    def anchors(self) -> bytes:
        """The trusted CAs, one after the other, in DER form."""
        return b"".join(each.public_bytes(Encoding.DER) for each in self.trusted)

    def check(self, role: NodeKind, now: datetime | None = None) -> None:
        """Check that a node can live with it.

        Raises:
            ConfigError: the certificate is expired, not yet valid or of another role, key and
                certificate do not match, or no CA is trusted.
        """
        if self.key.public_key() != self.leaf.public_key():
            raise ConfigError(f"the key is not the key of {self.where}")
        self._check_validity(now or datetime.now(UTC))
        said = self.certificate()
        if said.role is not role:
            raise ConfigError(
                f"{self.where} is a certificate of role {said.role or 'none'}, this node is "
                f"{role}: {role_rule(role)}"
            )

    def _check_validity(self, now: datetime) -> None:
        start, end = self.leaf.not_valid_before_utc, self.leaf.not_valid_after_utc
        if now > end:
            raise ConfigError(
                f"{self.where} expired on {end:%Y-%m-%d %H:%M} UTC: renew it "
                "(python -m compose.certs --help) and start again"
            )
        if now < start:
            raise ConfigError(
                f"{self.where} is not valid before {start:%Y-%m-%d %H:%M} UTC: "
                "check this machine's clock"
            )

    def objection(self, ders: Sequence[bytes]) -> str | None:
        """Why a peer is refused whose chain OpenSSL holds for good; None where it is not.

        Args:
            ders: the peer's verified chain, its own certificate first, the trusted CA last.
        """
        chain = [x509.load_der_x509_certificate(der) for der in ders]
        for each in chain:
            if self.is_revoked(each):
                return f"certificate revoked: serial {each.serial_number:x} is on its CA's CRL"
        return self._spiffe_objection(describe(chain[0]), ders[-1]) if self.domains else None

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether it is on a CRL; that counts for what the CA signed that signed the CRL only."""
        return any(
            crl.issuer == certificate.issuer
            and crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
            and any(is_issued_by(certificate, ca) and signed(crl, ca) for ca in self.trusted)
            for crl in self.crls
        )

    def _spiffe_objection(self, peer: PeerCertificate, anchor: bytes) -> str | None:
        if not peer.spiffe_id:
            return "certificate without a SPIFFE ID: this node has an SVID and talks to SVIDs only"
        domain = trust_domain(peer.spiffe_id)
        if anchor not in self.domains.get(domain, ()):
            return f"the CA of {peer.spiffe_id} does not speak for the trust domain {domain}"
        return None


def signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    """Whether a CA signed a revocation list."""
    try:
        return crl.issuer == ca.subject and crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, *ODD):
        return False
