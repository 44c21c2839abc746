"""A clock that somebody sets: leases do not mind, licenses gain nothing, and it is told."""

from services.common.license_api import Feature
from services.license import clock as command
from tests.component.license.conftest import Server, a_document
from tests.component.license.test_license_server import code, install, moment

DAY = 86_400


class Wall:
    """The machine's clock: the server's, and what somebody added to it."""

    def __init__(self, clock):
        self.clock, self.added = clock, 0

    def __call__(self):
        return self.clock.now + self.added


async def warnings(server):
    rows = (await server.send("GET", "/server")).json()["warnings"]
    return [row["code"] for row in rows if row["code"].startswith("clock")]


async def kinds(server):
    rows = (await server.send("GET", "/history")).json()
    return [row["kind"] for row in rows if row["kind"].startswith("clock")]


async def test_setting_the_clock_back_prolongs_no_license(tmp_path, pki, watch):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        server.trust()
        await install(server, a_document(1, moment(server, -1), moment(server, 1), feature="own"))
        server.clock.now += 2 * DAY
        server.desk.sweep()
        assert code(await server.acquire(1, "own")) == (409, "license-expired")
    server.clock.now -= 2 * DAY
    async with server.running():
        await watch.line("ERROR the clock is 48.0 h behind|ERROR the clock is 2 days behind")
        assert await warnings(server) == ["clock-set-back"]
        assert await kinds(server) == ["clock-set-back"]
        assert code(await server.acquire(1, "own")) == (409, "license-expired")
        rows = {row["serial"]: row for row in (await server.send("GET", "/licenses")).json()}
        assert rows["s1"]["state"] == "expired"
        assert (await server.acquire(1)).status_code == 201, "others go on"
        server.clock.now += 2 * DAY
        assert await warnings(server) == []


async def test_a_clock_that_was_ahead_by_mistake_can_be_repaired(
    tmp_path, pki, capsys, monkeypatch
):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        server.trust()
        await install(server, a_document(1, moment(server, -1), moment(server, 9), feature="own"))
    server.clock.now += 1000 * DAY
    async with server.running():
        assert code(await server.acquire(1, "own")) == (409, "license-expired")
    server.clock.now -= 1000 * DAY
    async with server.running():
        assert code(await server.acquire(1, "own")) == (409, "license-expired")
    monkeypatch.setattr("services.license.clock.time.time", server.clock)
    assert command.main(["--data", str(server.folder), "show"]) == 0
    assert command.main(["--data", str(server.folder), "forget-highest"]) == 0
    assert "judged by this machine's clock again" in capsys.readouterr().out
    async with server.running():
        assert await warnings(server) == []
        assert await kinds(server) == ["clock-set-back", "clock-repaired"]
        assert (await server.acquire(1, "own")).status_code == 201


async def test_a_small_correction_is_not_told(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        pass
    server.clock.now -= 60
    async with server.running():
        assert await warnings(server) == []
        assert await kinds(server) == []


async def test_a_database_of_before_knows_when_something_last_happened(tmp_path, pki):
    server = Server(tmp_path / "license", pki)
    async with server.running():
        await server.acquire(1)
        with server.office._store.transaction():
            server.office._store._db.execute("DELETE FROM meta")
    server.clock.now -= DAY
    async with server.running():
        assert await warnings(server) == ["clock-set-back"]


async def test_set_while_the_server_runs(server, watch):
    wall = Wall(server.clock)
    server.desk.watch._wall = wall
    lease = (await server.acquire(1)).json()["lease_id"]
    for added, word in ((-DAY, "back"), (DAY, "ahead")):
        wall.added = added
        server.desk.sweep()
        server.desk.sweep()
        assert await warnings(server) == ["clock-changed"]
        await watch.line(f"ERROR this machine's clock was set 24.0 h {word}")
        assert (await server.send("PUT", f"/leases/{lease}")).status_code == 200
        wall.added = 0
        server.desk.sweep()
        assert await warnings(server) == []
    assert await kinds(server) == ["clock-changed"] * 4
    assert len([line for line in watch.lines if "was set" in line]) == 2
    rows = (await server.send("GET", "/leases")).json()
    assert [(row["feature"], row["left_s"]) for row in rows] == [(Feature.SL, 1800)]
