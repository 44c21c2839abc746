"""People at the license server: set-up, sign-in, sessions, users; over real TLS, no certificate."""

import asyncio
import contextlib
import re
import ssl
import threading
from base64 import b64encode
from functools import partial

import httpx
import pytest

from services.common.door import Limits
from services.common.ids import NodeKind
from services.common.tls import tls_refusal
from services.license.api import access
from services.license.core.sessions import IDLE_S, LONGEST_S
from services.license.core.throttle import PAIR
from tests.component.license import conftest
from tests.component.license.conftest import Server, a_document
from tests.component.license.people import PASSWORD, add, administrator, browser
from tests.component.license.test_license_server import code, moment


async def test_first_sign_in_needs_the_code_and_makes_an_administrator(server):
    async with browser(server) as person:
        assert (await person.send("GET", "/setup")).json() == {
            "needed": True, "reset_pending": False,
        }  # fmt: skip
        assert (server.folder / "setup-code").stat().st_mode & 0o777 == 0o600
        body = {"code": "wrong", "user": "admin", "password": PASSWORD}
        assert code(await person.send("POST", "/setup", json=body)) == (403, "bad-setup-code")
        answer = await person.set_up()
        assert answer.status_code == 201
        told = answer.json()
        assert (told["user"], told["role"]) == ("admin", "administrator")
        cookie = answer.headers["set-cookie"]
        for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
            assert word in cookie
        assert (await person.send("GET", "/session")).json()["user"] == "admin"
        assert (await person.send("GET", "/setup")).json()["needed"] is False
        assert not (server.folder / "setup-code").exists()
        again = {"code": "any", "user": "x", "password": PASSWORD}
        assert code(await person.send("POST", "/setup", json=again)) == (409, "already-set-up")


async def test_the_code_is_logged_at_each_start_until_it_is_used(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        first = await watch.line("setup code")
    async with server.running():
        assert await watch.line("setup code", 2) == first
        async with administrator(server):
            pass
    async with server.running():
        pass
    assert len([line for line in watch.lines if "setup code" in line]) == 2


@pytest.mark.parametrize("password", ["short", "admin1234567"[:11], "x" * 201, "a" * 12])
async def test_password_rules(server, password):
    async with browser(server) as person:
        assert code(await person.set_up(password=password)) == (400, "bad-password")
        assert (await person.send("GET", "/setup")).json()["needed"] is True


async def test_sign_in_sign_out(server):
    async with administrator(server) as person:
        assert (await person.send("DELETE", "/session")).status_code == 204
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")
        assert (await person.sign_in("ADMIN")).json()["user"] == "admin"
        wrong, unknown = await person.sign_in("admin", "no"), await person.sign_in("nobody", "no")
        assert code(wrong) == (401, "bad-credentials")
        assert wrong.json() == unknown.json()


async def test_a_token_changes_at_sign_in_and_the_old_one_is_gone(server):
    async with administrator(server) as person:
        old = person.http.cookies["__Host-swarm_license"]
        await person.sign_in("admin")
        assert person.http.cookies["__Host-swarm_license"] != old
        person.http.cookies.clear()
        person.http.cookies.clear()
        person.http.cookies.set("__Host-swarm_license", old)
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")


async def test_tokens_and_passwords_are_not_in_the_data_folder(server):
    async with administrator(server) as person:
        secrets = [PASSWORD, person.http.cookies["__Host-swarm_license"], person.csrf]
        kept = b"".join(path.read_bytes() for path in server.folder.glob("*.sqlite*"))
        assert b"admin" in kept
        assert [secret for secret in secrets if secret.encode() in kept] == []


async def test_sessions_end_when_idle_and_at_last(server):
    async with administrator(server) as person:
        server.clock.now += IDLE_S - 1
        assert (await person.send("GET", "/session")).json()["expires_in_s"] == IDLE_S
        server.clock.now += IDLE_S
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")
        await person.sign_in("admin")
        for _ in range(int(LONGEST_S / IDLE_S * 2) - 1):
            server.clock.now += IDLE_S / 2
            assert (await person.send("GET", "/session")).status_code == 200
        server.clock.now += IDLE_S / 2
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")


async def test_a_new_password_ends_all_other_sessions(server):
    async with administrator(server) as person, browser(server) as elsewhere:
        await elsewhere.sign_in("admin")
        wrong = {"old": "no", "new": "another long one"}
        answer = await person.send("PUT", "/session/password", json=wrong)
        assert code(answer) == (401, "bad-credentials")
        right = {"old": PASSWORD, "new": "another long one"}
        assert (await person.send("PUT", "/session/password", json=right)).status_code == 200
        assert (await person.send("GET", "/users")).status_code == 200
        assert code(await elsewhere.send("GET", "/session")) == (401, "not-signed-in")
        assert code(await elsewhere.sign_in("admin")) == (401, "bad-credentials")
        assert (await elsewhere.sign_in("admin", "another long one")).status_code == 200


async def test_guessing_is_slowed_down_and_says_for_how_long(server):
    async with administrator(server), browser(server) as thief:
        for _ in range(PAIR.free):
            assert code(await thief.sign_in("admin", "guess")) == (401, "bad-credentials")
        slowed = await thief.sign_in("admin", PASSWORD)
        assert code(slowed) == (429, "too-many-tries")
        wait = int(slowed.headers["retry-after"])
        assert str(wait) in slowed.json()["detail"]
        server.clock.now += wait
        assert (await thief.sign_in("admin")).status_code == 200


async def test_unknown_users_are_slowed_down_alike(server):
    async with administrator(server), browser(server) as thief:
        statuses = [(await thief.sign_in("nobody", "x")).status_code for _ in range(PAIR.free + 1)]
        assert statuses == [401] * PAIR.free + [429]


@pytest.mark.parametrize("headers", [{"x-csrf-token": ""}, {"x-csrf-token": "0" * 64}])
async def test_changes_need_the_sessions_word(server, headers):
    async with administrator(server) as person:
        answer = await person.send("PUT", "/settings", json={}, headers=headers)
        assert code(answer) == (403, "csrf")
        assert (await person.send("PUT", "/settings", json={})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}],
)
async def test_another_sites_page_cannot_sign_somebody_in(server, headers):
    async with administrator(server) as person:
        body = {"user": "admin", "password": PASSWORD}
        answer = await person.send("POST", "/session", json=body, headers=headers)
        assert code(answer) == (403, "cross-site")


async def test_a_page_cannot_use_the_browsers_certificate_or_remembered_password(server):
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "https://evil.example"}):
        answer = await server.send("GET", "/leases", NodeKind.SWCI, headers=headers)
        assert code(answer) == (401, "not-signed-in")
        answer = await server.send("DELETE", "/leases/x", headers=headers)
        assert code(answer) == (403, "cross-site")
    async with administrator(server), browser(server) as other:
        answer = await other.send("GET", "/users", headers=_basic("admin"))
        assert code(answer) == (401, "not-signed-in")


def _basic(name, password=PASSWORD):
    return {"authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


async def test_scripts_may_use_a_name_and_password(server):
    async with administrator(server) as person:
        await add(person, "script", "product-admin")
        server.trust()
        person.http.cookies.clear()
        for headers, expected in ((_basic("script"), 201), (_basic("script", "no"), 401)):
            answer = await person.http.post(
                "/licenses", content=a_document(1, moment(server)), headers=headers
            )
            assert answer.status_code == expected, answer.text
        answer = await person.http.get("/users", headers=_basic("script"))
        assert code(answer) == (403, "forbidden")
        for bad in ("Basic !!", "Basic bm9jb2xvbg==", "Basic"):
            answer = await person.http.get("/leases", headers={"authorization": bad})
            assert code(answer) == (401, "bad-credentials")


async def test_users_are_added_changed_and_removed(server):
    async with administrator(server) as admin, browser(server) as person:
        await add(admin, "Anna", "view-only")
        assert (await person.sign_in("anna")).json()["role"] == "view-only"
        rows = (await admin.send("GET", "/users")).json()
        assert [(row["name"], row["role"], row["disabled"]) for row in rows] == [
            ("admin", "administrator", False), ("Anna", "view-only", False),
        ]  # fmt: skip
        assert rows[1]["last_sign_in"] == int(server.clock.now)
        change = {"role": "product-admin"}
        assert (await admin.send("PUT", "/users/anna", json=change)).status_code == 200
        assert (await person.send("GET", "/session")).json()["role"] == "product-admin"
        await admin.send("PUT", "/users/anna", json={"disabled": True})
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")
        assert code(await person.sign_in("anna")) == (401, "bad-credentials")
        await admin.send("PUT", "/users/anna", json={"disabled": False, "password": PASSWORD[::-1]})
        assert (await person.sign_in("anna", PASSWORD[::-1])).status_code == 200
        assert (await admin.send("DELETE", "/users/anna")).status_code == 204
        assert code(await person.send("GET", "/session")) == (401, "not-signed-in")
        assert code(await admin.send("DELETE", "/users/anna")) == (404, "not-found")


async def test_bad_users_are_refused(server):
    async with administrator(server) as admin:
        for name, role, password, expected in (
            ("a b", "view-only", PASSWORD, (400, "bad-name")),
            ("<b>", "view-only", PASSWORD, (400, "bad-name")),
            ("x" * 65, "view-only", PASSWORD, (400, "bad-request")),
            ("anna", "root", PASSWORD, (400, "bad-request")),
            ("anna", "view-only", "short", (400, "bad-password")),
            ("ADMIN", "view-only", PASSWORD, (409, "user-exists")),
        ):
            body = {"name": name, "role": role, "password": password}
            assert code(await admin.send("POST", "/users", json=body)) == expected


async def test_the_last_administrator_stays(server):
    async with administrator(server) as admin:
        expected = (409, "last-administrator")
        for change in ({"role": "view-only"}, {"disabled": True}):
            assert code(await admin.send("PUT", "/users/admin", json=change)) == expected
        assert code(await admin.send("DELETE", "/users/admin")) == expected
        await add(admin, "second", "administrator")
        assert (await admin.send("DELETE", "/users/admin")).status_code == 204


async def test_only_administrators_read_about_users_in_the_history(server):
    async with administrator(server) as admin:
        await admin.sign_in("admin", "wrong")
        kinds = [row["kind"] for row in (await admin.send("GET", "/history")).json()]
        assert kinds == ["installed", "set-up", "signed-in", "sign-in-failed"]
        row = (await admin.send("GET", "/history?kind=sign-in-failed")).json()[0]
        assert (row["common_name"], row["note"]) == ("user:admin", "from 127.0.0.1")
        text = (await admin.send("GET", "/history.csv")).text
        assert PASSWORD not in text
        assert "sign-in-failed" in text
        await admin.sign_in("admin")
        server.trust()
        await admin.send("POST", "/licenses", content=a_document(1, moment(server)))
        await admin.send("PUT", "/settings", json={})
    for path in ("/history", "/history?text=admin", "/history.csv", "/licenses", "/licenses.csv"):
        assert "user:" not in (await server.send("GET", path, NodeKind.SL)).text
        assert "user:admin" in (await server.send("GET", path, NodeKind.SWCI)).text
    server.clock.now += 1
    for role in (NodeKind.SL, NodeKind.SWCI):
        for path in ("/history", "/history.csv", "/history?kind=signed-in"):
            answer = await server.send("GET", path, role)
            assert answer.status_code == 200
            assert not re.search("set-up|sign-in|signed-in", answer.text)


async def test_guesses_by_many_wait_in_a_short_line(server, monkeypatch):
    """So that they cannot keep threads, and with them leases, from nodes."""
    monkeypatch.setattr(access, "SLOW_WAITING", 3)
    checking, go_on = threading.Semaphore(0), threading.Event()
    passwords = server.desk.accounts._passwords
    quick = passwords._matches

    def slow(password, kept):
        checking.release()
        go_on.wait(30)
        return quick(password, kept)

    async with administrator(server), contextlib.AsyncExitStack() as many:
        passwords._matches = slow
        thieves = [await many.enter_async_context(browser(server)) for _ in range(4)]
        guesses = [
            asyncio.create_task(thief.sign_in(f"u{n}", "x")) for n, thief in enumerate(thieves)
        ]
        try:
            for _ in range(access.SLOW_AT_ONCE):
                assert await asyncio.to_thread(checking.acquire, timeout=30)
            done, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
            assert [code(task.result()) for task in done] == [(503, "busy")]
            assert (await server.acquire(1)).status_code == 201
            assert not checking.acquire(blocking=False)
        finally:
            go_on.set()
            answers = await asyncio.gather(*guesses)
        assert sorted(answer.status_code for answer in answers) == [401, 401, 401, 503]


async def test_a_bad_certificate_is_refused_where_none_is_needed(server, pki):
    for bad in ({"wrong_ca": True}, {"expired": True}):
        async with server.http(identity=pki.bad_identity(NodeKind.SL, **bad)) as http:
            with pytest.raises((httpx.HTTPError, ssl.SSLError)) as caught:
                await http.get("/setup")
        assert tls_refusal(caught.value)


async def test_clients_without_a_certificate_leave_room_for_nodes(tmp_path, pki, monkeypatch):
    server = Server(tmp_path / "license", pki)
    monkeypatch.setattr(
        conftest, "serving", partial(conftest.serving, limits=Limits(without_certificate=2))
    )
    async with server.running(), contextlib.AsyncExitStack() as many:
        people = [await many.enter_async_context(browser(server)) for _ in range(3)]
        answers = [await person.send("GET", "/setup") for person in people]
        assert [answer.status_code for answer in answers] == [200, 200, 503]
        assert (await server.acquire(1)).status_code == 201
