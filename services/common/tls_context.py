"""TLS contexts of a node that follow its identity: each new connection uses the present one.

Libraries keep the context that they were given. So what they get is a :class:`RenewingContext`,
whose connections are made by a context of the present identity. It serves asyncio, uvicorn,
websockets, httpx and plain sockets alike: all make connections by ``wrap_bio`` or ``wrap_socket``.
"""

import logging
import os
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography import x509

from services.common.certificate import describe
from services.common.errors import ConfigError
from services.common.material import Material

log = logging.getLogger("swarm.tls")

Tls = ssl.SSLObject | ssl.SSLSocket


@dataclass(frozen=True, slots=True)
class Present:
    """An identity as it is at one time."""

    material: Material
    fingerprint: str
    renewed: str
    """What former keys say of it: value of ``common.renewed.HEADER``."""
    generation: int
    """Counted up with each change."""


class BoundContext(ssl.SSLContext):
    """A context of one identity; its connections know by whom they were made.

    Args:
        protocol: of a server or of a client.
        present: the identity.
        client_optional: a server's clients may come without a certificate.

    Raises:
        ConfigError: OpenSSL cannot use it.
    """

    def __new__(cls, protocol: ssl._SSLMethod, *_more: object) -> Self:
        """As of ``ssl.SSLContext``, which takes the protocol here."""
        return super().__new__(cls, protocol)

    def __init__(
        self, protocol: ssl._SSLMethod, present: Present, client_optional: bool = False
    ) -> None:
        self.present = present
        server = protocol == ssl.PROTOCOL_TLS_SERVER
        self.sslobject_class = OutspokenServerSide if server else CheckedObject
        self.sslsocket_class = CheckedSocket
        self.check_hostname = False
        self.verify_mode = ssl.CERT_OPTIONAL if client_optional else ssl.CERT_REQUIRED
        self.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.minimum_version = ssl.TLSVersion.TLSv1_2
        if server:  # a resumed session has no chain that could be checked again
            self.options |= ssl.OP_NO_TICKET
            self.num_tickets = 0
        material = present.material
        try:
            with _as_file(material.pem()) as path:
                self.load_cert_chain(path)
            self.load_verify_locations(cadata=material.anchors())
        except (ssl.SSLError, OSError, ValueError) as exc:
            raise ConfigError(f"cannot use {material.where} for TLS: {exc}") from exc


class RenewingContext(BoundContext):
    """A context whose connections are made with the present identity.

    Args:
        protocol: of a server or of a client.
        now: gives the present identity.
        client_optional: a server's clients may come without a certificate.
    """

    def __init__(
        self, protocol: ssl._SSLMethod, now: Callable[[], Present], client_optional: bool = False
    ) -> None:
        super().__init__(protocol, now(), client_optional)
        self._made_for, self._now, self._optional = protocol, now, client_optional
        self._successor: BoundContext | None = None
        self._lock = threading.Lock()
        self._alpn: list[str] = []

    def set_alpn_protocols(self, alpn_protocols: list[str] | Any) -> None:  # noqa: ANN401
        """Remembered for the contexts to come, too."""
        self._alpn = list(alpn_protocols)
        super().set_alpn_protocols(self._alpn)

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401
        """A connection that is read and written by the caller."""
        context = self.context()
        if context is self:
            return super().wrap_bio(*arguments, **named)
        return context.wrap_bio(*arguments, **named)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """A connection on a socket."""
        context = self.context()
        if context is self:
            return super().wrap_socket(*arguments, **named)
        return context.wrap_socket(*arguments, **named)

    def context(self) -> BoundContext:
        """The context of the present identity; this one until there was a change."""
        present = self._now()
        if present.generation == self.present.generation:
            return self
        with self._lock:
            made = self._successor
            if made is None or made.present.generation != present.generation:
                made = self._successor = self._make(present)
            return made

    def _make(self, present: Present) -> BoundContext:
        made = BoundContext(self._made_for, present, self._optional)
        made.minimum_version, made.maximum_version = self.minimum_version, self.maximum_version
        if self._alpn:
            made.set_alpn_protocols(self._alpn)
        return made


class CheckedObject(ssl.SSLObject):
    """One end of a TLS connection in asyncio; knows of CRLs and of SPIFFE's trust domains."""

    def do_handshake(self) -> None:
        """Shake hands as far as what arrived allows."""
        super().do_handshake()
        _require_good(self)


class CheckedSocket(ssl.SSLSocket):
    """The same for sockets."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        super().do_handshake(block)
        _require_good(self)


class OutspokenServerSide(CheckedObject):
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
        except PeerRefusedError as exc:  # OpenSSL is content: it has no alert to send
            log.warning("TLS client refused: %s", exc.verify_message)
            raise
        except ssl.SSLError as exc:
            if exc.reason == "HTTP_REQUEST":  # no TLS: it understands no alert
                log.warning("client refused: it speaks plain HTTP, this port HTTPS")
                raise
            self._refused = exc
            log.warning("TLS client refused: %s", getattr(exc, "verify_message", "") or exc.reason)
            raise ssl.SSLWantReadError from exc


class PeerRefusedError(ssl.SSLCertVerificationError):
    """OpenSSL holds a certificate for good, we do not.

    Args:
        why: for the log.
    """

    def __init__(self, why: str) -> None:
        super().__init__(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {why}")
        self.reason, self.library = "CERTIFICATE_VERIFY_FAILED", "SSL"
        self.verify_code, self.verify_message = 23, why  # X509_V_ERR_CERT_REVOKED


def present_of(tls: Tls) -> Present | None:
    """Our identity on a connection; None where its context is none of ours."""
    context = tls.context
    return context.present if isinstance(context, BoundContext) else None


def is_present(tls: Tls, context: ssl.SSLContext) -> bool:
    """Whether a connection made with a context before is as one that it would make now."""
    return not isinstance(context, RenewingContext) or tls.context is context.context()


def chain_of(tls: Tls) -> list[bytes]:
    """The peer's verified chain, trusted CA last, in DER form; empty where it has none."""
    if hasattr(tls, "get_verified_chain"):  # Python 3.13
        return [bytes(each) for each in tls.get_verified_chain()]
    inner: Any = tls._sslobj  # type: ignore[union-attr]
    chain = inner.get_verified_chain() if inner is not None else None
    return [each.public_bytes(_DER) for each in chain or ()]


_DER = 2
"""``_ssl.ENCODING_DER``"""


def _require_good(tls: Tls) -> None:
    present = present_of(tls)
    if present is None:
        return
    if tls.session_reused:  # TLS 1.2, by number: OpenSSL checks nothing, the chain is gone
        why = expired(tls, datetime.now(UTC))
    elif present.material.crls or present.material.domains:
        chain = chain_of(tls)
        why = present.material.objection(chain) if chain else None
    else:
        return
    if why is not None:
        raise PeerRefusedError(why)


def expired(tls: Tls, now: datetime) -> str | None:
    """That the peer's certificate ended, if it did; None, too, where it has none."""
    der = tls.getpeercert(binary_form=True)
    if not der:
        return None
    peer = x509.load_der_x509_certificate(der)
    if now <= peer.not_valid_after_utc:
        return None
    return f"the certificate of {describe(peer).common_name} expired"


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file that only OpenSSL, which reads keys from files only, ever sees: in memory."""
    descriptor = _memory()
    if descriptor is None:
        with tempfile.NamedTemporaryFile() as file:  # mode 0600
            file.write(content)
            file.flush()
            yield file.name
        return
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _memory() -> int | None:
    """A file in memory; None where the system has none (not Linux, a sandbox, no ``/proc``)."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.memfd_create("swarm-identity", os.MFD_CLOEXEC)
    except OSError:
        return None
