"""Files that are replaced while a node runs: each new connection uses what is there by then."""

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from services.common.identity_pool import IdentityPool
from services.common.identity_watch import notice_pause
from services.common.ids import NodeKind
from services.common.tls import MISMATCH_S, read_certificate
from tests.component.identity.site import (
    DAY,
    Site,
    authority,
    crl,
    echoing,
    issue,
    pem,
    shake_hands,
)


def shown(client, server):
    """Fingerprints that each end sees of the other."""
    return [
        read_certificate(end.getpeercert(binary_form=True)).fingerprint for end in (server, client)
    ]


def fingerprint(issued):
    from services.common.certificate import fingerprint_of

    return fingerprint_of(issued.certificate)


def test_contexts_made_before_use_what_is_there_now(site, peer):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    contexts = mine.client_context(), theirs.server_context()
    old = [fingerprint(site.issued), fingerprint(peer.issued)]
    assert shown(*shake_hands(*contexts)) == old
    site.renew()
    peer.renew()
    assert shown(*shake_hands(*contexts)) == old, "files are looked at now and then only"
    site.later()
    peer.later()
    new = [fingerprint(site.issued), fingerprint(peer.issued)]
    assert shown(*shake_hands(*contexts)) == new
    assert mine.certificate.fingerprint == new[0]
    assert mine.generation == 1


def test_key_and_certificate_written_one_after_the_other(site, caplog):
    identity = site.identity()
    new = issue(site.ca)
    site.key.write_bytes(new.key_pem())
    site.later()
    assert identity.generation == 0
    site.cert.write_bytes(new.cert_pem())
    site.later()
    assert identity.generation == 1
    assert identity.certificate.fingerprint == fingerprint(new)
    assert "cannot be used" not in caplog.text


def test_what_stays_broken_is_told_once_and_the_old_goes_on(site, peer, caplog):
    identity = site.identity()
    site.cert.write_bytes(b"garbage")
    for _ in range(int(2 * MISMATCH_S)):
        site.later()
        assert identity.generation == 0
    told = [r for r in caplog.records if "the new identity cannot be used" in r.getMessage()]
    assert len(told) == 1
    assert "cert.pem is not a readable PEM certificate" in told[0].getMessage()
    assert shake_hands(identity.client_context(), peer.identity(NodeKind.SN).server_context())
    site.renew()
    site.later()
    assert identity.generation == 1


@pytest.mark.parametrize(
    ("how", "says"),
    [({"end": -DAY / 2}, "expired on"), ({"start": DAY}, "is not valid before")],
)
def test_a_renewed_certificate_must_be_valid(site, caplog, how, says):
    identity = site.identity()
    site.renew(**how)
    site.later()
    identity.now()
    site.later(MISMATCH_S)
    assert identity.generation == 0
    assert says in caplog.text


def test_a_certificate_of_another_role_is_not_taken(site, caplog):
    identity = site.identity()
    site.name = "SN-1"
    site.renew()
    site.later()
    identity.now()
    site.later(MISMATCH_S)
    assert identity.generation == 0
    assert "is a certificate of role SN, this node is SL" in caplog.text


def test_files_switched_by_a_link_as_kubernetes_does(tmp_path, ca):
    def version(number):
        folder = tmp_path / f"..{number}"
        return Site(folder, ca)

    first = version(1)
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(first.folder)
    for name in ("key.pem", "cert.pem", "capath"):
        (mount / name).symlink_to(f"..data/{name}")
    site = first
    site.key, site.cert, site.cas = (mount / n for n in ("key.pem", "cert.pem", "capath"))
    identity = site.identity()
    second = version(2)
    (mount / "..new").symlink_to(second.folder)
    (mount / "..new").rename(mount / "..data")
    site.later()
    assert identity.generation == 1
    assert identity.certificate.fingerprint == fingerprint(second.issued)


def test_an_added_ca_is_trusted_and_a_removed_one_no_more(site, peer):
    new = authority("CA-2")
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    contexts = mine.client_context(), theirs.server_context()
    site.renew(new)
    site.trust(new, "ca-2.pem")
    site.later()
    with pytest.raises(ssl.SSLError):
        shake_hands(*contexts)
    peer.trust(new, "ca-2.pem")
    peer.later()
    _, server = shake_hands(*contexts)
    assert theirs.objection(server) is None
    peer.renew(new)
    (peer.cas / "ca-2.pem").unlink()
    (peer.cas / "ca-1.pem").write_bytes(authority("CA-3").issued.cert_pem())
    peer.later()
    with pytest.raises(ssl.SSLError):
        shake_hands(*contexts)
    assert theirs.objection(server) == "the CA of SL-1 is not trusted any more"


def test_a_new_crl_ends_what_was_connected_before(site, peer):
    theirs = peer.identity(NodeKind.SN)
    _, server = shake_hands(site.identity().client_context(), theirs.server_context())
    assert theirs.objection(server) is None
    (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, site.issued)))
    peer.later()
    assert "certificate revoked" in theirs.objection(server)


def test_a_connection_outlives_no_certificate(site, peer):
    theirs = peer.identity(NodeKind.SN)
    _, server = shake_hands(site.identity().client_context(), theirs.server_context())
    assert theirs.objection(server, datetime.now(UTC) + timedelta(days=1)) is None
    assert theirs.objection(server, datetime.now(UTC) + timedelta(days=3)) == (
        "the certificate of SL-1 expired"
    )


async def test_asyncio_servers_and_clients_follow_and_drop_nothing(site, peer):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    context = mine.client_context()

    async def connect(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        tls = writer.get_extra_info("ssl_object")
        return reader, writer, read_certificate(tls.getpeercert(binary_form=True)).fingerprint

    async with echoing(theirs.server_context()) as port:
        reader, writer, before = await connect(port)
        peer.renew()
        peer.later()
        _, other, after = await connect(port)
        assert (before, after) == (before, fingerprint(peer.issued))
        assert before != after
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()
        other.close()


def test_plain_sockets_follow(site, peer):
    theirs = peer.identity(NodeKind.SN)
    mine = site.identity().client_context()
    context = theirs.server_context()
    peer.renew()
    peer.later()
    left, right = socket.socketpair()
    with left, right:
        thread = threading.Thread(
            target=lambda: context.wrap_socket(left, server_side=True).close()
        )
        thread.start()
        with mine.wrap_socket(right) as tls:
            seen = read_certificate(tls.getpeercert(binary_form=True)).fingerprint
        thread.join()
    assert seen == fingerprint(peer.issued)


async def test_httpx_follows_and_its_old_connections_end_when_they_are_done(site, peer):
    seen = []

    async def answer(reader, writer):
        tls = writer.get_extra_info("ssl_object")
        peer_fingerprint = read_certificate(tls.getpeercert(binary_form=True)).fingerprint
        while await reader.readuntil(b"\r\n\r\n"):
            seen.append(peer_fingerprint)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()

    async def handle(reader, writer):
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    context = peer.identity(NodeKind.SN).server_context()
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        timeout = httpx.Timeout(5)
        pool = IdentityPool(site.identity(), timeout)
        old = fingerprint(site.issued)
        for _ in range(2):
            await pool.request("GET", url, None, timeout)
        site.renew()
        site.later()
        for _ in range(2):
            await pool.request("GET", url, None, timeout)
        await pool.close()
    assert seen == [old, old, fingerprint(site.issued), fingerprint(site.issued)]


def test_warnings_come_daily_and_hourly_on_the_last_day():
    assert notice_pause(timedelta(days=13)) == timedelta(days=1)
    assert notice_pause(timedelta(hours=23)) == timedelta(hours=1)
    assert notice_pause(timedelta(seconds=-5)) == timedelta(hours=1)
