"""Who may hold a unit of a feature, and until when: grant, take over, renew.

Plain functions over the leases that there are; whoever calls them stores the outcome in the same
transaction. ``now`` is the server's clock (Unix seconds); clients only ever get durations.

Rules that are ours, because HPE is silent:

* A lease belongs to ``(feature, uid)``. A container that restarts under its uid takes over its
  old lease instead of a second seat; only a certificate of the same CN may do so, else one member
  of the swarm could end another's lease.
* An existing lease is always renewed, even when its license has ended meanwhile: a license never
  stops a training. Ended licenses refuse new leases only.
* The community license counts for a feature only while no other license names that feature.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.common.errors import ForbiddenError, LicenseRefusedError, NotFoundError, ProtocolError
from services.common.ids import NodeKind
from services.common.license_api import Client, Code, Feature
from services.license.core.license_file import COMMUNITY_PRODUCT, License, in_force

ROLES: Mapping[str, NodeKind] = {
    Feature.SL: NodeKind.SL,
    Feature.SN: NodeKind.SN,
    Feature.SWCI: NodeKind.SWCI,
    Feature.SWOP: NodeKind.SWOP,
}
"""Which certificate role may acquire a feature; any role where the feature is not listed."""

HOLDERS_NAMED = 5
"""How many holders the message of an exhausted feature names."""


class NoCapacityError(LicenseRefusedError):
    """All units are in use.

    Args:
        message: for a person.
        holders: the leases in force, the oldest first.
    """

    code = Code.NO_CAPACITY

    def __init__(self, message: str, holders: Sequence["Lease"]) -> None:
        super().__init__(message)
        self.holders = tuple(holders)


class LeaseGoneError(ProtocolError):
    """The lease is not in force any more: acquire again."""

    http_status = 410
    code = "lease-unknown"


@dataclass(frozen=True, slots=True)
class Lease:
    """One unit of a feature in use."""

    lease_id: str
    feature: str
    client: Client
    common_name: str
    """Of the certificate that acquired it."""
    since: float
    expires: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What the installed licenses give of one feature."""

    name: str
    capacity: int
    """Of licenses in force; 0 when none is."""
    until: datetime | None = None
    """When the last of them ends; None: never, or there is none."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Outcome of a request."""

    lease: Lease
    replaced: Lease | None
    """The lease of the same uid that it takes over, which is then gone."""


def offers(licenses: Iterable[License], now: float) -> dict[str, Offer]:
    """Add up the capacity by feature id; features of ended licenses appear with capacity 0."""
    totals: dict[str, Offer] = {}
    by_community: dict[str, Offer] = {}
    for document in licenses:
        into = by_community if document.product == COMMUNITY_PRODUCT else totals
        usable = in_force(document, now)
        for item in document.features:
            before = into.get(item.feature_id, Offer(item.name, 0))
            into[item.feature_id] = _sum(before, item.capacity, document) if usable else before
    return {**by_community, **totals}


def _sum(before: Offer, capacity: int, document: License) -> Offer:
    ends = [end for end in (before.until, document.not_after) if end is not None]
    perpetual = document.not_after is None or (before.capacity > 0 and before.until is None)
    return Offer(before.name, before.capacity + capacity, None if perpetual else max(ends))


def still_needed(
    serial: str, licenses: Mapping[str, License], held: Iterable[Lease], now: float
) -> dict[str, int]:
    """Units in use that nothing would allow any more without a license.

    Args:
        serial: of the license.
        licenses: all that count, by serial.
        held: leases in force.
        now: as of :func:`offers`.

    Returns:
        Units by feature id; empty where the license can be put away.
    """
    used = Counter(lease.feature for lease in held)
    before = offers(licenses.values(), now)
    after = offers((kept for key, kept in licenses.items() if key != serial), now)
    short: dict[str, int] = {}
    for feature, offer in before.items():
        left = after[feature].capacity if feature in after else 0
        missing = min(used[feature], offer.capacity) - left
        if missing > 0:
            short[feature] = missing
    return short


def grant(wanted: Lease, held: Sequence[Lease], offered: Mapping[str, Offer]) -> Grant:
    """Decide on a request.

    Args:
        wanted: the lease as it would be.
        held: leases in force of the same feature.
        offered: :func:`offers`.

    Raises:
        NotFoundError: ``feature-not-installed``.
        LicenseRefusedError: ``license-expired`` or ``no-capacity``; the message names holders.
        ForbiddenError: another certificate holds a lease for this uid.
    """
    old = next((lease for lease in held if lease.client.uid == wanted.client.uid), None)
    if old is not None:
        require_owner(old, wanted.common_name)
        return Grant(wanted, old)
    offer = offered.get(wanted.feature)
    if offer is None:
        raise NotFoundError(
            f"no license for feature {wanted.feature}:1 is installed", Code.NOT_INSTALLED
        )
    if offer.capacity == 0:
        raise LicenseRefusedError(
            f"the license for {offer.name} ({wanted.feature}:1) has ended or has not begun: "
            "install another one",
            Code.EXPIRED,
        )
    if len(held) >= offer.capacity:
        oldest = sorted(held, key=lambda lease: lease.since)
        raise NoCapacityError(_exhausted(wanted.feature, offer, oldest), oldest)
    return Grant(wanted, None)


def renew(lease: Lease, common_name: str, until: float) -> Lease:
    """The lease, prolonged.

    Raises:
        ForbiddenError: another certificate holds it.
    """
    require_owner(lease, common_name)
    return replace(lease, expires=until)


def require_owner(lease: Lease, common_name: str) -> None:
    """Check that a certificate may act on a lease.

    Raises:
        ForbiddenError: it may not.
    """
    if lease.common_name != common_name:
        raise ForbiddenError(
            f"the lease of {lease.feature}:1 for {lease.client.uid} belongs to certificate "
            f"{lease.common_name!r}, not to {common_name!r}"
        )


def require_role(feature: str, role: NodeKind | None) -> None:
    """Check that a certificate's role may acquire a feature.

    Raises:
        ForbiddenError: it may not.
    """
    needed = ROLES.get(feature)
    if role is None or (needed is not None and role is not needed):
        raise ForbiddenError(
            f"feature {feature}:1 is for role {needed or 'SN, SL, SWCI or SWOP'}, but the "
            f"certificate has role {role or 'none'}"
        )


def _exhausted(feature: str, offer: Offer, held: Sequence[Lease]) -> str:
    holders = [holder(lease) for lease in held[:HOLDERS_NAMED]]
    more = f" and {len(held) - HOLDERS_NAMED} more" if len(held) > HOLDERS_NAMED else ""
    return (
        f"all {offer.capacity} units of {offer.name} ({feature}:1) are in use, by "
        f"{', '.join(holders)}{more}"
    )


def holder(lease: Lease) -> str:
    """Who holds a lease, for people."""
    client = lease.client
    what = client.component or lease.common_name
    return f"{what} {client.container or client.uid} on {client.host or 'an unknown host'}"
