"""Mutual TLS from the documented identity files (``SWARM_ID_*``), and what a certificate says.

Certificates in HPE's layout name roles, not hosts: their SAN is ``SN-1``, their CA files have no
hash links, and their key usage fails strict X.509 checks. So the chain of trust and the role are
always checked, the host name never, and every file of a CA folder is loaded by itself.
"""

import hashlib
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from services.common.errors import ConfigError, ForbiddenError
from services.common.ids import NodeKind
from services.common.settings import NodeSettings

log = logging.getLogger("swarm.tls")

EXPIRY_NOTICE = timedelta(days=14)
"""A node says at start that its certificate ends when less than this is left."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a certificate says of its holder."""

    fingerprint: str
    """SHA-256 of the DER form, 64 hex digits."""
    common_name: str
    role: NodeKind | None
    """From the CN's prefix (``SL-1``) or an OU; None where neither names a node kind."""
    not_after: datetime

    def require(self, *roles: NodeKind) -> None:
        """Check the role.

        Raises:
            ForbiddenError: the certificate carries none of ``roles``.
        """
        if self.role not in roles:
            wanted = " or ".join(roles)
            raise ForbiddenError(
                f"certificate {self.common_name!r} has role {self.role or 'none'}, but this needs "
                f"{wanted}: its CN must start with {roles[0]}- or its OU be {roles[0]}"
            )


def read_certificate(der: bytes) -> PeerCertificate:
    """Parse a certificate in DER form."""
    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject
    names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    units = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    return PeerCertificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        common_name=names[0] if names else "",
        role=_role(names, units),
        not_after=certificate.not_valid_after_utc,
    )


def _role(names: Iterable[str], units: Iterable[str]) -> NodeKind | None:
    for word in [*(name.split("-")[0] for name in names), *units]:
        try:
            return NodeKind(word.upper())
        except ValueError:
            continue
    return None


class OutspokenServerSide(ssl.SSLObject):
    """The server's end of a TLS connection in asyncio; tells both sides why a client is refused.

    When a handshake fails, asyncio drops the connection before it sends the alert that OpenSSL
    has ready, and logs nothing. So we log it, and first answer "read more", on which asyncio sends
    the alert; the failure itself follows when the client closes, sends more or is too slow.
    """

    _refused: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Shake hands as far as what arrived allows."""
        if self._refused is not None:
            raise self._refused
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as exc:
            if exc.reason == "HTTP_REQUEST":  # no TLS: it understands no alert
                log.warning("client refused: it speaks plain HTTP, this port HTTPS")
                raise
            self._refused = exc
            log.warning("TLS client refused: %s", getattr(exc, "verify_message", "") or exc.reason)
            raise ssl.SSLWantReadError from exc


def tls_refusal(exc: BaseException) -> str | None:
    """Why TLS refused one of the two certificates, from a client library's error; else None.

    Args:
        exc: e.g. an ``httpx.HTTPError``; the TLS error is somewhere below it.
    """
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return (
                f"we do not trust its certificate: CERTIFICATE_VERIFY_FAILED, {seen.verify_message}"
            )
        if isinstance(seen, ssl.SSLError) and "_ALERT_" in (seen.reason or ""):
            return f"it refused our certificate or TLS version: {seen.reason}"
        seen = seen.__cause__ or seen.__context__
    return None


@dataclass(frozen=True, slots=True)
class Identity:
    """This node's key, certificate and the CAs that it trusts, checked."""

    key: Path
    cert: Path
    trusted: tuple[Path, ...]
    certificate: PeerCertificate

    def server_context(self, *, client_certificate_optional: bool = False) -> ssl.SSLContext:
        """Context of a server that demands a client certificate; TLS 1.2 and newer.

        Args:
            client_certificate_optional: who shows none is let in, too; a bad one is refused.
        """
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        if client_certificate_optional:
            context.verify_mode = ssl.CERT_OPTIONAL
        context.sslobject_class = OutspokenServerSide
        return context

    def client_context(self) -> ssl.SSLContext:
        """Context of a client; the server's chain is checked, its host name is not."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def der(self) -> bytes:
        """This node's certificate in DER form."""
        return _parse(self.cert).public_bytes(Encoding.DER)

    def holder_of(self, der: bytes) -> str:
        """Who holds a certificate, the same after a renewal: subject, and key of the trusted CA.

        The CA's key, not its name: anybody can call a CA ``CA-1``. Below an intermediate CA, which
        is in no file of ours, it is the issuer's name.

        Returns:
            64 hex digits.
        """
        certificate = x509.load_der_x509_certificate(der)
        issuer = certificate.issuer.public_bytes()
        for path in self.trusted:
            for authority in x509.load_pem_x509_certificates(path.read_bytes()):
                if _issued(certificate, authority):
                    key = authority.public_key()
                    issuer = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(issuer + certificate.subject.public_bytes()).hexdigest()

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
            for path in self.trusted:
                context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError) as exc:
            raise ConfigError(f"cannot use {self.cert} with {self.key}: {exc}") from exc
        return context


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def load_identity(settings: NodeSettings, role: NodeKind, now: datetime | None = None) -> Identity:
    """Check the identity files of a node and say what is wrong with them before anything starts.

    Args:
        settings: names the files.
        role: what the node is; the certificate must say the same.
        now: time to judge validity by; the present where it is not given.

    Raises:
        ConfigError: a file is missing or unreadable, key and certificate do not match, the
            certificate is expired, not yet valid or of another role, or no CA is trusted.
    """
    key = _file("SWARM_ID_KEY", settings.swarm_id_key)
    cert = _file("SWARM_ID_CERT", settings.swarm_id_cert)
    trusted = _trusted(settings)
    parsed = _parse(cert)
    _check_key(key, cert, parsed)
    _check_validity(cert, parsed, now or datetime.now(UTC))
    certificate = read_certificate(parsed.public_bytes(Encoding.DER))
    if certificate.role is not role:
        raise ConfigError(
            f"{cert} is a certificate of role {certificate.role or 'none'}, this node is {role}: "
            f"its CN must start with {role}- or its OU be {role}"
        )
    identity = Identity(key, cert, trusted, certificate)
    identity.client_context()
    return identity


def expiry_notice(identity: Identity, now: datetime | None = None) -> str | None:
    """A line that says when the certificate ends, if that is soon; else None."""
    left = identity.certificate.not_after - (now or datetime.now(UTC))
    if left > EXPIRY_NOTICE:
        return None
    return (
        f"certificate {identity.cert} expires in {left.days} days "
        f"({identity.certificate.not_after:%Y-%m-%d %H:%M} UTC): renew it"
    )


def _file(variable: str, path: Path | None) -> Path:
    if path is None:
        raise ConfigError(f"{variable} is not set: name a PEM file (compose.certs makes them)")
    if not path.is_file():
        raise ConfigError(f"{variable}={path}: no such file")
    return path


def _trusted(settings: NodeSettings) -> tuple[Path, ...]:
    found: list[Path] = []
    if settings.swarm_id_cacert is not None:
        found.append(_file("SWARM_ID_CACERT", settings.swarm_id_cacert))
    if settings.swarm_id_capath is not None:
        if not settings.swarm_id_capath.is_dir():
            raise ConfigError(f"SWARM_ID_CAPATH={settings.swarm_id_capath}: no such folder")
        found.extend(sorted(settings.swarm_id_capath.glob("*.pem")))
    if not found:
        raise ConfigError("no CA to trust: set SWARM_ID_CACERT or SWARM_ID_CAPATH (with *.pem)")
    return tuple(found)


def _parse(cert: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(cert.read_bytes())
    except (ValueError, OSError) as exc:
        raise ConfigError(f"{cert} is not a readable PEM certificate: {exc}") from exc


def _check_key(key: Path, cert: Path, parsed: x509.Certificate) -> None:
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as exc:
        raise ConfigError(f"{key} is not a readable unencrypted PEM key: {exc}") from exc
    if private.public_key() != parsed.public_key():
        raise ConfigError(f"{key} is not the key of {cert}")


def _check_validity(cert: Path, parsed: x509.Certificate, now: datetime) -> None:
    if now > parsed.not_valid_after_utc:
        raise ConfigError(
            f"{cert} expired on {parsed.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it "
            "(python -m compose.certs --help) and start again"
        )
    if now < parsed.not_valid_before_utc:
        raise ConfigError(
            f"{cert} is not valid before {parsed.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: "
            "check this machine's clock"
        )
