"""The license server over its API: capacity, take-over, expiry, who may do what."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from services.common.ids import NodeKind
from services.common.license_api import Feature
from tests.component.license.conftest import Server, a_document, a_request


def code(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def moment(server, days=0.0):
    return datetime.fromtimestamp(server.clock.now, UTC) + timedelta(days=days)


async def install(server, text, role=NodeKind.SWCI):
    return await server.send("POST", "/licenses", role, content=text)


async def with_capacity(server, capacity, **dates):
    server.trust()
    answer = await install(server, a_document(capacity, moment(server, -1), **dates))
    assert answer.status_code == 201, answer.text


async def test_a_new_server_has_a_generous_community_license(server):
    rows = (await server.send("GET", "/features")).json()
    assert {row["feature"]: (row["capacity"], row["free"]) for row in rows} == dict.fromkeys(
        Feature, (1000, 1000)
    )


async def test_lease_gives_durations(server):
    answer = await server.acquire()
    assert answer.status_code == 201
    assert (answer.json()["lease_s"], answer.json()["renew_after_s"]) == (1800, 600)


async def test_capacity_exhausted_says_who_holds_and_release_frees(server):
    await with_capacity(server, 2)
    first = (await server.acquire(1)).json()["lease_id"]
    await server.acquire(2)
    refused = await server.acquire(3)
    assert code(refused) == (409, "no-capacity")
    assert "SL sl1 on h, SL sl2 on h" in refused.json()["detail"]
    assert (await server.send("DELETE", f"/leases/{first}")).status_code == 204
    assert (await server.acquire(3)).status_code == 201
    rows = (await server.send("GET", "/features")).json()
    sl = next(row for row in rows if row["feature"] == Feature.SL)
    assert (sl["capacity"], sl["in_use"], sl["free"]) == (2, 2, 0)


async def test_same_uid_takes_over_instead_of_a_second_seat(server):
    await with_capacity(server, 1)
    old = (await server.acquire(1)).json()["lease_id"]
    new = await server.acquire(1)
    assert new.status_code == 201
    assert len((await server.send("GET", "/leases")).json()) == 1
    assert code(await server.send("PUT", f"/leases/{old}")) == (410, "lease-taken-over")
    renewed = await server.send("PUT", f"/leases/{new.json()['lease_id']}")
    assert renewed.status_code == 200


async def test_leases_expire_by_the_servers_clock_unless_renewed(server):
    await with_capacity(server, 2)
    kept = (await server.acquire(1)).json()["lease_id"]
    left = (await server.acquire(2)).json()["lease_id"]
    server.clock.now += 1799
    assert (await server.send("PUT", f"/leases/{kept}")).status_code == 200
    assert code(await server.acquire(3)) == (409, "no-capacity")
    server.clock.now += 1
    assert (await server.acquire(3)).status_code == 201
    assert code(await server.send("PUT", f"/leases/{left}")) == (410, "lease-expired")
    kinds = [row["kind"] for row in (await server.send("GET", "/history")).json()]
    assert kinds == ["installed", "installed", "granted", "granted", "expired", "granted"]


async def test_feature_not_installed_and_ended_have_their_own_codes(server):
    assert code(await server.acquire(1, "12345")) == (404, "feature-not-installed")
    await with_capacity(server, 1, not_after=moment(server, 1))
    lease = (await server.acquire(1)).json()["lease_id"]
    server.clock.now += 86_400 - 1
    assert code(await server.send("PUT", f"/leases/{lease}")) == (410, "lease-expired")
    lease = (await server.acquire(1)).json()["lease_id"]
    server.clock.now += 1
    assert code(await server.acquire(2)) == (409, "license-expired")
    renewed = await server.send("PUT", f"/leases/{lease}")
    assert renewed.status_code == 200, "an ended license never stops a running node"


async def test_revoked(server):
    lease = (await server.acquire(1)).json()["lease_id"]
    by_sl = await server.send("POST", f"/leases/{lease}/revoke")
    assert code(by_sl) == (403, "forbidden")
    by_swci = await server.send("POST", f"/leases/{lease}/revoke", NodeKind.SWCI)
    assert by_swci.status_code == 202
    assert code(await server.send("PUT", f"/leases/{lease}")) == (410, "lease-revoked")
    again = await server.send("POST", f"/leases/{lease}/revoke", NodeKind.SWCI)
    assert code(again) == (404, "not-found")


async def test_unknown_lease(server):
    assert code(await server.send("PUT", "/leases/abc")) == (410, "lease-unknown")
    assert (await server.send("DELETE", "/leases/abc")).status_code == 204


@pytest.mark.parametrize(
    ("role", "feature"), [(NodeKind.SL, Feature.SN), (NodeKind.SWOP, Feature.SL)]
)
async def test_a_feature_is_for_certificates_of_its_role(server, role, feature):
    assert code(await server.acquire(1, feature, role)) == (403, "forbidden")


async def test_another_certificate_cannot_touch_a_lease(server):
    lease = (await server.acquire(1, name="1")).json()["lease_id"]
    assert code(await server.acquire(1, name="2")) == (403, "forbidden")
    assert code(await server.send("PUT", f"/leases/{lease}", name="2")) == (403, "forbidden")
    assert code(await server.send("DELETE", f"/leases/{lease}", name="2")) == (403, "forbidden")
    assert len((await server.send("GET", "/leases")).json()) == 1


async def test_only_swci_and_lic_install_and_remove_licenses(server):
    server.trust()
    text = a_document(1, moment(server))
    for role in (NodeKind.SL, NodeKind.SN, NodeKind.SWOP):
        assert code(await install(server, text, role)) == (403, "forbidden")
        assert code(await server.send("DELETE", "/licenses/s1", role)) == (403, "forbidden")
    assert (await install(server, text, NodeKind.LICENSE)).status_code == 201
    removed = await server.send("DELETE", "/licenses/s1", NodeKind.SWCI)
    assert removed.status_code == 204
    assert code(await server.send("DELETE", "/licenses/s1", NodeKind.SWCI)) == (404, "not-found")


async def test_bad_licenses_are_refused(server):
    text = a_document(1, moment(server))
    assert code(await install(server, text)) == (400, "unknown-issuer")
    server.trust()
    tampered = text.replace('"capacity": 1', '"capacity": 9')
    assert tampered != text
    assert code(await install(server, tampered)) == (400, "bad-signature")
    assert code(await install(server, "{}")) == (400, "bad-license")
    assert code(await install(server, b"\xff\xfe")) == (400, "bad-license")
    assert [row["product"] for row in (await server.send("GET", "/licenses")).json()] == [
        "SWARM-CMT"
    ]


async def test_installing_twice_is_harmless_but_a_serial_is_used_once(server):
    await with_capacity(server, 1)
    await with_capacity(server, 1)
    other = a_document(2, moment(server, -1))
    assert code(await install(server, other)) == (400, "serial-taken")
    assert len((await server.send("GET", "/licenses")).json()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"feature": "a b"},
        {"version": "2"},
        {"count": 2},
        {"extra": 1},
        {"client": {"uid": "short"}},
        {"client": {"uid": "0" * 32, "host": "a\nb"}},
    ],
)
async def test_bad_requests(server, change):
    answer = await server.send("POST", "/leases", json={**a_request(1), **change})
    assert code(answer) == (400, "bad-request")


async def test_history_by_time_and_page(server):
    server.clock.now += 100
    lease = (await server.acquire(1)).json()["lease_id"]
    server.clock.now += 100
    await server.send("DELETE", f"/leases/{lease}")
    now = int(server.clock.now)
    rows = (await server.send("GET", f"/history?from={now - 100}&to={now - 1}")).json()
    assert [(row["kind"], row["common_name"]) for row in rows] == [("granted", "SL-1")]
    rows = (await server.send("GET", f"/history?after={rows[0]['seq']}")).json()
    assert [row["kind"] for row in rows] == ["released"]


async def test_restart_keeps_leases_licenses_and_server_id(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        await with_capacity(server, 1)
        lease = (await server.acquire(1)).json()["lease_id"]
        before = (await server.send("GET", "/server")).json()["server_id"]
    server.clock.now += 60
    async with server.running():
        assert (await server.send("GET", "/server")).json()["server_id"] == before
        assert code(await server.acquire(2)) == (409, "no-capacity")
        assert (await server.send("PUT", f"/leases/{lease}")).status_code == 200


async def test_clock_set_back_while_the_server_is_away_does_not_block_seats(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        await with_capacity(server, 1)
        await server.acquire(1)
    server.clock.now -= 86_400 / 2
    async with server.running():
        row = (await server.send("GET", "/leases")).json()[0]
        assert row["left_s"] == 1800
        server.clock.now += 1800
        assert (await server.acquire(2)).status_code == 201


async def test_license_in_the_database_changed_by_hand_is_not_used(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        await with_capacity(server, 1)
    db = sqlite3.connect(server.folder / "licenses.sqlite")
    with db:
        db.execute(
            "UPDATE licenses SET document = replace(document, '\"capacity\": 1', "
            "'\"capacity\": 99') WHERE serial = 's1'"
        )
        db.execute("UPDATE history SET common_name = 'SL-9' WHERE seq = 2")
    db.close()
    async with server.running():
        serials = [row["serial"] for row in (await server.send("GET", "/licenses")).json()]
    assert "s1" not in serials
    assert len(serials) == 1
    await watch.line("history was changed from row 2")
    await watch.line("not used: .*signature does not match")


async def test_removing_the_trust_in_an_issuer_ends_its_licenses_at_the_next_start(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        await with_capacity(server, 1)
    (server.folder / "issuers" / "test.pem").unlink()
    async with server.running():
        assert len((await server.send("GET", "/licenses")).json()) == 1
