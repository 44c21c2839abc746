"""Mutual TLS and the REST shell: who is let in, what the others are told (FAULTS S1, S2, S7)."""

import asyncio
import logging
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fastapi import Depends, Request

from services.common.errors import ConfigError, LayoutError
from services.common.ids import NodeKind
from services.common.rest import MAX_BODY, caller, listen, make_app, serving
from services.common.settings import NodeSettings
from services.common.tls import PeerCertificate, expiry_notice, load_identity, tls_refusal
from tests.pki import Pki


class Service:
    """A server with one route for each thing to try; ``seen`` lists who got through TLS."""

    def __init__(self, identity):
        self.identity = identity
        self.seen = []
        self.app = make_app("test")

        @self.app.get("/whoami")
        async def whoami(who: Annotated[PeerCertificate, Depends(caller)]) -> str:
            self.seen.append(who)
            return f"{who.role} {who.common_name}"

        @self.app.get("/only-sn")
        async def only_sn(who: Annotated[PeerCertificate, Depends(caller)]) -> str:
            who.require(NodeKind.SN)
            return "in"

        @self.app.post("/count")
        async def count(request: Request) -> int:
            return len(await request.body())

        @self.app.get("/conflict")
        async def conflict(number: int) -> str:
            raise LayoutError(f"layout {number} differs")

    @asynccontextmanager
    async def running(self):
        sock = listen("127.0.0.1", 0, "test")
        self.port = sock.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        async with serving(self.app, sock, self.identity):
            yield self

    async def ask(self, context, path="/whoami", method="GET", **more):
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            return await http.request(method, self.url + path, **more)


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


@pytest.fixture
async def service(pki):
    async with Service(pki.identity(NodeKind.SN)).running() as made:
        yield made


def settings(files, **more):
    named = {name.lower(): value for name, value in files.items()}
    return NodeSettings(**{**named, **more})


# --- who is let in


async def test_a_good_certificate_is_let_in_and_seen(service, pki):
    identity = pki.identity(NodeKind.SL, "7")
    answer = await service.ask(identity.client_context())
    assert answer.json() == "SL SL-7"
    assert service.seen[0] == identity.certificate
    assert len(service.seen[0].fingerprint) == 64


@pytest.mark.parametrize(
    ("bad", "client_hears", "server_logs"),
    [
        ({"expired": True}, "CERTIFICATE_EXPIRED", "certificate has expired"),
        ({"not_yet_valid": True}, "BAD_CERTIFICATE", "certificate is not yet valid"),
        ({"wrong_ca": True}, "UNKNOWN_CA|DECRYPT_ERROR", "certificate signature failure|issuer"),
    ],
    ids=["expired", "not yet valid", "wrong CA"],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_bad_client_certificate_is_refused_and_both_sides_say_why(
    service, pki, caplog, bad, client_hears, server_logs, version
):
    context = pki.bad_identity(NodeKind.SL, **bad).client_context()
    context.maximum_version = version
    with pytest.raises((httpx.HTTPError, ssl.SSLError)) as caught:
        await service.ask(context)
    assert any(word in (tls_refusal(caught.value) or "") for word in client_hears.split("|"))
    lines = [r.getMessage() for r in caplog.records if r.name == "swarm.tls"]
    assert len(lines) == 1
    assert any(word in lines[0] for word in server_logs.split("|"))
    assert service.seen == []


async def test_no_client_certificate_is_refused(service, pki, caplog):
    context = ssl.create_default_context(cafile=pki.ca_cert)
    context.check_hostname = False
    with pytest.raises((httpx.HTTPError, ssl.SSLError)) as caught:
        await service.ask(context)
    assert "ALERT_CERTIFICATE_REQUIRED" in tls_refusal(caught.value)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text
    assert service.seen == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"expired": True}, "has expired"),
        ({"not_yet_valid": True}, "not yet valid"),
        ({"wrong_ca": True}, "signature failure|issuer|self-signed"),
    ],
    ids=["expired", "not yet valid", "wrong CA"],
)
async def test_a_bad_server_certificate_is_refused(pki, bad, says):
    good = pki.identity(NodeKind.SL).client_context()
    async with Service(pki.bad_identity(NodeKind.SN, **bad)).running() as service:
        with pytest.raises(httpx.ConnectError) as caught:
            await service.ask(good)
    assert any(word in tls_refusal(caught.value) for word in says.split("|"))


async def test_a_wrong_role_is_told_what_is_needed(service, pki):
    answer = await service.ask(pki.identity(NodeKind.SL).client_context(), "/only-sn")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"]) == ("forbidden", 403)
    assert "'SL-1' has role SL, but this needs SN" in problem["detail"]
    allowed = await service.ask(pki.identity(NodeKind.SN).client_context(), "/only-sn")
    assert allowed.json() == "in"


async def test_a_certificate_without_a_role_has_none(service, pki):
    nobody = pki.bad_identity(NodeKind.SL, common_name="alice")
    assert (await service.ask(nobody.client_context())).json() == "None alice"
    assert (await service.ask(nobody.client_context(), "/only-sn")).status_code == 403


def old_tls(context):
    """Let a context speak TLS 1.1 as far as OpenSSL can."""
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def shake_hands(client_context, server_context):
    """A handshake in memory; returns the version agreed on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version()


def test_tls_below_1_2_is_refused(pki):
    identity = pki.identity(NodeKind.SL)
    old_client, old_server = old_tls(identity.client_context()), old_tls(identity.server_context())
    assert shake_hands(old_client, old_server) == "TLSv1.1", "OpenSSL could speak it"
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        shake_hands(old_client, identity.server_context())
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|INTERNAL"):
        shake_hands(identity.client_context(), old_server)
    assert shake_hands(identity.client_context(), identity.server_context()) == "TLSv1.3"


async def test_plain_http_is_refused_at_once_and_the_server_goes_on(service, pki, caplog):
    soon = 5.0  # seconds; a handshake may take 10
    async with httpx.AsyncClient(trust_env=False, timeout=soon) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(f"http://127.0.0.1:{service.port}/whoami")
    assert "it speaks plain HTTP, this port HTTPS" in caplog.text
    assert (await service.ask(pki.identity(NodeKind.SL).client_context())).status_code == 200


async def test_two_hosts_that_trust_each_others_ca(tmp_path, service, pki):
    other = Pki(tmp_path / "other", "CA-2")
    stranger = other.identity(NodeKind.SL)
    with pytest.raises((httpx.HTTPError, ssl.SSLError)):
        await service.ask(stranger.client_context())
    for mine, yours in ((pki, other), (other, pki)):
        (mine.capath / yours.ca_cert.name).write_bytes(yours.ca_cert.read_bytes())
    async with Service(pki.identity(NodeKind.SN)).running() as both:
        answer = await both.ask(other.identity(NodeKind.SL).client_context())
        assert answer.json() == "SL SL-1"


# --- the REST shell


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_limit(service, pki, chunked):
    context = pki.identity(NodeKind.SL).client_context()

    async def chunks(size):
        for start in range(0, size, 65_536):
            yield b"x" * min(65_536, size - start)

    async def post(size):
        content = chunks(size) if chunked else b"x" * size
        return await service.ask(context, "/count", "POST", content=content)

    assert (await post(MAX_BODY)).json() == MAX_BODY
    refused = await post(MAX_BODY + 1)
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/problem+json"


async def test_every_error_is_problem_json(service, pki):
    context = pki.identity(NodeKind.SL).client_context()
    for path, status, code in (
        ("/conflict?number=3", 409, "layout"),
        ("/conflict?number=x", 400, "bad-request"),
        ("/conflict", 400, "bad-request"),
        ("/nowhere", 404, "http"),
        ("/count", 405, "http"),
    ):
        answer = await service.ask(context, path)
        assert answer.headers["content-type"] == "application/problem+json", path
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
        assert problem["detail"]
    assert (await service.ask(context, "/is_up")).text == "OK"
    assert (await service.ask(context, "/healthz")).text == "OK"


async def test_stops_in_order_while_a_client_is_connected(pki):
    async with Service(pki.identity(NodeKind.SN)).running() as service:
        http = httpx.AsyncClient(verify=pki.identity(NodeKind.SL).client_context(), trust_env=False)
        await http.get(f"{service.url}/is_up")
        port = service.port
    listen("127.0.0.1", port, "the next one").close()
    await http.aclose()


def test_port_taken_says_so():
    with listen("127.0.0.1", 0, "test") as sock:
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=f"the API cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port, "the API")


def test_sockets_are_not_inherited_by_child_processes():
    with listen("127.0.0.1", 0, "test") as sock:
        assert not sock.get_inheritable()
        assert sock.family is socket.AF_INET


# --- identity files


def test_good_files(pki):
    identity = load_identity(settings(pki.files(NodeKind.SWOP, "3")), NodeKind.SWOP)
    assert identity.certificate.common_name == "SWOP-3"
    assert identity.certificate.role is NodeKind.SWOP


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"expired": True}, "expired on .* UTC: renew it"),
        ({"not_yet_valid": True}, "not valid before .* check this machine's clock"),
        ({"common_name": "SN-1"}, "is a certificate of role SN, this node is SL"),
        ({"common_name": "alice"}, "role none, this node is SL"),
    ],
)
def test_a_node_with_a_bad_certificate_does_not_start(pki, bad, says):
    with pytest.raises(ConfigError, match=says):
        load_identity(settings(pki.bad_files(NodeKind.SL, **bad)), NodeKind.SL)


def test_ten_minutes_of_clock_difference_do_not_matter(pki):
    for minutes in (-10, 10):
        now = datetime.now(UTC) + timedelta(minutes=minutes)
        load_identity(settings(pki.files(NodeKind.SL)), NodeKind.SL, now)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"swarm_id_key": None}, "SWARM_ID_KEY is not set"),
        ({"swarm_id_cert": None}, "SWARM_ID_CERT is not set"),
        ({"swarm_id_cert": "/nowhere.pem"}, "SWARM_ID_CERT=/nowhere.pem: no such file"),
        ({"swarm_id_capath": None}, "no CA to trust"),
        ({"swarm_id_capath": "/nowhere"}, "SWARM_ID_CAPATH=/nowhere: no such folder"),
        ({"swarm_id_cacert": "/nowhere.pem"}, "SWARM_ID_CACERT=/nowhere.pem: no such file"),
    ],
)
def test_missing_files_are_named(pki, changed, says):
    with pytest.raises(ConfigError, match=says):
        load_identity(settings(pki.files(NodeKind.SL), **changed), NodeKind.SL)


def test_garbage_and_mismatched_files(pki, tmp_path):
    files = pki.files(NodeKind.SL)
    other = pki.files(NodeKind.SL, "2")
    with pytest.raises(ConfigError, match="is not the key of"):
        load_identity(settings(files, swarm_id_key=Path(other["SWARM_ID_KEY"])), NodeKind.SL)
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"\x00garbage")
    with pytest.raises(ConfigError, match="not a readable PEM certificate"):
        load_identity(settings(files, swarm_id_cert=garbage), NodeKind.SL)
    with pytest.raises(ConfigError, match="not a readable unencrypted PEM key"):
        load_identity(settings(files, swarm_id_key=garbage), NodeKind.SL)
    with pytest.raises(ConfigError, match="cannot use"):
        load_identity(settings(files, swarm_id_cacert=garbage), NodeKind.SL)


def test_an_encrypted_key_is_refused_with_words(pki, tmp_path):
    files = pki.files(NodeKind.SL)
    key = load_pem_private_key(Path(files["SWARM_ID_KEY"]).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(ConfigError, match="unencrypted PEM key"):
        load_identity(settings(files, swarm_id_key=locked), NodeKind.SL)


def test_expiry_notice(pki):
    identity = pki.identity(NodeKind.SL)
    end = identity.certificate.not_after
    assert expiry_notice(identity, end - timedelta(days=15)) is None
    notice = expiry_notice(identity, end - timedelta(days=3, hours=1))
    assert "expires in 3 days" in notice
    assert str(identity.cert) in notice


async def test_many_refused_clients_do_no_harm(service, pki):
    bad = pki.bad_identity(NodeKind.SL, wrong_ca=True).client_context()
    logging.getLogger("swarm.tls").setLevel(logging.ERROR)
    try:
        outcomes = await asyncio.gather(
            *(service.ask(bad) for _ in range(30)), return_exceptions=True
        )
    finally:
        logging.getLogger("swarm.tls").setLevel(logging.NOTSET)
    assert all(isinstance(outcome, httpx.HTTPError | ssl.SSLError) for outcome in outcomes)
    answer = await service.ask(pki.identity(NodeKind.SL).client_context())
    assert answer.status_code == 200
