"""The SN client with several SNs, over real TLS: one that hangs takes nothing with it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fastapi import Response

from services.common import rest, sn_client
from services.common import sn_api as api
from services.common.errors import SnUnavailableError
from services.common.ids import NodeKind
from services.common.sn_client import SnClient
from tests.pki import Pki

PATIENCE = 20.0
"""Seconds after which what should happen at once counts as never; a long poll here lasts longer."""
POLL = 60.0
ME = "a" * 32

VIEW = api.ContractView(
    name="c", generation=1, phase=api.Phase.CHECKIN, round=3, term=0, leader="", terms=None,
    peers=[], merged=None, quorum_age_s=None, waiting_for="",
)  # fmt: skip
LEAVE = api.Leave(generation=1, reason="")
STATE = api.ContractState(cursor="3-1", view=VIEW, events=[])


class FakeSn:
    """Answers, hangs like a stopped process, or answers everything with 503."""

    def __init__(self):
        self.hangs, self.fails, self.cut_off = asyncio.Event(), False, False
        self.asked = []
        self.arrived = asyncio.Condition()
        self.app = rest.make_app("fake SN")
        for method, path in (
            ("POST", "/v1/nodes/{uid}/alive"),
            ("GET", "/v1/contracts/{name}/events"),
            ("POST", "/v1/contracts/{name}/peers/{uid}/leave"),
        ):
            self.app.add_api_route(path, self._route(path.rsplit("/", 1)[1]), methods=[method])
        self.hang = False

    def _route(self, what):
        async def answer():
            async with self.arrived:
                self.asked.append(what)
                self.arrived.notify_all()
            if self.hang:
                await self.hangs.wait()
            if self.fails:
                return rest.problem(503, "chain", "the chain waits")
            body = STATE
            if what == "alive":
                body = api.Registered(heartbeat_s=2, lost_after_s=6, sns=[], cut_off=self.cut_off)
            return Response(body.model_dump_json(), media_type="application/json")

        return answer

    async def was_asked(self, what, count=1):
        async with asyncio.timeout(PATIENCE), self.arrived:
            await self.arrived.wait_for(lambda: self.asked.count(what) >= count)


@pytest.fixture
async def network(tmp_path):
    """Fake SNs and a client that prefers the first: `async with network(2) as (a, b, client)`."""
    pki = Pki(tmp_path)

    @asynccontextmanager
    async def start(count=2):
        sns, names, servers = [], [], []
        for _ in range(count):
            sock = rest.listen("127.0.0.1", 0, "a fake SN")
            sns.append(FakeSn())
            names.append(f"127.0.0.1:{sock.getsockname()[1]}")
            servers.append(rest.serving(sns[-1].app, sock, pki.identity(NodeKind.SN)))
            await servers[-1].__aenter__()
        client = SnClient(pki.identity(NodeKind.SL), names, patience=0.0)
        try:
            yield (*sns, client)
        finally:
            await client.close()
            for sn, server in zip(sns, servers, strict=True):
                sn.hangs.set()
                await server.__aexit__(None, None, None)

    return start


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sn_client, "HEARTBEAT_SECONDS", 0.3)


async def test_a_failed_heartbeat_takes_the_long_poll_and_the_writes_along(network, quick):
    async with network() as (hung, good, client):
        hung.hang = True
        polling = asyncio.create_task(client.watch("c", "2-1", POLL))
        writing = asyncio.create_task(client.peer("c", ME, "leave", LEAVE))
        await hung.was_asked("events")
        await hung.was_asked("leave")
        async with asyncio.timeout(PATIENCE):
            await client.alive(ME)
            assert (await polling).cursor == "3-1"
            await writing
        assert sorted(good.asked) == ["alive", "events", "leave"]
        hung.hang = False
        await client.alive(ME)  # it stays with the one that answers
        assert good.asked[-1] == "alive"


async def test_a_long_poll_leaves_an_sn_that_answers_503(network):
    async with network() as (cut_off, good, client):
        cut_off.hang = True
        polling = asyncio.create_task(client.watch("c", "2-1", POLL))
        await cut_off.was_asked("events")
        cut_off.hang, cut_off.fails = False, True
        async with asyncio.timeout(PATIENCE):
            await client.peer("c", ME, "leave", LEAVE)
            assert (await polling).cursor == "3-1"
        assert cut_off.asked == ["events", "leave"]
        assert sorted(good.asked) == ["events", "leave"]


async def test_an_sn_that_is_not_up_yet_is_waited_for(tmp_path, caplog):
    pki = Pki(tmp_path)
    sock = rest.listen("127.0.0.1", 0, "a fake SN")  # does not listen yet: connections are refused
    name = f"127.0.0.1:{sock.getsockname()[1]}"
    client = SnClient(pki.identity(NodeKind.SL), [name], patience=PATIENCE)
    beating = asyncio.create_task(client.alive(ME))
    async with asyncio.timeout(PATIENCE):
        while f"Failed to connect to the API server. Retrying 1 of 12: {name}: " not in caplog.text:
            await asyncio.sleep(0.01)  # a log has no event to wait for
    sn = FakeSn()
    async with rest.serving(sn.app, sock, pki.identity(NodeKind.SN)), asyncio.timeout(PATIENCE):
        await beating
        await client.close()
    assert sn.asked == ["alive"]


async def test_with_one_sn_there_is_nowhere_to_go(network, quick):
    async with network(1) as (only, client):
        client.patience = PATIENCE
        only.hang = True
        polling = asyncio.create_task(client.watch("c", "2-1", POLL))
        await only.was_asked("events")
        beating = asyncio.create_task(client.alive(ME))
        await only.was_asked("alive", 2)  # the first one failed
        only.hang = False
        only.hangs.set()
        async with asyncio.timeout(PATIENCE):
            await beating
            await polling
        assert only.asked.count("events") == 1


async def test_an_sn_that_is_cut_off_is_left_with_what_waits_there(network):
    async with network(2) as (a, b, client):
        a.hang = True
        poll = asyncio.create_task(client.watch("c", "0", POLL))
        await a.was_asked("events")
        a.hang, a.cut_off = False, True
        assert (await client.alive(ME)).cut_off
        async with asyncio.timeout(PATIENCE):
            assert (await poll).cursor == "3-1"
        assert not (await client.alive(ME)).cut_off
        assert b.asked == ["events", "alive"]


async def test_where_all_sns_are_cut_off_none_is_left(network):
    async with network(2) as (a, b, client):
        a.cut_off = b.cut_off = True
        for _ in range(4):
            await client.alive(ME)
        assert (len(a.asked), len(b.asked)) == (1, 3)  # it tried the other one, once


@pytest.mark.parametrize("known", [True, False])
async def test_a_tls_refusal_ends_the_start_at_once_but_no_node_in_mid_life(tmp_path, known):
    """Whose CA is missing at the SN may be renewed; one that never got in made a mistake."""
    pki, stranger = Pki(tmp_path / "a"), Pki(tmp_path / "b", "CA-2")
    sock = rest.listen("127.0.0.1", 0, "a fake SN")
    identity = pki.identity(NodeKind.SL)
    client = SnClient(identity, [f"127.0.0.1:{sock.getsockname()[1]}"], patience=1.5)
    async with rest.serving(FakeSn().app, sock, pki.identity(NodeKind.SN)):
        if known:
            await client.alive(ME)
        other = replace(stranger.identity(NodeKind.SL).material, trusted=identity.material.trusted)
        identity._take(other)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(SnUnavailableError, match="_ALERT_"):
            await client.alive(ME)
        tried = asyncio.get_running_loop().time() - begun
    await client.close()
    assert (tried >= 1.5) == known
