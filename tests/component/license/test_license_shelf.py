"""Licenses over the API: check, install, states, archive; reports, CSV, history, settings."""

import csv
import io
import json

from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.license.core.license_file import COMMUNITY_CAPACITY
from tests.component.license.conftest import Server, a_document
from tests.component.license.people import add, administrator
from tests.component.license.test_license_server import code, install, moment

DAY = 86_400


async def by_serial(server):
    rows = (await server.send("GET", "/licenses")).json()
    return {row["serial"]: row for row in rows}


async def archive(server, serial, verb="archive"):
    return await server.send("POST", f"/licenses/{serial}/{verb}", NodeKind.SWCI)


async def test_checking_installs_nothing(server):
    server.trust()
    text = a_document(2, moment(server, -1))
    told = await server.send("POST", "/licenses/check", NodeKind.SWCI, content=text)
    assert told.status_code == 200
    row = told.json()
    assert (row["serial"], row["features"], row["state"]) == ("s1", {Feature.SL: 2}, "active")
    assert (row["installed"], row["installed_at"], row["lock"]) == (False, 0, "any")
    assert "s1" not in await by_serial(server)
    assert (await install(server, text)).json()["installed"] is True
    told = await server.send("POST", "/licenses/check", NodeKind.SWCI, content=text)
    assert told.json()["installed"] is True
    other = a_document(3, moment(server, -1))
    told = await server.send("POST", "/licenses/check", NodeKind.SWCI, content=other)
    assert code(told) == (400, "serial-taken")
    told = await server.send("POST", "/licenses/check", NodeKind.SWCI, content="{}")
    assert code(told) == (400, "bad-license")


async def test_several_in_a_file_are_installed_all_or_none(server):
    server.trust()
    good = [json.loads(a_document(1, moment(server), serial=f"s{n}")) for n in range(3)]
    spoilt = [*good, {**good[0], "licensee": "somebody else"}]
    assert code(await install(server, json.dumps(spoilt))) == (400, "bad-signature")
    twice = [*good, json.loads(a_document(9, moment(server), serial="s0"))]
    assert code(await install(server, json.dumps(twice))) == (400, "serial-taken")
    assert len(await by_serial(server)) == 1
    told = await install(server, json.dumps(good))
    assert [row["serial"] for row in told.json()] == ["s0", "s1", "s2"]
    assert len(await by_serial(server)) == 4
    assert code(await install(server, "[]")) == (400, "bad-license")
    many = json.dumps(good * 6)
    assert code(await install(server, many)) == (400, "bad-license")


async def test_a_file_may_have_4_mib(server):
    server.trust()
    text = a_document(1, moment(server)).ljust(4 << 20)
    assert code(await install(server, text)) == (400, "bad-license")  # a document may have 256 KiB
    assert code(await install(server, text + " ")) == (413, "too-large")


async def test_who_installed_it_and_when_outlives_a_restart(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        server.trust()
        async with administrator(server) as admin:
            await admin.send("POST", "/licenses", content=a_document(1, moment(server)))
        then = int(server.clock.now)
        server.clock.now += 60
        await archive(server, "s1")
    async with server.running():
        rows = (await server.send("GET", "/licenses", NodeKind.SWCI)).json()
        row = next(row for row in rows if row["serial"] == "s1")
    assert (row["installed_at"], row["installed_by"]) == (then, "user:admin")
    assert row["state"] == "archived"


async def test_states_by_the_clock(server):
    server.trust()
    text = a_document(1, moment(server, 1), moment(server, 2))
    await install(server, text)
    states = []
    for _ in range(3):
        states.append((await by_serial(server))["s1"]["state"])
        server.clock.now += DAY
    assert states == ["future", "active", "expired"]


async def test_archived_licenses_do_not_count_until_restored(server):
    server.trust()
    await install(server, a_document(1, moment(server, -1)))
    await server.acquire(1)
    assert code(await server.acquire(2)) == (409, "no-capacity")
    answer = await archive(server, "s1")  # the community license allows that lease, too
    assert answer.json()["state"] == "archived"
    assert (await server.acquire(2)).status_code == 201
    refused = await archive(server, f"community-{server.office.server_id[:8]}")
    assert code(refused) == (409, "license-in-use")
    assert "2 of 1100000378:1" in refused.json()["detail"]
    await archive(server, "s1", "restore")
    assert code(await server.acquire(3)) == (409, "no-capacity")
    kinds = [row["kind"] for row in (await server.send("GET", "/history?text=s1")).json()]
    assert kinds[:1] + kinds[-2:] == ["installed", "archived", "restored"]


async def test_a_license_that_nodes_need_cannot_go(server):
    server.trust()
    await install(server, a_document(2, moment(server, -1), serial="a", feature="own"))
    await install(server, a_document(1, moment(server, -1), serial="b", feature="own"))
    leases = [(await server.acquire(n, "own")).json()["lease_id"] for n in range(2)]
    assert code(await archive(server, "a")) == (409, "license-in-use")
    assert code(await server.send("DELETE", "/licenses/a", NodeKind.SWCI)) == (
        409, "license-in-use",
    )  # fmt: skip
    assert (await archive(server, "b")).status_code == 200
    await archive(server, "b", "restore")
    await server.send("DELETE", f"/leases/{leases[0]}")
    assert (await archive(server, "a")).status_code == 200
    assert (await server.send("DELETE", "/licenses/a", NodeKind.SWCI)).status_code == 204
    assert code(await archive(server, "a")) == (404, "not-found")


async def test_an_ended_license_can_go_although_its_leases_run_on(server):
    server.trust()
    await install(server, a_document(1, moment(server, -1), moment(server, 0.001), feature="own"))
    assert (await server.acquire(1, "own")).status_code == 201
    server.clock.now += DAY / 100
    assert (await archive(server, "s1")).status_code == 200


async def test_features_tell_holders_and_end(server):
    server.trust()
    end = moment(server, 3)
    await install(server, a_document(2, moment(server, -1), moment(server, 1)))
    await install(server, a_document(2, moment(server, -1), end, serial="s2"))
    await server.acquire(1)
    rows = {row["feature"]: row for row in (await server.send("GET", "/features")).json()}
    sl = rows[Feature.SL]
    assert (sl["capacity"], sl["holders"], sl["expires"]) == (4, 1, end.isoformat())
    assert rows[Feature.SN]["expires"] == "perpetual"
    assert rows[Feature.SN]["capacity"] == COMMUNITY_CAPACITY
    server.clock.now += 4 * DAY
    rows = {row["feature"]: row for row in (await server.send("GET", "/features")).json()}
    assert (rows[Feature.SL]["usable"], rows[Feature.SL]["expires"]) == (False, "")


async def test_no_capacity_names_20_holders_at_most(server):
    server.trust()
    await install(server, a_document(22, moment(server, -1)))
    for number in range(22):
        assert (await server.acquire(number)).status_code == 201
        server.clock.now += 1
    refused = await server.acquire(99)
    assert code(refused) == (409, "no-capacity")
    holders = refused.json()["holders"]
    assert len(holders) == 20
    assert holders[0] == {
        "component": "SL", "host": "h", "container": "sl0",
        "since": moment(server, -22 / DAY).isoformat(timespec="seconds"),
    }  # fmt: skip


async def test_revoke_of_users_and_leases_of_a_feature(server):
    lease = (await server.acquire(1)).json()["lease_id"]
    assert len((await server.send("GET", f"/leases?feature={Feature.SL}")).json()) == 1
    assert (await server.send("GET", f"/leases?feature={Feature.SN}")).json() == []
    async with administrator(server) as admin:
        assert (await admin.send("POST", f"/leases/{lease}/revoke")).status_code == 202
        row = (await admin.send("GET", "/history?kind=revoked")).json()[0]
    assert (row["common_name"], row["note"]) == ("user:admin", "SL sl1 on h")


async def test_history_filters_order_and_pages(server):
    for number in range(5):
        lease = (await server.acquire(number)).json()["lease_id"]
        await server.send("DELETE", f"/leases/{lease}")

    async def seqs(query):
        return [row["seq"] for row in (await server.send("GET", f"/history?{query}")).json()]

    assert await seqs("limit=3") == [1, 2, 3]
    assert await seqs("limit=3&after=3") == [4, 5, 6]
    assert await seqs("limit=3&order=desc") == [11, 10, 9]
    assert await seqs("limit=3&order=desc&after=9") == [8, 7, 6]
    assert await seqs("kind=granted") == [2, 4, 6, 8, 10]
    assert await seqs("text=SL4%20ON%20H") == [10, 11]
    assert await seqs(f"feature={Feature.SN}") == []
    assert await seqs("text=%25") == []
    assert code(await server.send("GET", "/history?order=up")) == (400, "bad-request")
    assert code(await server.send("GET", "/history?limit=1001")) == (400, "bad-request")


async def test_csv_runs_nothing_in_a_spreadsheet(server):
    evil = "=cmd|'/c calc'!A1"
    body = {
        "feature": Feature.SL,
        "client": {"uid": f"{1:032x}", "host": evil, "container": 'a,"b', "component": "@SUM(1)"},
    }
    await server.send("POST", "/leases", json=body)
    answer = await server.send("GET", "/leases.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="leases.csv"' in answer.headers["content-disposition"]
    row = next(csv.DictReader(io.StringIO(answer.text)))
    assert (row["host"], row["container"], row["component"]) == (f"'{evil}", 'a,"b', "'@SUM(1)")
    rows = list(csv.DictReader(io.StringIO((await server.send("GET", "/history.csv")).text)))
    assert [row["kind"] for row in rows] == ["installed", "granted"]
    assert rows[1]["note"].startswith("'@SUM")
    rows = list(csv.DictReader(io.StringIO((await server.send("GET", "/licenses.csv")).text)))
    assert {row["feature"] for row in rows} == set(Feature)


async def test_csv_of_the_history_has_all_pages(server):
    with server.office._store.transaction():
        for number in range(2500):
            server.office._store.book.record(number, "granted", str(number))
    for query, first in (("order=asc", "1"), ("order=desc", "2501")):
        text = (await server.send("GET", f"/history.csv?{query}")).text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert (len(rows), rows[0]["seq"]) == (2501, first)
        assert len({row["seq"] for row in rows}) == 2501


async def test_old_history_is_removed_and_the_rest_still_proves_itself(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki)
    async with server.running(), administrator(server) as admin:
        await server.acquire(1)
        server.clock.now += 40 * DAY
        await server.acquire(2)
        change = {"notice_days": 5, "keep_history_days": 30}
        assert (await admin.sign_in("admin")).status_code == 200
        assert (await admin.send("PUT", "/settings", json=change)).json() == change
        server.desk.sweep()
        kinds = [row["kind"] for row in (await admin.send("GET", "/history")).json()]
        assert "installed" not in kinds
        assert kinds[-1] == "history-purged"
        server.clock.now += 40 * DAY
        server.desk.sweep()
        rows = (await server.send("GET", "/history")).json()
        assert [row["kind"] for row in rows] == ["expired", "history-purged"]
    async with server.running():
        assert (await server.send("GET", "/server")).json()["warnings"] == []
        assert (await server.send("GET", "/settings")).json() == change
        serials = await by_serial(server)
        assert len(serials) == 1
        store = server.office._store
        with store.transaction():
            store._db.execute("UPDATE meta SET value = '[7, \"0\"]' WHERE name = 'history-anchor'")
    async with server.running():
        warned = (await server.send("GET", "/server")).json()["warnings"]
        assert [row["code"] for row in warned] == ["history-changed"]
    await watch.line("history was changed from row 7")


async def test_a_clock_ahead_by_mistake_does_not_cost_the_history(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running(), administrator(server) as admin:
        await admin.send("PUT", "/settings", json={"keep_history_days": 30})
    server.clock.now += 1000 * DAY
    async with server.running():
        server.desk.sweep()
        kinds = [row["kind"] for row in (await server.send("GET", "/history")).json()]
        assert kinds == ["installed"]  # and what the administrator did, which is not for an SL


async def test_only_administrators_change_settings_and_within_bounds(server):
    async with administrator(server) as admin:
        assert (await admin.send("GET", "/settings")).json() == {
            "notice_days": 30, "keep_history_days": 0,
        }  # fmt: skip
        for bad in (
            {"notice_days": -1},
            {"keep_history_days": 1e9},
            {"x": 1},
            {"notice_days": "a"},
        ):
            assert code(await admin.send("PUT", "/settings", json=bad)) == (400, "bad-request")
        await add(admin, "second", "product-admin")
        await admin.sign_in("second")
        assert code(await admin.send("PUT", "/settings", json={})) == (403, "forbidden")


async def test_the_server_warns_of_licenses_that_end(server, watch):
    server.trust()
    await install(server, a_document(1, moment(server, -1), moment(server, 29)))
    await install(server, a_document(1, moment(server, -1), moment(server, 31), serial="s2"))

    async def warnings():
        return [
            (row["code"], row["text"].split()[1])
            for row in (await server.send("GET", "/server")).json()["warnings"]
        ]

    assert await warnings() == [("license-ends", "s1")]
    server.desk.sweep()
    await watch.line("WARNING license s1 .* ends on")
    server.desk.sweep()
    server.clock.now += 30 * DAY
    assert await warnings() == [("license-expired", "s1"), ("license-ends", "s2")]
    assert len([line for line in watch.lines if "WARNING license s1" in line]) == 1
    await archive(server, "s1")
    assert await warnings() == [("license-ends", "s2")]
