"""The license office: leases. Joins the rules, the database, the licenses and the clock."""

import logging
import uuid
from collections.abc import Callable

from services.common.errors import NotFoundError, SwarmError
from services.common.license_api import LeaseRequest
from services.common.tls import PeerCertificate
from services.license.adapters.shelf import Shelf
from services.license.adapters.store import Store
from services.license.core import leases as rules
from services.license.core.leases import Lease, LeaseGoneError, Offer

log = logging.getLogger("swarm.license")

_GONE = {
    "released": "was released",
    "expired": "was not renewed in time",
    "revoked": "was revoked by an administrator",
    "taken-over": "was taken over by a later request of the same node",
}


class Office:
    """All operations on leases; each is one transaction. Thread-safe.

    Args:
        store: the database.
        shelf: the licenses.
        clock: Unix seconds, steady.
        lease_s: length of a lease in seconds.
    """

    def __init__(
        self, store: Store, shelf: Shelf, clock: Callable[[], float], lease_s: float
    ) -> None:
        self.lease_s = lease_s
        self.server_id = shelf.server_id
        self._store = store
        self._shelf = shelf
        self._clock = clock

    def open(self) -> None:
        """Let no lease be longer than a lease: the clock may have been set back."""
        with self._store.transaction():
            self._store.shorten(self._clock() + self.lease_s)

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
                outcome = rules.grant(wanted, held, self._shelf.offers(now))
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

    # --- reports

    def usage(self) -> tuple[float, dict[str, Offer], list[Lease]]:
        """The time, what is offered by feature, and all leases."""
        now = self.sweep()
        with self._store.transaction():
            return now, self._shelf.offers(now), self._store.leases()

    # --- inside a transaction

    def _end(self, lease: Lease, kind: str, by: str, now: float) -> None:
        self._store.delete(lease.lease_id)
        self._record(kind, lease, by, now)

    def _record(self, kind: str, lease: Lease, by: str, now: float) -> None:
        self._store.book.record(
            now, kind, lease.lease_id, lease.feature, lease.client.uid, by, rules.holder(lease)
        )

    def _gone(self, lease_id: str) -> LeaseGoneError:
        last = self._store.book.last_of(lease_id)
        if last is None or last.kind not in _GONE:  # the row may be a license's of that serial
            return LeaseGoneError(f"there is no lease {lease_id}", "lease-unknown")
        return LeaseGoneError(f"lease {lease_id} {_GONE[last.kind]}", f"lease-{last.kind}")
