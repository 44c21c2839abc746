"""A license is used only as its issuer signed it."""

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.common.license_api import Feature
from services.license.core.license_file import (
    License,
    LicensedFeature,
    community,
    in_force,
    key_id,
    sign,
    verify,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
TRUSTED = {key_id(KEY.public_key()): KEY.public_key()}
SERVER = "a" * 32
START = datetime(2026, 1, 1, tzinfo=UTC)


def make(**changes):
    fields = {
        "issuer": "Consortium",
        "key_id": key_id(KEY.public_key()),
        "licensee": "Spital Zürich",
        "product": "SWARM",
        "serial": "2026-1",
        "not_before": START,
        "not_after": START + timedelta(days=30),
        "features": [LicensedFeature(feature_id=Feature.SL, name="SL", capacity=3)],
    }
    return License(**{**fields, **changes})


def refused(text, trusted=TRUSTED):
    with pytest.raises(ConfigError) as caught:
        verify(text, trusted, SERVER)
    return caught.value.code


def test_round_trip():
    assert verify(sign(make(), KEY), TRUSTED, SERVER) == make()


def test_white_space_and_order_of_members_do_not_matter():
    fields = json.loads(sign(make(), KEY))
    turned = json.dumps(dict(reversed(fields.items())), ensure_ascii=True, indent=7)
    assert verify(turned, TRUSTED, SERVER) == make()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("issuer", "Someone else"),
        ("licensee", "Someone else"),
        ("product", "SWARM-CMT"),
        ("serial", "2026-2"),
        ("not_before", "2020-01-01T00:00:00Z"),
        ("not_after", None),
        ("not_after", "2099-01-01T00:00:00Z"),
        ("lock", SERVER),
        ("features", [{"feature_id": "1100000378", "name": "SL", "capacity": 4, "version": "1"}]),
        ("signature", "A" * 86 + "=="),
        ("signature", "not base64!"),
        ("signature", None),
    ],
)
def test_each_changed_member_is_refused(member, value):
    fields = json.loads(sign(make(), KEY))
    assert fields[member] != value if member in fields else True
    assert refused(json.dumps({**fields, member: value})) == "bad-signature"


@given(st.data())
def test_any_changed_character_is_refused_or_means_the_same(data):
    text = sign(make(), KEY)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    with contextlib.suppress(ConfigError):
        assert verify(changed, TRUSTED, SERVER) == make()


def test_unknown_issuer():
    signed = sign(make(key_id=key_id(OTHER.public_key())), OTHER)
    assert refused(signed) == "unknown-issuer"


def test_a_signature_by_another_key_under_a_trusted_key_id_is_refused():
    fields = json.loads(sign(make(key_id=key_id(OTHER.public_key())), OTHER))
    fields["key_id"] = key_id(KEY.public_key())
    assert refused(json.dumps(fields)) == "bad-signature"


def test_sign_refuses_a_document_that_names_another_key():
    with pytest.raises(ConfigError, match="names key"):
        sign(make(), OTHER)


def test_lock_to_another_server():
    assert refused(sign(make(lock="b" * 32), KEY)) == "other-server"
    assert verify(sign(make(lock=SERVER), KEY), TRUSTED, SERVER).lock == SERVER


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{}", "{", '{"a":1,"a":2}', '{"capacity":1.0}', '{"x":NaN}',
        "[" * 100_000, "x" * 300_000,
    ],
)  # fmt: skip
def test_malformed(text):
    assert refused(text) == "bad-license"


@pytest.mark.parametrize("capacity", [0, -1, "3", True, 2_000_000])
def test_capacity_must_be_a_sane_number(capacity):
    fields = json.loads(sign(make(), KEY))
    fields["features"][0]["capacity"] = capacity
    assert refused(json.dumps(fields)) == "bad-license"


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"),
        ("9999-12-31T23:59:59-12:00", None),
    ],
)
def test_dates_at_the_ends_of_time(not_before, not_after):
    text = sign(License.model_validate({**dict(make()), "not_before": not_before,
                                        "not_after": not_after}), KEY)  # fmt: skip
    document = verify(text, TRUSTED, SERVER)
    assert in_force(document, START.timestamp()) is (not_after is not None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"not_after": START.isoformat()}, "it ends before it begins"),
        ({"features": [{"feature_id": "f", "name": "f", "capacity": 1}] * 2}, "named twice"),
    ],
)
def test_what_makes_no_sense_is_refused_though_it_is_signed(changes, says):
    fields = {**json.loads(sign(make(), KEY)), **changes}
    del fields["signature"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signature = base64.b64encode(KEY.sign(canonical.encode())).decode()
    text = json.dumps({**fields, "signature": signature})
    with pytest.raises(ConfigError, match=says):
        verify(text, TRUSTED, SERVER)


def test_dates():
    start = START.timestamp()
    end = start + 30 * 86_400
    assert [in_force(make(), t) for t in (start - 1, start, end - 1, end)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert in_force(make(not_after=None), end + 1e9)


def test_community_is_perpetual_and_only_for_the_server_that_made_it():
    document = community(KEY.public_key(), 1000.0)
    own = key_id(KEY.public_key())
    text = sign(document, KEY)
    assert verify(text, TRUSTED, own) == document
    assert {f.feature_id for f in document.features} == set(Feature)
    assert in_force(document, 5e9)
    assert refused(text) == "other-server"
