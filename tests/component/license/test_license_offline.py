"""The offline commands: users, license files."""

import json

import pytest

from services.license import sign, users
from services.license.adapters.offline import CODE_S
from tests.component.license.people import PASSWORD, administrator, browser
from tests.component.license.test_license_server import code, install


def command(server, *words):
    return users.main(["--data", str(server.folder), *words])


def the_code(capsys):
    line = capsys.readouterr().out.splitlines()[0]
    return line.rpartition(" ")[2]


@pytest.fixture
def at_the_servers_time(server, monkeypatch):
    monkeypatch.setattr("services.license.users.time.time", server.clock)


@pytest.mark.usefixtures("at_the_servers_time")
async def test_who_locked_himself_out_gets_in_again(server, capsys):
    async with administrator(server) as admin, browser(server) as person:
        assert command(server, "reset-password", "ADMIN") == 0
        given = the_code(capsys)
        assert code(await admin.send("GET", "/session")) == (401, "not-signed-in")
        assert code(await person.sign_in("admin")) == (401, "bad-credentials")
        state = (await person.send("GET", "/setup")).json()
        assert state == {"needed": False, "reset_pending": True}
        new = {"code": given.lower(), "user": "admin", "password": PASSWORD[::-1]}
        for wrong in ({**new, "code": "x"}, {**new, "user": "other"}):
            assert code(await person.send("POST", "/setup", json=wrong)) == (403, "bad-setup-code")
        answer = await person.send("POST", "/setup", json=new)
        assert (answer.status_code, answer.json()["role"]) == (201, "administrator")
        assert code(await person.send("POST", "/setup", json=new)) == (409, "already-set-up")
        assert (await admin.sign_in("admin", PASSWORD[::-1])).status_code == 200
        rows = (await admin.send("GET", "/history?kind=password-reset")).json()
        assert [row["common_name"] for row in rows] == ["offline command", "user:admin"]


@pytest.mark.usefixtures("at_the_servers_time")
async def test_a_code_ends(server, capsys):
    async with administrator(server), browser(server) as person:
        command(server, "reset-password", "admin")
        new = {"code": the_code(capsys), "user": "admin", "password": PASSWORD}
        server.clock.now += CODE_S
        assert code(await person.send("POST", "/setup", json=new)) == (409, "already-set-up")


@pytest.mark.usefixtures("at_the_servers_time")
async def test_users_are_added_and_listed(server, capsys):
    async with administrator(server), browser(server) as person:
        assert command(server, "add", "anna", "--role", "view-only") == 0
        new = {"code": the_code(capsys), "user": "anna", "password": PASSWORD}
        assert code(await person.sign_in("anna", "")) == (401, "bad-credentials")
        answer = await person.send("POST", "/setup", json=new)
        assert (answer.status_code, answer.json()["role"]) == (201, "view-only")
        assert command(server, "list") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines] == [
            ["admin", "administrator"], ["anna", "view-only"],
        ]  # fmt: skip
        assert command(server, "add", "Anna") == 4
        assert command(server, "add", "a b") == 2
        assert command(server, "reset-password", "nobody") == 5
        assert "there is no user nobody" in capsys.readouterr().err


def test_a_wrong_folder_is_told_and_stays_empty(tmp_path, capsys):
    assert users.main(["--data", str(tmp_path), "list"]) == 2
    assert "there is no licenses.sqlite" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def test_own_license_files(server, tmp_path, capsys):
    key = tmp_path / "issuer.pem"
    assert sign.main(["issuer", str(key)]) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    public = (tmp_path / "issuer.pub.pem").read_text()
    assert "PRIVATE" not in public
    assert sign.main(["issuer", str(key)]) == 2
    capsys.readouterr()
    words = ["license", str(key), "--issuer", "us", "--licensee", "them", "--serial", "n1"]
    lock = server.office.server_id
    more = ["--feature", "1100000378=5", "--until", "2100-01-01", "--lock", lock]
    assert sign.main([*words, *more]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["features"][0]["name"] == "Swarm Learning Node"
    assert code(await install(server, text)) == (400, "unknown-issuer")
    (server.folder / "issuers" / "us.pem").write_text(public)
    answer = await install(server, text)
    assert answer.status_code == 201
    assert answer.json()["features"] == {"1100000378": 5}
    assert sign.main([*words, "--feature", "1100000378=0"]) == 2
    assert "capacity" in capsys.readouterr().err
    assert sign.main(["license", str(tmp_path / "no.pem"), *words[2:], *more]) == 2
    capsys.readouterr()
    assert sign.main([*words, *more[:2], "--from", "2030-01-02", "--until", "2030-01-01"]) == 2
    assert capsys.readouterr().err == "error: no license: it ends before it begins\n"
    for wrong in (["--feature", "1100000378"], ["--until", "soon"]):
        with pytest.raises(SystemExit):
            sign.main([*words, *more, *wrong])
        assert wrong[1] in capsys.readouterr().err
