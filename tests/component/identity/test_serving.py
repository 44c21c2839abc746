"""Renewal and revocation through our REST server; servers whose clients may have none."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import Request

from services.common import identity_watch, rest, tls
from services.common.ids import NodeKind
from services.common.renewed import HEADER
from tests.component.identity.site import Site, authority, crl, pem, shake_hands


@asynccontextmanager
async def serving(identity):
    app = rest.make_app("test")

    @app.get("/who")
    async def who(request: Request) -> list[str]:
        known = rest.caller(request)
        return sorted({known.fingerprint, *known.former})

    sock = rest.listen("127.0.0.1", 0, "test")
    async with rest.serving(app, sock, identity):
        yield f"https://127.0.0.1:{sock.getsockname()[1]}/who"


async def test_a_kept_connection_goes_on_over_renewals_of_both_sides(site, peer):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    async with serving(theirs) as url, httpx.AsyncClient(verify=mine.client_context()) as http:
        first = (await http.get(url)).json()
        site.renew()
        peer.renew()
        site.later()
        peer.later()
        assert (await http.get(url)).json() == first, "the same connection"
        async with httpx.AsyncClient(verify=mine.client_context()) as other:
            plain = (await other.get(url)).json()
            known = (await other.get(url, headers={HEADER: mine.renewed})).json()
        assert plain == [mine.certificate.fingerprint]
        assert known == sorted([*first, *plain])


async def test_a_kept_connection_ends_at_the_request_after_its_certificate_was_revoked(
    site, peer, caplog
):
    mine, theirs = site.identity(), peer.identity(NodeKind.SN)
    async with serving(theirs) as url, httpx.AsyncClient(verify=mine.client_context()) as http:
        assert (await http.get(url)).status_code == 200
        (peer.cas / "list.crl").write_bytes(pem(crl(site.ca, site.issued)))
        peer.later()
        with pytest.raises(httpx.HTTPError):
            await http.get(url)
        assert "connection of SL-1 cut: certificate revoked" in caplog.text
        with pytest.raises(httpx.HTTPError):
            await http.get(url)
        assert "TLS client refused: certificate revoked" in caplog.text


def test_clients_without_a_certificate_where_it_is_optional(site, peer):
    theirs = peer.identity(NodeKind.SN)
    bare = ssl.create_default_context(cadata=site.ca.issued.cert_pem().decode())
    bare.check_hostname = False
    _, server = shake_hands(bare, theirs.server_context(client_certificate_optional=True))
    assert server.getpeercert(binary_form=True) is None
    assert theirs.objection(server) is None
    context = theirs.server_context(client_certificate_optional=True)
    peer.renew()
    peer.later()
    assert shake_hands(bare, context)
    _, server = shake_hands(site.identity().client_context(), context)
    assert server.getpeercert(binary_form=True)
    stranger = Site(site.folder / "stranger", authority("CA-9"))
    stranger.trust(site.ca, "ca-1.pem")
    with pytest.raises(ssl.SSLError):
        shake_hands(stranger.identity().client_context(), context)
    with pytest.raises(ssl.SSLError):
        shake_hands(bare, theirs.server_context())


async def test_a_running_node_notices_without_any_connection(site, monkeypatch, caplog):
    monkeypatch.setattr(identity_watch, "WATCH_S", 0.05)
    monkeypatch.setattr(tls, "LOOK_S", 0.0)
    caplog.set_level("INFO", "swarm.tls")
    async with identity_watch.kept_identity(site.settings(), NodeKind.SL) as identity:
        seen = aiter(identity_watch.renewals(identity))
        site.renew()
        async with asyncio.timeout(20):
            assert await anext(seen) == 1
        await seen.aclose()
    assert "expires in 1 days" in caplog.text
    assert "certificate renewed: SL-1" in caplog.text
