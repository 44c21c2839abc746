"""A node whose SN forgets it (a new SN, or one that took it for lost) registers again by itself."""

import asyncio
import logging

import pytest
from fastapi import Response

from services.common import rest
from services.common import sn_api as api
from services.common.errors import NotFoundError, RemoteError
from services.common.ids import NodeId, NodeKind
from services.common.presence import VERSION, Presence
from services.common.sn_client import SnClient
from tests.pki import Pki

ME = NodeId("a" * 32)


def said(endpoint: str) -> api.NodeRegistration:
    return api.NodeRegistration(kind=NodeKind.SWOP, endpoint=endpoint, version=VERSION)


class Forgetful:
    """An SN that knows a node for two heartbeats."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.registrations: list[api.NodeRegistration] = []
        self.twice = asyncio.Event()
        self.app = rest.make_app("fake SN")
        self.app.add_api_route("/v1/nodes/{uid}", self._register, methods=["PUT"])
        self.app.add_api_route("/v1/nodes/{uid}/alive", self._alive, methods=["POST"])

    async def _register(self, uid: str, body: api.NodeRegistration) -> Response:
        assert uid == ME
        self.asked.append("register")
        self.registrations.append(body)
        if len(self.registrations) == 2:
            self.twice.set()
        return self._known()

    async def _alive(self, uid: str) -> Response:
        self.asked.append("alive")
        if self.asked[-3:] == ["alive"] * 3:
            raise NotFoundError(f"no node {uid}")
        return self._known()

    def _known(self) -> Response:
        body = api.Registered(heartbeat_s=0.01, lost_after_s=6, sns=[], cut_off=False)
        return Response(body.model_dump_json(), media_type="application/json")


@pytest.mark.parametrize("endures", [True, False])
async def test_an_sn_that_is_not_there(tmp_path, caplog: pytest.LogCaptureFixture, endures: bool):
    with rest.listen("127.0.0.1", 0, "nobody") as sock:
        name = f"127.0.0.1:{sock.getsockname()[1]}"
    client = SnClient(Pki(tmp_path).identity(NodeKind.SWOP), [name], patience=0.0)
    presence = Presence(client, ME, said(name), logging.getLogger("x"), endures=endures)
    if endures:
        await presence.register_again()
        assert "not registered: no SN answers" in caplog.text
    else:
        with pytest.raises(RemoteError):
            await presence.register_again()
    with pytest.raises(RemoteError):
        await presence.register()
    await client.close()


async def test_a_forgotten_node_registers_again(tmp_path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    pki, sn = Pki(tmp_path), Forgetful()
    sock = rest.listen("127.0.0.1", 0, "a fake SN")
    name = f"127.0.0.1:{sock.getsockname()[1]}"
    client = SnClient(pki.identity(NodeKind.SWOP), [name], patience=0.0)
    presence = Presence(client, ME, said(name), logging.getLogger("x"), ", as a test")
    async with rest.serving(sn.app, sock, pki.identity(NodeKind.SN)):
        await presence.register()
        beats = asyncio.create_task(presence.heartbeats())
        async with asyncio.timeout(20):
            await sn.twice.wait()
        beats.cancel()
        await client.close()
    assert sn.asked[:5] == ["register", "alive", "alive", "alive", "register"]
    assert sn.registrations[0] == sn.registrations[1]
    assert (sn.registrations[0].kind, sn.registrations[0].version) == (NodeKind.SWOP, VERSION)
    assert f"registered as {ME} with the SN, as a test" in caplog.text
    assert "registering again" in caplog.text
