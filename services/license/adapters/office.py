"""The license office: joins the rules, the database, the keys and the clock."""

import logging
import uuid
from collections.abc import Callable

from services.common.errors import ConfigError, NotFoundError, SwarmError
from services.common.license_api import HistoryReport, LeaseRequest
from services.common.tls import PeerCertificate
from services.license.adapters.keyring import Keyring
from services.license.adapters.store import Store
from services.license.core import leases as rules
from services.license.core.leases import Lease, LeaseGoneError, Offer
from services.license.core.license_file import License, community, sign

log = logging.getLogger("swarm.license")

_GONE = {
    "released": "was released",
    "expired": "was not renewed in time",
    "revoked": "was revoked by an administrator",
    "taken-over": "was taken over by a later request of the same node",
}


class Office:
    """All operations of the license server; each is one transaction. Thread-safe.

    Args:
        store: the database.
        keyring: the keys.
        clock: Unix seconds.
        lease_s: length of a lease in seconds.
    """

    def __init__(
        self, store: Store, keyring: Keyring, clock: Callable[[], float], lease_s: float
    ) -> None:
        self.lease_s = lease_s
        self.server_id = keyring.server_id
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._licenses: dict[str, License] = {}

    def open(self) -> None:
        """Check what is installed; give a new server its community license."""
        with self._store.transaction():
            broken = self._store.first_broken_row()
            if broken is not None:
                log.error("the license history was changed from row %d on", broken)
            self._store.shorten(self._clock() + self.lease_s)
            documents = self._store.documents()
            fresh = self._store.history(0, 2**62, 0, 1) == []
        for text in documents:
            try:
                document = self._keyring.verify(text)
            except ConfigError as exc:
                log.error("an installed license is not used: %s", exc)  # noqa: TRY400 - expected kind of error
            else:
                self._licenses[document.serial] = document
        if fresh:
            own = community(self._keyring.key.public_key(), self._clock())
            self.install(sign(own, self._keyring.key), "")

    # --- leases

    def acquire(self, request: LeaseRequest, caller: PeerCertificate) -> Lease:
        """Grant a lease.

        Raises:
            NotFoundError, LicenseRefusedError, ForbiddenError: see :mod:`..core.leases`.
        """
        try:
            rules.require_role(request.feature, caller.role)
            now = self.sweep()
            with self._store.transaction():
                wanted = Lease(
                    uuid.uuid4().hex, request.feature, request.client, caller.common_name, now,
                    now + self.lease_s,
                )  # fmt: skip
                held = self._store.leases(request.feature)
                outcome = rules.grant(wanted, held, self._offers(now))
                if outcome.replaced is not None:
                    self._end(outcome.replaced, "taken-over", caller.common_name, now)
                self._store.put(outcome.lease)
                self._record("granted", outcome.lease, caller.common_name, now)
        except SwarmError as exc:
            log.warning(
                "refused %s:1 to %s (%s): %s",
                request.feature, request.client.uid, caller.common_name, exc,
            )  # fmt: skip
            raise
        log.info(
            "granted %s:1 to %s (%s)%s", request.feature, request.client.uid, caller.common_name,
            ", taking over its old lease" if outcome.replaced else "",
        )  # fmt: skip
        return outcome.lease

    def renew(self, lease_id: str, caller: PeerCertificate) -> Lease:
        """Prolong a lease.

        Raises:
            LeaseGoneError: it is not in force any more; the message says why.
            ForbiddenError: it belongs to another certificate.
        """
        now = self.sweep()
        with self._store.transaction():
            lease = self._store.lease(lease_id)
            if lease is None:
                raise self._gone(lease_id)
            lease = rules.renew(lease, caller.common_name, now + self.lease_s)
            self._store.put(lease)
        return lease

    def release(self, lease_id: str, caller: PeerCertificate) -> None:
        """Give a lease back; harmless when it is gone already.

        Raises:
            ForbiddenError: it belongs to another certificate.
        """
        now = self.sweep()
        with self._store.transaction():
            lease = self._store.lease(lease_id)
            if lease is None:
                return
            rules.require_owner(lease, caller.common_name)
            self._end(lease, "released", caller.common_name, now)
        log.info("released %s:1 of %s", lease.feature, lease.client.uid)

    def revoke(self, lease_id: str, by: str) -> None:
        """Take a lease away; its holder learns of it at its next renewal.

        Raises:
            NotFoundError: there is no such lease.
        """
        now = self.sweep()
        with self._store.transaction():
            lease = self._store.lease(lease_id)
            if lease is None:
                raise NotFoundError(f"there is no lease {lease_id}")
            self._end(lease, "revoked", by, now)
        log.warning("%s revoked %s:1 of %s", by, lease.feature, lease.client.uid)

    def sweep(self) -> float:
        """End the leases that nobody renewed; return the time."""
        with self._store.transaction():
            now = self._clock()
            for lease in self._store.ended(now):
                self._end(lease, "expired", "", now)
                log.warning("lease of %s:1 for %s expired", lease.feature, lease.client.uid)
        return now

    # --- licenses

    def install(self, text: str, by: str) -> License:
        """Install a license document; harmless when this very document is installed.

        Raises:
            ConfigError: it is not good; code ``serial-taken`` where another one has its serial.
        """
        try:
            document = self._keyring.verify(text)
            with self._store.transaction():
                if self._is_installed(document):
                    return document
                self._store.delete_document(document.serial)
                self._store.put_document(document.serial, text)
                self._store.record(self._clock(), "installed", document.serial, "", "", by)
            self._licenses = {**self._licenses, document.serial: document}
        except ConfigError as exc:
            log.warning("license from %s refused: %s", by, exc)
            raise
        log.info(
            "installed license %s (%s, %s)", document.serial, document.product, document.issuer
        )
        return document

    def remove(self, serial: str, by: str) -> None:
        """Remove a license; leases that it allowed go on.

        Raises:
            NotFoundError: it is not installed.
        """
        with self._store.transaction():
            if serial not in self._licenses:
                raise NotFoundError(f"no license with serial {serial} is installed")
            self._store.delete_document(serial)
            self._store.record(self._clock(), "removed", serial, "", "", by)
        self._licenses = {key: kept for key, kept in self._licenses.items() if key != serial}
        log.info("%s removed license %s", by, serial)

    # --- reports

    def licenses(self) -> list[License]:
        """The installed licenses, by serial."""
        return [document for _, document in sorted(self._licenses.items())]

    def usage(self) -> tuple[float, dict[str, Offer], list[Lease]]:
        """The time, what is offered by feature, and all leases."""
        now = self.sweep()
        with self._store.transaction():
            return now, self._offers(now), self._store.leases()

    def history(self, start: float, end: float, after: int, limit: int) -> list[HistoryReport]:
        """Rows of history, see :meth:`Store.history`."""
        with self._store.transaction():
            return self._store.history(start, end, after, limit)

    def _is_installed(self, document: License) -> bool:
        present = self._licenses.get(document.serial)
        if present is not None and present != document:
            raise ConfigError(
                f"another license with serial {document.serial} is installed", "serial-taken"
            )
        return present is not None

    # --- inside a transaction

    def _offers(self, now: float) -> dict[str, Offer]:
        return rules.offers(self._licenses.values(), now)

    def _end(self, lease: Lease, kind: str, by: str, now: float) -> None:
        self._store.delete(lease.lease_id)
        self._record(kind, lease, by, now)

    def _record(self, kind: str, lease: Lease, by: str, now: float) -> None:
        self._store.record(now, kind, lease.lease_id, lease.feature, lease.client.uid, by)

    def _gone(self, lease_id: str) -> LeaseGoneError:
        last = self._store.last_of(lease_id)
        if last is None:
            return LeaseGoneError(f"there is no lease {lease_id}", "lease-unknown")
        return LeaseGoneError(f"lease {lease_id} {_GONE[last.kind]}", f"lease-{last.kind}")
