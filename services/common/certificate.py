"""What a certificate says of its holder: role, name, fingerprint; and who issued it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from services.common.errors import ForbiddenError
from services.common.ids import NodeKind

SPIFFE = "spiffe://"
ODD = (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)
"""What reading an odd certificate raises, besides ``ValueError``."""
_ALIASES = {"LICENSE": NodeKind.LICENSE, "APLS": NodeKind.LICENSE}
"""Words for a role in SPIFFE IDs, besides the roles themselves."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a certificate says of its holder."""

    fingerprint: str
    """SHA-256 of the DER form, 64 hex digits."""
    common_name: str
    """The CN; of an SVID its SPIFFE ID, which is all that it says."""
    role: NodeKind | None
    """From the SPIFFE ID's path, the CN's prefix (``SL-1``) or an OU; None where none names one."""
    not_after: datetime
    spiffe_id: str = ""
    former: frozenset[str] = frozenset()
    """Fingerprints of certificates that this one was renewed from, as their keys say
    (``common.renewed``)."""

    def require(self, *roles: NodeKind) -> None:
        """Check the role.

        Raises:
            ForbiddenError: the certificate carries none of ``roles``.
        """
        if self.role not in roles:
            wanted = " or ".join(roles)
            raise ForbiddenError(
                f"certificate {self.common_name!r} has role {self.role or 'none'}, but this needs "
                f"{wanted}: {role_rule(roles[0])}"
            )

    def is_or_was(self, fingerprint: str) -> bool:
        """Whether its holder is the one of the certificate with this fingerprint."""
        return fingerprint == self.fingerprint or fingerprint in self.former

    def renewed_from(self, fingerprints: Iterable[str]) -> "PeerCertificate":
        """The same, known to have replaced others."""
        return replace(self, former=self.former | frozenset(fingerprints))


def role_rule(role: NodeKind) -> str:
    """What a certificate of this role must say."""
    return (
        f"its CN must start with {role}- or its OU be {role} (an SVID: the last part of its SPIFFE "
        f"ID must be {role.lower()} or start with {role.lower()}-)"
    )


def read_certificate(der: bytes) -> PeerCertificate:
    """Parse a certificate in DER form."""
    return describe(x509.load_der_x509_certificate(der))


def describe(certificate: x509.Certificate) -> PeerCertificate:
    """What a parsed certificate says."""
    spiffe = _spiffe_ids(certificate)
    if spiffe:  # an SVID has exactly one URI; whoever signs two says nothing
        name = spiffe[0] if len(spiffe) == 1 else ""
        role = spiffe_role(name)
    else:
        subject = certificate.subject
        names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        role = _role([*(n.split("-")[0] for n in names), *(str(a.value) for a in units)])
        name = names[0] if names else ""
    return PeerCertificate(
        fingerprint=fingerprint_of(certificate),
        common_name=name,
        role=role,
        not_after=certificate.not_valid_after_utc,
        spiffe_id=name if spiffe else "",
    )


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER form, 64 hex digits."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def spiffe_role(spiffe_id: str) -> NodeKind | None:
    """The role that a SPIFFE ID names by the last part of its path, e.g. ``/site/sl-1``.

    The last one only: ``/ns/sn/sa/web`` is some workload of a namespace ``sn``.
    """
    if not spiffe_id.startswith(SPIFFE):
        return None
    _, _, path = spiffe_id.removeprefix(SPIFFE).partition("/")
    return _role([path.rpartition("/")[2].split("-")[0]])


def trust_domain(spiffe_id: str) -> str:
    """The trust domain of a SPIFFE ID; empty where it is none."""
    if not spiffe_id.startswith(SPIFFE):
        return ""
    return spiffe_id.removeprefix(SPIFFE).partition("/")[0].lower()


def _spiffe_ids(certificate: x509.Certificate) -> list[str]:
    """The URIs of its SAN, where one of them is a SPIFFE ID."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError, *ODD):
        return []
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris if any(uri.lower().startswith(SPIFFE) for uri in uris) else []


def _role(words: Iterable[str]) -> NodeKind | None:
    for word in words:
        try:
            return _ALIASES.get(word.upper()) or NodeKind(word.upper())
        except ValueError:
            continue
    return None


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether a CA signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, *ODD):
        return False
    return True


def holder(
    certificate: x509.Certificate, trusted: Iterable[x509.Certificate], *, by_domain: bool
) -> str:
    """Who holds a certificate, the same after a renewal: name, and key of the trusted CA.

    The CA's key, not its name: anybody can call a CA ``CA-1``. Below an intermediate CA, which
    is in no file of ours, it is the issuer's name.

    Args:
        certificate: whose holder is asked for.
        trusted: our CAs.
        by_domain: SPIFFE: the ID is enough, since only CAs of its trust domain may write it.

    Returns:
        64 hex digits.
    """
    said = describe(certificate)
    if by_domain and said.spiffe_id:
        return hashlib.sha256(said.spiffe_id.encode()).hexdigest()
    issuer = certificate.issuer.public_bytes()
    for authority in trusted:
        if is_issued_by(certificate, authority):
            key = authority.public_key()
            issuer = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(issuer + certificate.subject.public_bytes()).hexdigest()
