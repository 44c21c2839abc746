"""What an attacker, or an accident, tries at a license server."""

import asyncio
import contextlib
import sqlite3
import ssl

import pytest
from starlette.concurrency import run_in_threadpool

from compose.operate.preflight_findings import FAIL, OK
from compose.preflight import judge
from compose.preflight.knock import knock
from services.common.ids import NodeKind
from services.license.adapters.accounts import KINDS
from services.license.adapters.offline import reset_password
from services.license.adapters.store import DATABASE
from services.license.api.access import COOKIE
from services.license.core.sessions import IDLE_S
from services.license.core.throttle import PAIR
from tests.component.license.conftest import Server, a_document
from tests.component.license.people import PASSWORD, add, administrator, browser
from tests.component.license.test_license_server import code, moment


async def test_nobody_chooses_the_address_that_guesses_are_counted_by(server):
    async with administrator(server) as admin, browser(server) as guesser:
        for number in range(PAIR.free + 1):
            more = {"headers": {"x-forwarded-for": f"198.51.100.{number}"}}
            body = {"user": "admin", "password": f"guess no. {number:04}"}
            last = await guesser.send("POST", "/session", json=body, **more)
        assert code(last) == (429, "too-many-tries")
        rows = (await admin.send("GET", "/history?kind=sign-in-failed")).json()
        assert {row["note"] for row in rows} == {"from 127.0.0.1"}


async def test_the_database_is_for_its_owner_from_the_first_moment(server):
    files = sorted(server.folder.glob("licenses.sqlite*"))
    assert len(files) == 3  # WAL and shared memory hold passwords' hashes, too
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_a_code_does_not_outlive_what_an_administrator_decides(server):
    async with administrator(server) as admin, browser(server) as person:
        await add(admin, "anna", "product-admin")
        for decided in ({"disabled": True}, {"password": PASSWORD[::-1], "disabled": False}):
            given = reset_password(server.desk.accounts._store, "anna", server.clock())
            assert (await admin.send("PUT", "/users/anna", json=decided)).status_code == 200
            body = {"code": given, "user": "anna", "password": PASSWORD}
            answer = await person.send("POST", "/setup", json=body)
            assert code(answer) == (409, "already-set-up")
        assert code(await person.sign_in("anna")) == (401, "bad-credentials")


async def test_a_cookie_that_another_program_of_the_host_set_is_none(server):
    async with administrator(server) as admin, browser(server) as victim:
        token = admin.http.cookies[COOKIE]
        assert COOKIE.startswith("__Host-")
        planted = {"cookie": f"swarm_license={token}"}
        answer = await victim.send("GET", "/session", headers=planted)
        assert code(answer) == (401, "not-signed-in")


async def test_what_a_page_asks_by_itself_is_no_use_of_the_session(server):
    async with administrator(server) as admin:
        for _ in range(3):
            server.clock.now += IDLE_S / 4
            answer = await admin.send("GET", "/features", headers={"x-refresh": "1"})
            assert answer.status_code == 200
        server.clock.now += IDLE_S / 4
        assert code(await admin.send("GET", "/features")) == (401, "not-signed-in")


async def test_a_file_that_is_no_key_costs_only_its_own_licenses(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    text = a_document(3, moment(server, -1))
    async with server.running():
        server.trust()
        answer = await server.send("POST", "/licenses", NodeKind.SWCI, content=text)
        assert answer.status_code == 201
    (server.folder / "issuers" / "a.pem").write_bytes(
        (server.folder / "server-key.pem").read_bytes()
    )
    async with server.running():
        assert len((await server.send("GET", "/licenses")).json()) == 2
        assert (await server.acquire()).status_code == 201
        (server.folder / "issuers" / "test.pem").unlink()
        answer = await server.send("POST", "/licenses/check", NodeKind.SWCI, content=text)
        assert code(answer) == (400, "unknown-issuer")
        assert "a.pem is not a readable PEM public key" in answer.json()["detail"]


async def test_a_license_that_is_not_used_any_more_can_be_deleted_or_mended(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    server.folder.joinpath("issuers").mkdir()

    async def warned():
        told = (await server.send("GET", "/server")).json()["warnings"]
        return [each["code"] for each in told if each["code"] == "license-not-used"]

    texts = [a_document(3, moment(server, -1), serial=serial) for serial in ("s1", "s2")]
    async with server.running():
        server.trust()
        body = f"[{','.join(texts)}]"
        answer = await server.send("POST", "/licenses", NodeKind.SWCI, content=body)
        assert answer.status_code == 201
    (server.folder / "issuers" / "test.pem").unlink()
    async with server.running():
        assert len(await warned()) == 2
        assert (await server.send("DELETE", "/licenses/s1", NodeKind.SWCI)).status_code == 204
        assert code(await server.send("DELETE", "/licenses/s1", NodeKind.SWCI)) == (
            404,
            "not-found",
        )
        server.trust()
        answer = await server.send("POST", "/licenses", NodeKind.SWCI, content=texts[1])
        assert answer.status_code == 201
        assert await warned() == []
    async with server.running():
        serials = {row["serial"] for row in (await server.send("GET", "/licenses")).json()}
        assert ("s1" in serials, "s2" in serials) == (False, True)


@pytest.mark.parametrize("role", [NodeKind.SL, NodeKind.SWCI, NodeKind.LICENSE])
async def test_no_certificate_reads_or_changes_users(server, role):
    async with administrator(server):
        for method, path, body in (
            ("GET", "/users", None), ("POST", "/users", {}), ("PUT", "/users/admin", {}),
            ("DELETE", "/users/admin", None), ("PUT", "/settings", {}),
        ):  # fmt: skip
            answer = await server.send(method, path, role, json=body)
            assert code(answer) == (403, "forbidden"), path
        rows = (await server.send("GET", "/history", role)).json()
        assert not KINDS & {row["kind"] for row in rows}


class Bare:
    """Who shows no certificate, as behind a proxy that ends TLS."""

    def __init__(self, pki):
        self._ca = pki.ca_cert

    def client_context(self):
        context = ssl.create_default_context(cafile=self._ca)
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


async def asked(server, identity):
    """What preflight says of the server."""
    where = ("127.0.0.1", server.port)
    seen = await run_in_threadpool(knock, *where, identity, "/api/v1/features")
    needs = {NodeKind.SL: 1}
    found = judge.address("license server", "l", seen, NodeKind.LICENSE, "CA-1")
    return [(each.level, each.text) for each in [*found, *judge.licences("l", seen, needs)]]


async def test_preflight_tells_a_missing_and_a_refused_certificate(server):
    (level, text), *rest = await asked(server, Bare(server.pki))
    assert (level, rest) == (FAIL, [])
    assert "it saw no certificate of ours (HTTP 401: not signed in" in text
    odd = server.pki.bad_identity(NodeKind.SL, common_name="nobody")
    (level, text), *rest = await asked(server, odd)
    assert (level, rest) == (FAIL, [])
    assert "it refuses our certificate (HTTP 403: certificate 'nobody' names no role" in text
    strange = server.pki.bad_identity(NodeKind.SL, wrong_ca=True)
    (level, text), *_ = await asked(server, strange)
    assert level == FAIL
    assert "it does not accept our certificate" in text
    good = await asked(server, server.pki.identity(NodeKind.SL))
    assert [level for level, _ in good] == [OK, OK]


async def test_a_database_that_somebody_locks_is_told_and_nothing_is_lost(server):
    store = server.desk.accounts._store
    store._db.execute("PRAGMA busy_timeout = 0")
    with contextlib.closing(sqlite3.connect(server.folder / DATABASE)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await server.acquire()
        assert code(refused) == (503, "storage")
        assert "Nothing was changed: try again" in refused.json()["detail"]
        other.rollback()
    assert (await server.acquire()).status_code == 201


async def test_a_full_disk_is_told_and_nothing_is_lost(server):
    store = server.desk.accounts._store
    pages = next(store._db.execute("PRAGMA page_count"))[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    granted = 0
    while (answer := await server.acquire(granted + 1)).status_code == 201:
        granted += 1
    assert code(answer) == (503, "storage")
    assert "full" in answer.json()["detail"]
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert len((await server.send("GET", "/leases")).json()) == granted
    assert (await server.acquire(granted + 1)).status_code == 201
    assert store.book.first_broken_row() is None


async def test_of_two_who_set_up_at_once_one_becomes_administrator(server):
    async with browser(server) as one, browser(server) as two:
        answers = await asyncio.gather(one.set_up("one"), two.set_up("two"))
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        first = one if answers[0].status_code == 201 else two
        assert len((await first.send("GET", "/users")).json()) == 1


async def test_two_administrators_cannot_demote_each_other_at_once(server):
    async with administrator(server) as admin, browser(server) as other:
        await add(admin, "other", "administrator")
        await other.sign_in("other")
        down = {"role": "view-only"}
        answers = await asyncio.gather(
            admin.send("PUT", "/users/other", json=down),
            other.send("PUT", "/users/admin", json=down),
        )
        assert 200 in {answer.status_code for answer in answers}
        roles = [user.role for user in server.desk.accounts.users()]
        assert roles.count("administrator") == 1
