"""Who is refused although a certificate, or a former key, was good once; and odd circumstances."""

import asyncio
import logging
import os
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import Request

from services.common import identity_watch, rest, tls_context
from services.common.certificate import describe, spiffe_role
from services.common.identity_pool import IdentityPool
from services.common.ids import NodeKind
from services.common.material import Material
from services.common.renewed import HEADER, confirmed, statements
from services.common.tls import Identity, expiry_notice
from services.sn.adapters.p2p_link import reason
from tests.component.identity.site import DAY, crl, issue, pem, shake_hands


@asynccontextmanager
async def serving(identity, **options):
    app = rest.make_app("test")

    @app.get("/who")
    async def who(request: Request) -> list[str]:
        if rest.certificate_of(request.scope) is None:
            return []
        known = rest.caller(request)
        return sorted({known.fingerprint, *known.former})

    sock = rest.listen("127.0.0.1", 0, "test")
    async with rest.serving(app, sock, identity, **options):
        yield f"https://127.0.0.1:{sock.getsockname()[1]}/who"


# --- former keys


async def test_the_word_of_a_revoked_key_counts_no_more(site, peer, caplog):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    old = site.issued
    site.renew()
    site.later()
    names = sorted([mine.now().fingerprint, describe(old.certificate).fingerprint])
    async with serving(theirs) as url, httpx.AsyncClient(verify=mine.client_context()) as http:
        assert (await http.get(url, headers={HEADER: mine.renewed})).json() == names
        (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, old)))
        peer.later()
        answer = await http.get(url, headers={HEADER: mine.renewed})
        assert answer.json() == [mine.certificate.fingerprint]
        await http.get(url, headers={HEADER: mine.renewed})
    told = [r for r in caplog.records if "which is revoked: not believed" in r.getMessage()]
    assert len(told) == 1


def test_a_key_made_to_be_slow_to_check_is_not_checked(ca):
    who = describe(issue(ca).certificate)
    for exponent, believed in ((65537, True), ((1 << 32) + 15, False)):
        key = _rsa(exponent)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SL-1")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 7, now - DAY, now + DAY)
            .sign(ca.issued.key, hashes.SHA256())
        )  # fmt: skip
        former = Material("x", key, (certificate,), ())
        known = confirmed(who, statements([former], who.fingerprint))
        assert known.is_or_was(describe(certificate).fingerprint) is believed


def _rsa(exponent):
    while True:
        made = rsa.generate_private_key(65537, 2048).private_numbers()
        p, q = made.p, made.q
        try:
            d = pow(exponent, -1, (p - 1) * (q - 1))
        except ValueError:
            continue
        return rsa.RSAPrivateNumbers(
            p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
            rsa.RSAPublicNumbers(exponent, p * q),
        ).private_key()  # fmt: skip


def test_a_certificate_that_cannot_be_read_proves_nothing(ca):
    odd = issue(ca)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SL-1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, odd.certificate.public_key(), 7, now - DAY, now + DAY
    )
    for number in "12":  # two extensions that become one and the same
        oid = x509.ObjectIdentifier(f"1.2.3.{number}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, b"\x05\x00"), False)
    der = builder.sign(ca.issued.key, hashes.SHA256()).public_bytes(Encoding.DER)
    twice = x509.load_der_x509_certificate(der.replace(b"\x2a\x03\x02", b"\x2a\x03\x01"))
    with pytest.raises(x509.DuplicateExtension):
        _ = twice.extensions
    who = describe(issue(ca).certificate)
    value = statements([Material("x", odd.key, (twice,), ())], who.fingerprint)
    assert confirmed(who, value).spiffe_id == ""


# --- resumed sessions


def resumed(site, server_context, version, session=None):
    """A client that resumes its session, where it can, as ours never do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    context.load_cert_chain(site.cert, site.key)
    first, server = shake_hands(context, server_context)
    server.write(b"x")  # a ticket would come with it
    first.read(1)
    return shake_hands(_Resuming(context, first.session), server_context)[1]


class _Resuming:
    def __init__(self, context, session):
        self._context, self._session = context, session

    def wrap_bio(self, to_client, to_server):
        return self._context.wrap_bio(to_client, to_server, session=self._session)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_outlives_neither_its_certificate_nor_our_trust(site, peer, version):
    theirs = peer.identity(NodeKind.SN)
    server = resumed(site, theirs.server_context(), version)
    assert server.session_reused is (version is ssl.TLSVersion.TLSv1_2)
    assert theirs.objection(server) is None
    late = datetime.now(UTC) + timedelta(days=3)
    assert theirs.objection(server, late) == "the certificate of SL-1 expired"
    (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, site.issued)))
    peer.later()
    assert theirs.objection(server)


def test_an_expired_certificate_resumes_no_session(site, peer, monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=3)

    theirs = peer.identity(NodeKind.SN).server_context()
    assert resumed(site, theirs, ssl.TLSVersion.TLSv1_2).session_reused
    monkeypatch.setattr(tls_context, "datetime", Later)
    with pytest.raises(ssl.SSLError, match="certificate of SL-1 expired"):
        resumed(site, theirs, ssl.TLSVersion.TLSv1_2)


# --- clients without a certificate


async def test_where_certificates_are_optional_a_revoked_one_is_worse_than_none(site, peer):
    (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, site.issued)))
    theirs, mine = peer.identity(NodeKind.SN), site.identity()
    bare = ssl.create_default_context(cadata=site.ca.issued.cert_pem().decode())
    bare.check_hostname = False
    async with serving(theirs, client_certificate_optional=True) as url:
        async with httpx.AsyncClient(verify=mine.client_context()) as http:
            with pytest.raises(httpx.HTTPError):
                await http.get(url)
        async with httpx.AsyncClient(verify=bare) as http:
            assert (await http.get(url)).json() == []
            peer.renew()
            peer.later()
            assert (await http.get(url, headers={HEADER: "x.y"})).json() == [], "it goes on"


# --- cut off in the middle


async def test_a_request_that_began_is_answered_and_the_next_one_is_not_begun(site, peer):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    app, taken = rest.make_app("test"), []

    @app.post("/take")
    async def take(request: Request) -> int:
        taken.append(await request.body())
        return len(taken[-1])

    sock = rest.listen("127.0.0.1", 0, "test")
    async with rest.serving(app, sock, theirs), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            *sock.getsockname(), ssl=mine.client_context()
        )
        head = b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n"
        asking = head[:-2] + b"expect: 100-continue\r\n\r\n"
        writer.write(asking)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(b"abc")
        (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, site.issued)))
        peer.later()
        writer.write(b"def")
        answer = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(1)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"6")
        writer.write(head + b"ghijkl")
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    assert taken == [b"abcdef"]


# --- renewal in the middle


async def test_certificate_and_statement_fit_though_files_change_between_them(site, peer):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    old = site.issued
    async with serving(theirs) as url:
        pool = IdentityPool(mine, httpx.Timeout(10))
        found = pool._present

        async def then_renewed():
            http = await found()
            site.renew()
            site.later()
            return http

        pool._present = then_renewed
        known = (await pool.request("GET", url, None, httpx.Timeout(10))).json()
        assert known == [describe(old.certificate).fingerprint]
        pool._present = found
        assert (
            describe(old.certificate).fingerprint
            in (await pool.request("GET", url, None, httpx.Timeout(10))).json()
        )
        await pool.close()


def test_whatever_goes_wrong_with_a_successor_connections_are_made(site, peer, monkeypatch):
    identity = site.identity()
    context = identity.client_context()
    theirs = peer.identity(NodeKind.SN).server_context()
    monkeypatch.setattr(x509, "load_pem_x509_certificates", lambda _: 1 // 0)
    site.renew()
    site.later()
    assert shake_hands(context, theirs)
    monkeypatch.undo()
    site.later()
    assert identity.generation == 1, "it is looked at again"


def test_files_that_change_while_they_are_read_are_read_again(site, monkeypatch):
    source = site.source()
    source.load()
    site.renew()
    check = Material.check

    def slow(self, *arguments):
        monkeypatch.setattr(Material, "check", check)
        site.renew()
        check(self, *arguments)

    monkeypatch.setattr(Material, "check", slow)
    assert source.changed() is None
    fresh = source.changed()
    assert fresh is not None
    assert fresh.leaf == site.issued.certificate


def test_where_the_system_has_no_file_in_memory(site, peer, monkeypatch):
    def refused(*_):
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(os, "memfd_create", refused)
    assert shake_hands(
        site.identity().client_context(), peer.identity(NodeKind.SN).server_context()
    )


# --- what is said


def _identity(ca, start, end):
    issued = issue(ca, start=start, end=end)
    return Identity(Material("x.pem", issued.key, (issued.certificate,), (ca.issued.certificate,)))


def test_what_lives_for_an_hour_is_told_of_late(ca):
    minute = timedelta(minutes=1)
    fresh = _identity(ca, -30 * minute, 30 * minute)
    assert expiry_notice(fresh) is None
    late = _identity(ca, -50 * minute, 10 * minute)
    assert "expires in 0 h 9 min" in expiry_notice(late)
    assert "expires in 1 days" in expiry_notice(_identity(ca, -DAY, 2 * DAY))


def test_the_end_of_a_certificate_is_said_when_it_comes(ca, caplog):
    identity = _identity(ca, -2 * DAY, timedelta(seconds=-1))
    just_before = datetime.now(UTC) - timedelta(minutes=1)
    said = identity_watch._remind(identity, just_before)
    assert said > just_before
    assert "expired on" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
    assert identity_watch._remind(identity, said) == said, "and not again at once"


def test_farewells_fit_into_a_frame():
    assert len(reason("é" * 200).encode()) <= 123


def test_only_spiffe_ids_name_roles_as_such():
    assert spiffe_role("spiffe://site.org/x/sl-1") is NodeKind.SL
    assert spiffe_role("SPIFFE://site.org/sl-1") is None
    assert spiffe_role("") is None
