"""Who gets a unit of a feature, and who does not."""

from datetime import UTC, datetime

import pytest

from services.common.errors import ForbiddenError, LicenseRefusedError, NotFoundError
from services.common.ids import NodeKind
from services.common.license_api import Client, Feature
from services.license.core.leases import (
    Lease,
    Offer,
    grant,
    offers,
    renew,
    require_owner,
    require_role,
)
from services.license.core.license_file import COMMUNITY_PRODUCT, License, LicensedFeature

NOW = 1_000_000.0


def at(second):
    return datetime.fromtimestamp(second, UTC)


def a_license(serial, capacity, *, product="SWARM", start=0.0, end=None, feature=Feature.SL):
    return License(
        issuer="i", key_id="0" * 32, licensee="l", product=product, serial=serial,
        not_before=at(start), not_after=None if end is None else at(end),
        features=[LicensedFeature(feature_id=feature, name="Swarm Learning Node",
                                  capacity=capacity)],
    )  # fmt: skip


def a_lease(number, since=0.0, common_name="SL-1", **client):
    client = Client(uid=f"{number:032x}", host=f"h{number}", container=f"sl{number}",
                    component="SL", **client)  # fmt: skip
    return Lease(f"lease{number}", Feature.SL, client, common_name, since, NOW + 1800)


OFFER = {Feature.SL: Offer("Swarm Learning Node", 2)}


def test_capacities_add_up():
    found = offers([a_license("a", 2), a_license("b", 3)], NOW)
    assert found == {Feature.SL: Offer("Swarm Learning Node", 5)}


def test_a_license_outside_its_dates_counts_nothing_but_is_known():
    ended = a_license("a", 2, end=NOW - 1)
    early = a_license("b", 3, start=NOW + 1)
    assert offers([ended, early], NOW)[Feature.SL].capacity == 0


def test_community_counts_only_for_features_that_no_other_license_names():
    free = a_license("c", 1000, product=COMMUNITY_PRODUCT)
    assert offers([free], NOW)[Feature.SL].capacity == 1000
    assert offers([free, a_license("a", 2)], NOW)[Feature.SL].capacity == 2
    assert offers([a_license("a", 2, end=NOW), free], NOW)[Feature.SL].capacity == 0
    other = a_license("d", 7, feature=Feature.SN)
    assert offers([free, other], NOW)[Feature.SL].capacity == 1000


def test_grants_up_to_the_capacity():
    assert grant(a_lease(1), [], OFFER).replaced is None
    assert grant(a_lease(2), [a_lease(1)], OFFER).replaced is None


def test_exhausted_names_who_holds():
    with pytest.raises(LicenseRefusedError) as caught:
        grant(a_lease(3), [a_lease(1), a_lease(2)], OFFER)
    assert caught.value.code == "no-capacity"
    assert "all 2 units" in str(caught.value)
    assert "SL sl1 on h1, SL sl2 on h2" in str(caught.value)


def test_exhausted_names_five_and_counts_the_rest():
    held = [a_lease(n, since=100 - n) for n in range(8)]
    with pytest.raises(LicenseRefusedError, match=r"sl7 on h7.* and 3 more") as caught:
        grant(a_lease(9), held, {Feature.SL: Offer("x", 8)})
    assert "sl2 on" not in str(caught.value)


def test_same_uid_takes_over_its_old_lease_even_when_exhausted_or_ended():
    held = [a_lease(1), a_lease(2)]
    assert grant(a_lease(2), held, OFFER).replaced == held[1]
    assert grant(a_lease(2), held, {Feature.SL: Offer("x", 0)}).replaced == held[1]
    assert grant(a_lease(2), held, {}).replaced == held[1]


def test_another_certificate_cannot_take_over():
    with pytest.raises(ForbiddenError, match="belongs to certificate 'SL-1'"):
        grant(a_lease(1, common_name="SL-2"), [a_lease(1)], OFFER)


def test_not_installed_and_ended_have_their_own_codes():
    with pytest.raises(NotFoundError) as missing:
        grant(a_lease(1), [], {})
    assert missing.value.code == "feature-not-installed"
    with pytest.raises(LicenseRefusedError) as ended:
        grant(a_lease(1), [], {Feature.SL: Offer("x", 0)})
    assert ended.value.code == "license-expired"


def test_renew_prolongs_for_its_owner_only():
    assert renew(a_lease(1), "SL-1", NOW + 9).expires == NOW + 9
    with pytest.raises(ForbiddenError):
        renew(a_lease(1), "SL-2", NOW + 9)
    with pytest.raises(ForbiddenError):
        require_owner(a_lease(1), "sl-1")


@pytest.mark.parametrize(
    ("feature", "role"),
    [
        (Feature.SL, NodeKind.SL),
        (Feature.SN, NodeKind.SN),
        (Feature.SWCI, NodeKind.SWCI),
        (Feature.SWOP, NodeKind.SWOP),
        (Feature.MULTI_CONTRACT, NodeKind.SN),
        (Feature.MULTI_TASKRUNNER, NodeKind.SWCI),
    ],
)
def test_roles_that_may(feature, role):
    require_role(feature, role)


@pytest.mark.parametrize(
    ("feature", "role"),
    [
        (Feature.SN, NodeKind.SL),
        (Feature.SL, NodeKind.SWOP),
        (Feature.SL, NodeKind.LICENSE),
        (Feature.SL, None),
        (Feature.MULTI_CONTRACT, None),
    ],
)
def test_roles_that_may_not(feature, role):
    with pytest.raises(ForbiddenError, match=feature):
        require_role(feature, role)
