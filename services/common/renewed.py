"""A certificate that replaces another: its predecessor's key says so.

Nodes are known by the fingerprint they registered with. A node whose certificate is renewed in
mid-life still has the former key, and signs with it whom it became. It sends that statement with
each request, in :data:`HEADER`; who knows the former fingerprint then knows the new one, on any SN,
at once, whoever signed the new certificate. Nobody else can make it: it takes the former key.
"""

import base64
import binascii
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from services.common.certificate import ODD, PeerCertificate, describe, fingerprint_of
from services.common.material import Material

HEADER = "swarm-renewed"
MOST = 4
"""Former certificates that a node tells of: one that missed more renewals must register anew."""
LONGEST = 12 * 1024
"""Characters of the header's value."""
MOST_BITS, MOST_EXPONENT = 8192, 1 << 32
"""Of RSA keys."""
REMEMBERED = 512
"""Statements that were checked: at most 6 MB of hostile ones."""

IsRevoked = Callable[[x509.Certificate], bool]

log = logging.getLogger("swarm.tls")


def statement(former: Material, now: str) -> str:
    """The former key's word that its holder has the certificate with fingerprint ``now``."""
    text = _text(fingerprint_of(former.leaf), now)
    return f"{_encode(former.leaf.public_bytes(Encoding.DER))}.{_encode(_sign(former.key, text))}"


def statements(former: Iterable[Material], now: str) -> str:
    """The header's value, of the last ones that fit; empty where nothing was renewed."""
    value = ""
    for each in reversed(list(former)[-MOST:]):
        longer = ",".join(filter(None, [value, statement(each, now)]))
        if len(longer) > LONGEST:
            break
        value = longer
    return value


def confirmed(
    who: PeerCertificate, value: str | None, is_revoked: IsRevoked = lambda _: False
) -> PeerCertificate:
    """A caller's certificate with the former ones that it proves; what proves nothing is ignored.

    Args:
        who: the certificate of the TLS connection.
        value: of the header.
        is_revoked: whether a former certificate's key may be in other hands: its word is nothing.
    """
    if not value or len(value) > LONGEST:
        return who
    parts = value.split(",")[:MOST]
    found = (_former(who, part.strip(), is_revoked) for part in parts)
    return who.renewed_from(f for f in found if f)


def _former(who: PeerCertificate, part: str, is_revoked: IsRevoked) -> str | None:
    """The fingerprint of one former certificate, if its key vouches for ``who``."""
    found = _vouching(who.fingerprint, part)
    if found is None:
        return None
    certificate, former = found
    if former.role is not who.role:
        return None
    if is_revoked(certificate):
        _tell(who.common_name, former.common_name, former.fingerprint)
        return None
    return former.fingerprint


@lru_cache(REMEMBERED)
def _tell(name: str, former: str, fingerprint: str) -> None:
    """Once: it comes with each request."""
    log.warning(
        "%s says that it was renewed from %s (%s...), which is revoked: not believed",
        name, former, fingerprint[:16],
    )  # fmt: skip


@lru_cache(REMEMBERED)
def _vouching(now: str, part: str) -> tuple[x509.Certificate, PeerCertificate] | None:
    """The certificate whose key vouches for the one with fingerprint ``now``; remembered, since
    the same words come with each request."""  # noqa: D205, D209
    try:
        der, signature = (_decode(each) for each in part.split(".", 1))
        certificate = x509.load_der_x509_certificate(der)
        former = describe(certificate)
        _verify(certificate, signature, _text(former.fingerprint, now))
    except (ValueError, TypeError, binascii.Error, InvalidSignature, *ODD):
        return None
    return certificate, former


def _text(former: str, now: str) -> bytes:
    return f"swarm/renewed|{former}|{now}".encode()


def _sign(key: PrivateKeyTypes, text: bytes) -> bytes:
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            return key.sign(text, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return key.sign(text)
        case _:
            return b""  # no key that TLS could use


def _verify(certificate: x509.Certificate, signature: bytes, text: bytes) -> None:
    """Check a signature.

    Raises:
        InvalidSignature: it is not the certificate's key's.
    """
    match certificate.public_key():
        case rsa.RSAPublicKey() as key if _is_cheap(key):
            key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey() as key:
            key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey() as key:
            key.verify(signature, text)
        case _:
            raise InvalidSignature


def _is_cheap(key: rsa.RSAPublicKey) -> bool:
    """Whether a check takes no longer than usual: anybody may send a key that he made for it."""
    return key.key_size <= MOST_BITS and key.public_numbers().e <= MOST_EXPONENT


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii"), b"-_", validate=True)
