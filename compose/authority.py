"""A certificate authority for one host's nodes, and the PEM files that it writes.

Subjects follow HPE's gen-cert (``OU=Swarm-Learning, CN=SN-1``; ``compat/02`` section 6), so that
both kinds can live in one swarm. What gen-cert gets wrong is right here: a leaf may not sign
certificates, it says what it is for, and it is valid for longer than 30 days.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.common.errors import ConfigError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

BACKDATED = timedelta(hours=1)
"""Certificates begin this much before they are made, so that a host whose clock is behind (ours
must stand ten minutes) can use them at once."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A private key and its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    def key_pem(self) -> bytes:
        """The key, unencrypted (a node starts without a person), PKCS #8 PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def cert_pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, key: Path, cert: Path) -> None:
        """Write both; the key file is readable by its owner only, from its first byte on."""
        write_private(key, self.key_pem())
        cert.write_bytes(self.cert_pem())


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600; a file of that name is replaced."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that signs node certificates."""

    issued: Issued
    """Its own key and certificate."""

    @classmethod
    def make(cls, name: str, not_before: datetime, not_after: datetime, use_rsa: bool) -> Self:
        """Make a CA.

        Args:
            name: its CN, e.g. ``CA-1``.
            not_before: when it begins to be valid.
            not_after: when it ends.
            use_rsa: RSA 2048 instead of EC P-256, for the CA and what it signs.
        """
        key = _new_key(use_rsa)
        subject = _subject(name)
        certificate = (
            _builder(subject, subject, key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return cls(Issued(key, certificate))

    @classmethod
    def load(cls, key: Path, cert: Path) -> Self:
        """Read a CA that exists.

        Raises:
            ConfigError: a file is unreadable, or key and certificate are not a pair.
        """
        try:
            private = load_pem_private_key(key.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        except (ValueError, TypeError, OSError) as exc:
            raise ConfigError(f"cannot read the CA {cert} with {key}: {exc}") from exc
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ConfigError(f"{key}: only EC and RSA keys are known here")
        if private.public_key() != certificate.public_key():
            raise ConfigError(f"{key} is not the key of {cert}")
        return cls(Issued(private, certificate))

    def issue(
        self, name: str, not_before: datetime, not_after: datetime, hosts: Sequence[str] = ()
    ) -> Issued:
        """Make a key and a certificate that is good as server and as client.

        Args:
            name: its CN and DNS name, e.g. ``SN-1``; the part before ``-`` is the role.
            not_before: when it begins to be valid.
            not_after: when it ends.
            hosts: names and addresses of the host that stand in it, too.
        """
        key = _new_key(isinstance(self.issued.key, rsa.RSAPrivateKey))
        signer = self.issued.certificate
        certificate = (
            _builder(signer.subject, _subject(name), key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name), *map(general_name, hosts)]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issued.key.public_key()),
                critical=False,
            )
            .sign(self.issued.key, hashes.SHA256())
        )
        return Issued(key, certificate)


def general_name(text: str) -> x509.GeneralName:
    """A host's address or name, as it stands in certificates.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError as exc:
        raise ConfigError(f"{text!r} is neither an address nor a name in ASCII") from exc


def _new_key(use_rsa: bool) -> PrivateKey:
    if use_rsa:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Swarm-Learning"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _builder(
    issuer: x509.Name, subject: x509.Name, key: PrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
