"""People in tests: browsers, and scripts with a name and password."""

import ssl
from contextlib import asynccontextmanager

import httpx

PASSWORD = "correct horse battery"


class Browser:
    """A browser without a certificate: keeps the cookie, sends the session's word.

    Args:
        server: of the tests' ``Server``.
        http: a client.
    """

    def __init__(self, server, http):
        self.server, self.http, self.csrf = server, http, ""

    async def send(self, method, path, **more):
        headers = {"sec-fetch-site": "same-origin"}
        if method != "GET":
            headers["x-csrf-token"] = self.csrf
            headers["origin"] = f"https://127.0.0.1:{self.server.port}"
        headers.update(more.pop("headers", {}))
        answer = await self.http.request(method, path, headers=headers, **more)
        if answer.headers.get("content-type") == "application/json" and "csrf" in answer.text:
            self.csrf = answer.json()["csrf"]
        return answer

    async def sign_in(self, user, password=PASSWORD):
        return await self.send("POST", "/session", json={"user": user, "password": password})

    async def set_up(self, user="admin", password=PASSWORD):
        code = (self.server.folder / "setup-code").read_text().strip()
        body = {"code": code, "user": user, "password": password}
        return await self.send("POST", "/setup", json=body)


@asynccontextmanager
async def browser(server):
    """A browser; without a client certificate, but with the swarm's CA."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_flags &= ~ssl.VERIFY_X509_STRICT
    bare.load_verify_locations(cafile=server.pki.ca_cert)
    async with httpx.AsyncClient(
        verify=bare, base_url=f"https://127.0.0.1:{server.port}/api/v1", trust_env=False
    ) as http:
        yield Browser(server, http)


@asynccontextmanager
async def administrator(server):
    """A browser in which the first administrator is signed in."""
    async with browser(server) as made:
        answer = await (made.set_up() if _is_new(server) else made.sign_in("admin"))
        assert answer.is_success, answer.text
        yield made


async def add(admin, name, role, password=PASSWORD):
    """Let an administrator add a user."""
    answer = await admin.send(
        "POST", "/users", json={"name": name, "role": role, "password": password}
    )
    assert answer.status_code == 201, answer.text


def _is_new(server):
    return (server.folder / "setup-code").exists()
