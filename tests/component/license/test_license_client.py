"""What a node sees of the license server: starting, running and ending with and without it."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from services.common.errors import ConfigError, LicenseRefusedError, LicenseUnavailableError
from services.common.ids import NodeKind
from services.common.license_api import Feature
from services.common.license_client import held_license
from services.common.rest import listen
from services.common.settings import NodeSettings
from services.license.adapters.history_table import Asked
from tests.component.license.conftest import Server, a_document

UID = f"{1:032x}"
RENEWS_AT_ONCE = 0.6
"""Length of a lease whose holder renews every 0.2 s (the test's clock stands still)."""


def settings(*servers, **more):
    names = ("primary", "secondary")
    named = {}
    for name, server in zip(names, servers, strict=False):
        named[f"swarm_license_autopassj_server_{name}_ip"] = "127.0.0.1"
        port = server if isinstance(server, int) else server.port
        named[f"swarm_license_autopassj_server_{name}_port"] = port
    return NodeSettings(**named, **more)


def held(pki, node, *, role=NodeKind.SL, identity=None, uid=UID, **times):
    times = {"patience": 0.0, "notice": 0.1, "tell": 0.0, **times}
    return held_license(node, identity or pki.identity(role), Feature.SL, uid, role, **times)


def events(server):
    """What happened to leases, from the server's history."""
    rows = server.desk.journal.history(Asked())
    return [row.kind for row in rows if row.kind not in ("installed", "removed")]


def no_server():
    """A port on which nobody answers."""
    sock = listen("127.0.0.1", 0, "test")
    port = sock.getsockname()[1]
    sock.close()
    return port


@pytest.fixture(autouse=True)
async def no_task_is_left():
    yield
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task for task in others if task.get_name().startswith("license")] == []


async def test_holds_while_the_body_runs_and_releases(server, pki, watch):
    async with held(pki, settings(server)):
        assert [lease.client.component for lease in server.office.usage()[2]] == ["SL"]
    assert events(server) == ["granted", "released"]
    ours = [line for line in watch.lines if line.startswith("INFO")]
    assert [line.removeprefix("INFO ") for line in ours if "granted" not in line][-6:] == [
        "Creating Autopass License Provider",
        "Creating license server",
        "Setting license servers",
        "Acquiring floating license 1100000378:1",
        "Releasing license",
        f"released 1100000378:1 of {UID}",
    ]


async def test_releases_when_the_body_fails_or_is_cancelled(server, pki):
    with pytest.raises(KeyError):
        async with held(pki, settings(server)):
            raise KeyError
    ready = asyncio.Event()

    async def node():
        async with held(pki, settings(server)):
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(node())
    await ready.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events(server) == ["granted", "released"] * 2


async def test_without_a_server_named_a_node_runs_open(pki, watch):
    async with held(pki, NodeSettings()):
        pass
    assert watch.lines == ["INFO Acquiring floating license 1100000378:1 (open mode)"]


async def test_open_mode_asks_nobody(server, pki):
    async with held(pki, settings(server, swarm_license_mode="open")):
        assert events(server) == []


@pytest.mark.parametrize("mode", ["required", "soft"])
async def test_a_mode_that_needs_a_server_wants_one_named(pki, mode):
    with pytest.raises(ConfigError, match="PRIMARY_IP"):
        async with held(pki, NodeSettings(swarm_license_mode=mode)):
            pass


async def test_away_at_start_is_error_6002(pki):
    port = no_server()
    with pytest.raises(LicenseUnavailableError) as caught:
        async with held(pki, settings(port)):
            pass
    lines = str(caught.value).splitlines()
    assert lines[0] == "Error Code: 6002"
    assert lines[1].endswith(
        "Unable to connect to server. Server might be wrongly configured or down."
    )
    assert f"Error in communicating With Server https://127.0.0.1:{port}" in lines[2]
    assert caught.value.exit_code == 1


async def test_waits_for_a_server_that_comes_up_late(tmp_path, pki, watch, monkeypatch):
    monkeypatch.setattr("services.common.license_client.RETRY_SECONDS", 0.05)
    server = Server(tmp_path / "license", pki)
    server.port = no_server()
    holder = held(pki, settings(server), patience=30)
    entering = asyncio.create_task(holder.__aenter__())
    await watch.line("WARNING No license server answers")
    async with server.running():
        await entering
        await holder.__aexit__(None, None, None)
        assert events(server) == ["granted", "released"]


async def test_soft_mode_goes_on_and_acquires_later(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki)
    server.port = no_server()
    async with held(pki, settings(server, swarm_license_mode="soft")):
        await watch.line("WARNING Going on without a license .*6002")
        await watch.line("WARNING No license for 0.0 h, running on")
        async with server.running():
            await watch.line("INFO License 1100000378:1 is held again")
            assert events(server) == ["granted"]


async def test_refusal_at_start_ends_a_node_with_the_servers_words(server, pki):
    server.trust()
    server.shelf.install(a_document(1, datetime(2020, 1, 1, tzinfo=UTC)), "test")
    async with held(pki, settings(server)):
        with pytest.raises(LicenseRefusedError, match=r"all 1 units .* in use, by SL") as caught:
            async with held(pki, settings(server), uid=f"{2:032x}"):
                pass
    assert (caught.value.code, caught.value.exit_code) == ("no-capacity", 4)


async def test_soft_mode_goes_on_when_refused(server, pki, watch):
    soft = settings(server, swarm_license_mode="soft")
    async with held(pki, soft, role=NodeKind.SWOP):
        await watch.line("WARNING Going on without a license .*role SWOP")


async def test_wrong_role_is_refused_at_start(server, pki):
    with pytest.raises(LicenseRefusedError) as caught:
        async with held(pki, settings(server), role=NodeKind.SN):
            pass
    assert caught.value.code == "forbidden"


async def test_the_secondary_serves_while_the_primary_is_away(server, pki):
    async with held(pki, settings(no_server(), server)):
        assert events(server) == ["granted"]


async def test_renews_in_the_background(tmp_path, pki):
    async with Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE).running() as server:
        renewals = asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()
        renew = server.office.renew

        def counted(lease_id, caller):
            loop.call_soon_threadsafe(renewals.release)
            return renew(lease_id, caller)

        server.office.renew = counted
        async with held(pki, settings(server)):
            server.clock.now += RENEWS_AT_ONCE / 2
            for _ in range(3):
                await asyncio.wait_for(renewals.acquire(), 15)
            server.clock.now += RENEWS_AT_ONCE / 2
            server.office.sweep()
            assert events(server) == ["granted"]
        assert events(server) == ["granted", "released"]


async def test_a_running_node_outlives_the_server_and_keeps_its_lease(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE)
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(server.running())
        node = held(pki, settings(server))
        await node.__aenter__()
    await watch.line("WARNING No license for .* h, running on; the grace period ends in 72.0 h", 3)
    async with server.running():
        await watch.line("INFO License 1100000378:1 is held again")
        await node.__aexit__(None, None, None)
        assert events(server) == ["granted", "released"]


async def test_after_the_grace_a_node_still_runs_but_says_error(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE)
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(server.running())
        node = held(pki, settings(server, swarm_license_grace_hours=0))
        await node.__aenter__()
    await watch.line("ERROR No license for .* the grace period is over, running on", 2)
    await node.__aexit__(None, None, None)


async def test_a_lost_lease_is_acquired_again(tmp_path, pki, watch):
    async with Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE).running() as server:
        async with held(pki, settings(server)):
            server.clock.now += 10
            await watch.line("WARNING License lost, acquiring it again.*not renewed in time")
            await watch.line("INFO granted", 2)
        assert events(server) == ["granted", "expired", "granted", "released"]


async def test_failover_to_the_secondary_in_mid_run(tmp_path, pki):
    primary = Server(tmp_path / "license1", pki, lease_s=RENEWS_AT_ONCE)
    async with Server(tmp_path / "license2", pki).running() as secondary:
        acquired = asyncio.Event()
        loop = asyncio.get_running_loop()
        acquire = secondary.office.acquire

        def noted(request, caller):
            lease = acquire(request, caller)
            loop.call_soon_threadsafe(acquired.set)
            return lease

        secondary.office.acquire = noted
        async with contextlib.AsyncExitStack() as first:
            await first.enter_async_context(primary.running())
            node = held(pki, settings(primary, secondary))
            await node.__aenter__()
            assert events(secondary) == []
        await asyncio.wait_for(acquired.wait(), 15)
        await node.__aexit__(None, None, None)
        assert events(secondary) == ["granted", "released"]


async def test_a_revoked_node_runs_on_loudly_and_does_not_take_the_seat_back(tmp_path, pki, watch):
    async with Server(tmp_path / "license", pki, lease_s=RENEWS_AT_ONCE).running() as server:
        async with held(pki, settings(server)):
            server.office.revoke(server.office.usage()[2][0].lease_id, "SWCI-1")
            await watch.line("ERROR License 1100000378:1 was revoked", 2)
        assert events(server) == ["granted", "revoked"]


async def test_another_member_cannot_pose_as_license_server(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    server.identity = pki.identity(NodeKind.SL)
    async with server.running():
        with pytest.raises(LicenseUnavailableError, match="role SL, but this needs LIC"):
            async with held(pki, settings(server)):
                pass


async def test_a_certificate_that_is_refused_does_not_wait_for_patience(server, pki):
    stranger = pki.bad_identity(NodeKind.SL, wrong_ca=True)
    async with asyncio.timeout(20):
        with pytest.raises(LicenseUnavailableError, match="UNKNOWN_CA"):
            async with held(pki, settings(server), patience=3600, identity=stranger):
                pass
    assert events(server) == []
