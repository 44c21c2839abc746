"""Statements of former keys: who may stand for whom after a renewal."""

from datetime import UTC, datetime

import pytest

from compose.authority import Authority
from services.common.certificate import describe
from services.common.material import Material
from services.common.renewed import LONGEST, MOST, confirmed, statements
from tests.component.identity.site import DAY, authority, issue


def material(issued):
    return Material("x", issued.key, (issued.certificate,), ())


@pytest.fixture(params=[False, True], ids=["EC", "RSA"])
def ca(request):
    now = datetime.now(UTC)
    return Authority.make("CA-1", now - DAY, now + DAY, use_rsa=request.param)


def test_the_former_key_vouches_for_the_new_certificate_of_another_ca(ca):
    old, new = issue(ca), issue(authority("CA-2"))
    who = describe(new.certificate)
    value = statements([material(old)], who.fingerprint)
    known = confirmed(who, value)
    assert known.is_or_was(describe(old.certificate).fingerprint)
    assert known.is_or_was(who.fingerprint)
    assert not known.is_or_was("0" * 64)


def test_nobody_else_can_use_or_make_it(ca):
    old, new, thief = issue(ca), issue(ca), issue(ca)
    former = describe(old.certificate).fingerprint
    value = statements([material(old)], describe(new.certificate).fingerprint)
    stolen = confirmed(describe(thief.certificate), value)
    assert not stolen.is_or_was(former)
    forged = Material("x", thief.key, (old.certificate,), ())
    who = describe(thief.certificate)
    assert not confirmed(who, statements([forged], who.fingerprint)).is_or_was(former)


def test_another_role_takes_nothing_over(ca):
    old, new = issue(ca, "SN-1"), issue(ca, "SL-1")
    who = describe(new.certificate)
    assert confirmed(who, statements([material(old)], who.fingerprint)).former == frozenset()


@pytest.mark.parametrize(
    "value", ["", None, "x", ".", "a.b,c.d", "é.é", "=.=", "." * 50, "A" * (LONGEST + 1)]
)
def test_what_proves_nothing_is_ignored(value):
    who = describe(issue(authority()).certificate)
    assert confirmed(who, value) == who


def test_several_renewals_and_no_more_than_fit(ca):
    all_ = [issue(ca) for _ in range(MOST + 2)]
    who = describe(issue(ca).certificate)
    value = statements(map(material, all_), who.fingerprint)
    assert len(value) <= LONGEST
    former = confirmed(who, value).former
    assert former == {describe(each.certificate).fingerprint for each in all_[-MOST:]}
