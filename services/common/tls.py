"""Mutual TLS of a node from its identity: files (``SWARM_ID_*``) or SPIFFE, renewed as it runs.

Certificates in HPE's layout name roles, not hosts: their SAN is ``SN-1``, their CA files have no
hash links, and their key usage fails strict X.509 checks. So the chain of trust and the role are
always checked, the host name never, and every file of a CA folder is loaded by itself.
"""

import logging
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.common.certificate import PeerCertificate, describe, holder, read_certificate
from services.common.identity_files import FileSource
from services.common.ids import NodeKind
from services.common.material import Material
from services.common.renewed import MOST, statements
from services.common.settings import NodeSettings
from services.common.spiffe_source import SpiffeSource
from services.common.tls_context import (
    BoundContext,
    Present,
    RenewingContext,
    Tls,
    chain_of,
    expired,
    is_present,
    present_of,
)

__all__ = [
    "Identity", "PeerCertificate", "expiry_notice", "is_present", "load_identity",
    "present_of", "read_certificate", "tls_refusal",
]  # fmt: skip

log = logging.getLogger("swarm.tls")

EXPIRY_NOTICE = timedelta(days=14)
"""A node says that its certificate ends when less than this is left."""
SHORT_LIFE = timedelta(days=2)
"""Of a certificate that lives for less, when a third of its life is left."""
LOOK_S = 2.0
"""Seconds between two looks at the files, or at what the Workload API sent."""
MISMATCH_S = 10.0
"""Seconds that new files may not fit together, while they are being replaced, before we say so."""


class Source(Protocol):
    """Where an identity comes from."""

    def changed(self) -> Material | None:
        """The new identity, checked, if there is one.

        Raises:
            ConfigError: there is one, but it cannot be used.
        """

    def close(self) -> None:
        """End what the source needs."""


class Unchanging:
    """A source that never changes."""

    def changed(self) -> Material | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing to end."""


class Identity:
    """This node's key, certificate and the CAs that it trusts; the present ones, always.

    Its contexts use what is present when a connection is made. Safe in threads.

    Args:
        material: to begin with.
        source: asked for a successor every :data:`LOOK_S`.
        clock: monotonic, seconds.
    """

    def __init__(
        self, material: Material, source: Source | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._source = source or Unchanging()
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at = clock() + LOOK_S
        self._former: list[Material] = []
        self._pending: Material | None = None
        """A successor that OpenSSL refused."""
        self._trouble: dict[str, float] = {}
        """What is wrong with a successor, and since when; infinite once it was said."""
        self._present = Present(material, material.certificate().fingerprint, "", 0)
        self.certificate: PeerCertificate = material.certificate()
        """What our present certificate says."""

    @property
    def cert(self) -> str:
        """Where the certificate comes from, for messages."""
        return self._present.material.where

    @property
    def material(self) -> Material:
        """The present key, certificates and CAs."""
        return self._present.material

    @property
    def generation(self) -> int:
        """Counted up with each change."""
        return self.now().generation

    @property
    def renewed(self) -> str:
        """What to send in ``common.renewed.HEADER``; empty where nothing was renewed."""
        return self._present.renewed

    def server_context(self, *, client_certificate_optional: bool = False) -> ssl.SSLContext:
        """Context of a server that demands a client certificate; TLS 1.2 and newer.

        Args:
            client_certificate_optional: clients may come without one; one that comes is checked.
        """
        return RenewingContext(ssl.PROTOCOL_TLS_SERVER, self.now, client_certificate_optional)

    def client_context(self) -> ssl.SSLContext:
        """Context of a client; the server's chain is checked, its host name is not."""
        return RenewingContext(ssl.PROTOCOL_TLS_CLIENT, self.now)

    def der(self) -> bytes:
        """This node's certificate in DER form."""
        return self._present.material.leaf.public_bytes(Encoding.DER)

    def holder_of(self, der: bytes) -> str:
        """Who holds a certificate, see :func:`common.certificate.holder`."""
        material = self._present.material
        certificate = x509.load_der_x509_certificate(der)
        return holder(certificate, material.trusted, by_domain=bool(material.domains))

    def objection(self, tls: Tls, now: datetime | None = None) -> str | None:
        """Why a connection must end that was made before: who is at its other end is not trusted
        any more. None where it may go on."""  # noqa: D205, D209
        present, made_by = self.now(), present_of(tls)
        if (ended := expired(tls, now or datetime.now(UTC))) is not None:
            return ended
        chain = chain_of(tls)
        if not chain:
            resumed = tls.session_reused and tls.getpeercert(binary_form=True)
            changed = made_by is None or made_by.generation != present.generation
            return "its session began before our CAs changed" if resumed and changed else None
        material = present.material
        peer = x509.load_der_x509_certificate(chain[0])
        if chain[-1] not in {ca.public_bytes(Encoding.DER) for ca in material.trusted}:
            return f"the CA of {describe(peer).common_name} is not trusted any more"
        return material.objection(chain)

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Whether a CRL that we have names a certificate."""
        return self._present.material.is_revoked(certificate)

    def close(self) -> None:
        """Look for no successor any more."""
        self._source.close()

    # --- renewal

    def now(self) -> Present:
        """What is present; looks for a successor now and then."""
        if self._clock() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look_at = self._clock() + LOOK_S
                self._look()
            finally:
                self._lock.release()
        return self._present

    def _look(self) -> None:
        try:
            self._pending = self._source.changed() or self._pending
            if self._pending is not None:
                self._take(self._pending)
                self._pending = None
            self._trouble.clear()
        except Exception as exc:  # noqa: BLE001 - whatever it is, connections go on with the old one
            self._complain(str(exc) or type(exc).__name__)

    def _take(self, fresh: Material) -> None:
        old = self._present
        fingerprint = fresh.certificate().fingerprint
        former = [*self._former, *([old.material] if fingerprint != old.fingerprint else [])]
        present = Present(fresh, fingerprint, statements(former, fingerprint), old.generation + 1)
        BoundContext(ssl.PROTOCOL_TLS_CLIENT, present)  # OpenSSL has the last word
        self._former = former[-MOST:]
        self.certificate = fresh.certificate()
        self._present = present
        log.info("%s", _told(old.material, fresh))

    def _complain(self, text: str) -> None:
        since = self._trouble.setdefault(text, self._clock())
        if self._clock() - since >= MISMATCH_S:
            self._trouble[text] = float("inf")
            log.error(
                "the new identity cannot be used, going on with the old one (valid until "
                "%s UTC): %s. Mend it; it is looked at again every few seconds",
                f"{self.certificate.not_after:%Y-%m-%d %H:%M}", text,
            )  # fmt: skip


def _told(old: Material, new: Material) -> str:
    words = []
    if old.leaf != new.leaf:
        said = new.certificate()
        words.append(
            f"certificate renewed: {said.common_name} ({said.fingerprint[:16]}...), valid until "
            f"{said.not_after:%Y-%m-%d %H:%M} UTC"
        )
    came, went = (
        [ca.subject.rfc4514_string() for ca in some if ca not in others]
        for some, others in ((new.trusted, old.trusted), (old.trusted, new.trusted))
    )
    words += [f"CA trusted from now on: {name}" for name in came]
    words += [f"CA not trusted any more: {name}" for name in went]
    if old.crls != new.crls:
        words.append(f"revocation lists: {len(new.crls)}")
    return "; ".join(words) or "identity read again: nothing changed"


def load_identity(settings: NodeSettings, role: NodeKind, now: datetime | None = None) -> Identity:
    """Check a node's identity and say what is wrong with it before anything starts.

    Args:
        settings: names the files, or the Workload API's socket.
        role: what the node is; the certificate must say the same.
        now: time to judge validity by; the present where it is not given.

    Raises:
        ConfigError: a file is missing or unreadable, key and certificate do not match, the
            certificate is expired, not yet valid or of another role, or no CA is trusted.
        RemoteError: the Workload API sent nothing in time; this waits for it.
    """
    if settings.swarm_spiffe_workload_api_socket_path:
        spiffe = SpiffeSource(settings, role)
        return usable(Identity(spiffe.first(settings.swarm_start_patience), spiffe))
    source = FileSource(settings, role)
    return usable(Identity(source.load(now), source))


def usable(identity: Identity) -> Identity:
    """The same, if OpenSSL takes it.

    Raises:
        ConfigError: it does not.
    """
    identity.client_context()
    return identity


def expiry_notice(identity: Identity, now: datetime | None = None) -> str | None:
    """A line that says when the certificate ends, if that is soon; else None."""
    left = identity.certificate.not_after - (now or datetime.now(UTC))
    if left > notice_span(identity):
        return None
    end = f"{identity.certificate.not_after:%Y-%m-%d %H:%M} UTC"
    todo = "the SPIFFE agent should have sent another" if identity.material.domains else "renew it"
    if left < timedelta(0):
        return f"certificate {identity.cert} expired on {end}, other nodes refuse it: {todo}"
    hours = int(left.total_seconds() // 3600)
    said = f"{left.days} days" if left.days else f"{hours} h {left.seconds % 3600 // 60} min"
    return f"certificate {identity.cert} expires in {said} ({end}): {todo}"


def notice_span(identity: Identity) -> timedelta:
    """How long before a certificate's end it is told of: what lives for hours, as SVIDs do, is
    renewed at half of them, which is nothing to tell."""  # noqa: D205, D209
    leaf = identity.material.leaf
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return life / 3 if life < SHORT_LIFE else EXPIRY_NOTICE


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
