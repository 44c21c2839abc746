"""Names, passwords, roles, sessions."""

from dataclasses import replace

import pytest

from services.common.errors import ConfigError, ForbiddenError, ProtocolError
from services.common.ids import NodeKind
from services.common.license_api import Role
from services.license.core import sessions, users
from services.license.core.sessions import Session
from services.license.core.users import Right, User

ADMIN = User("admin", Role.ADMINISTRATOR, "hash")


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(users, "SCRYPT", {"n": 4, "r": 1, "p": 1})


@pytest.mark.parametrize(
    "password", ["correct horse", "x" * 11 + "y", "paßwort für 12", " " * 11 + "x"]
)
def test_good_passwords(password):
    users.require_password(password, "admin")


@pytest.mark.parametrize(
    "password",
    ["", "x" * 10 + "y", "x" * 12, "a-long-name-of-a-user", " A-LONG-NAME-OF-A-USER", "xy" * 101],
)
def test_bad_passwords(password):
    with pytest.raises(ConfigError) as caught:
        users.require_password(password, "A-long-name-of-a-user")
    assert caught.value.code == "bad-password"


@pytest.mark.parametrize("name", ["a", "anna", "A.b_c@d-e", "0" * 64])
def test_good_names(name):
    users.require_name(name)


@pytest.mark.parametrize("name", ["", "a b", ".a", "ä", "a\n", "a:b", "0" * 65, "<b>", "a/b"])
def test_bad_names(name):
    with pytest.raises(ConfigError) as caught:
        users.require_name(name)
    assert caught.value.code == "bad-name"


@pytest.mark.usefixtures("cheap")
def test_hashes_are_salted_tell_their_parameters_and_match_only_their_password():
    kept = users.hashed("secret", b"salt" * 4)
    assert kept.startswith("scrypt$4$1$1$")
    assert "secret" not in kept
    assert users.hashed("secret", b"other" * 4) != kept
    assert users.matches("secret", kept)
    assert not users.matches("Secret", kept)
    assert not users.matches("\ud800", kept)


@pytest.mark.usefixtures("cheap")
def test_a_hash_of_other_parameters_still_counts_and_is_outdated(monkeypatch):
    kept = users.hashed("secret", b"salt" * 4)
    assert not users.is_outdated(kept)
    monkeypatch.setattr(users, "SCRYPT", {"n": 8, "r": 1, "p": 1})
    assert users.matches("secret", kept)
    assert users.is_outdated(kept)


@pytest.mark.usefixtures("cheap")
def test_nobodys_hash_is_looked_at_like_any_other_and_matches_nothing(monkeypatch):
    looked_at = []
    scrypt = users.hashlib.scrypt
    monkeypatch.setattr(
        users.hashlib,
        "scrypt",
        lambda *a, **more: looked_at.append(more["n"]) or scrypt(*a, **more),
    )
    assert not users.matches("", users.nobody())
    assert not users.matches("secret", users.nobody())
    assert looked_at == [4, 4]


@pytest.mark.parametrize("kept", ["", "x", "scrypt$4$1$1$!", "md5$1$1$1$x$y"])
def test_what_is_no_hash_matches_nothing(kept):
    assert not users.matches("", kept)


def test_todays_parameters_take_32_mib():
    assert 128 * users.SCRYPT["n"] * users.SCRYPT["r"] == 32 << 20


@pytest.mark.parametrize("kind", NodeKind)
def test_roles_of_certificates(kind):
    managers = (NodeKind.SWCI, NodeKind.LICENSE)
    expected = Role.PRODUCT_ADMIN if kind in managers else Role.VIEW_ONLY
    assert users.role_of(kind) is expected


def test_no_certificate_administers():
    assert users.role_of(None) is None
    assert Role.ADMINISTRATOR not in {users.role_of(kind) for kind in NodeKind}


def test_rights():
    users.require_right(Role.PRODUCT_ADMIN, Right.MANAGE)
    with pytest.raises(ForbiddenError, match="needs the role administrator or product-admin"):
        users.require_right(Role.VIEW_ONLY, Right.MANAGE)
    with pytest.raises(ForbiddenError, match="needs the role administrator, you"):
        users.require_right(Role.PRODUCT_ADMIN, Right.ADMINISTER)


@pytest.mark.parametrize(
    "others",
    [
        [],
        [replace(ADMIN, role=Role.PRODUCT_ADMIN)],
        [replace(ADMIN, disabled=True)],
        [replace(ADMIN, password="")],
    ],
)
def test_somebody_administers(others):
    users.require_an_administrator([ADMIN, *others])
    with pytest.raises(ProtocolError) as caught:
        users.require_an_administrator(others)
    assert caught.value.code == "last-administrator"


def a_session(began=0.0, seen=0.0):
    return Session("hash", "admin", began, seen)


def test_a_session_ends_idle_or_at_last_or_when_the_clock_went_back():
    assert sessions.left_s(a_session(), 0) == sessions.IDLE_S
    assert sessions.left_s(a_session(seen=sessions.LONGEST_S - 1), sessions.LONGEST_S - 1) == 1
    assert sessions.left_s(a_session(), sessions.IDLE_S) == 0
    assert sessions.left_s(a_session(seen=1000), 0) == 0


def test_the_oldest_sessions_make_room():
    many = [a_session(began=n) for n in range(sessions.PER_USER + 2)]
    assert list(sessions.surplus(many)) == many[:3]
    assert list(sessions.surplus(many[: sessions.PER_USER])) == many[:1]
    assert list(sessions.surplus(many[: sessions.PER_USER - 1])) == []


def test_the_word_belongs_to_one_token():
    assert sessions.is_csrf("token", sessions.csrf_of("token"))
    for word in ("", "token", sessions.csrf_of("other"), "ä\ud800"):
        assert not sessions.is_csrf("token", word)
