"""``swarmlearning.swci.Swci`` against the web mode, on real TLS."""

import asyncio
import logging
import ssl
from functools import partial
from pathlib import Path

import pytest

import swarmlearning.swci as sw
from services.common.door import Limits
from services.common.ids import NodeKind
from services.common.rest import serving
from tests.component.swci.web_world import serving_echo
from tests.pki import Pki


@pytest.fixture
async def world(tmp_path, monkeypatch):
    folder = tmp_path / "usr"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    async with serving_echo(Pki(tmp_path), folder) as world:
        yield world


def swci(world, role=NodeKind.SWCI, **more):
    files = world.pki.files(role, "user")
    arguments = {
        "clientCert": files["SWARM_ID_CERT"],
        "clientPKey": files["SWARM_ID_KEY"],
        "clientCABundle": files["SWARM_ID_CAPATH"],
        "logger": logging.getLogger("test.swci"),
    }
    return sw.Swci("127.0.0.1", world.port, **{**arguments, **more})


def call(work):
    return asyncio.to_thread(work)


async def test_a_notebook_session(world, caplog):
    caplog.set_level("WARNING")
    file = world.commands.cwd.parent / "t.yaml"
    file.write_text("Name: t\n")

    def session():
        with swci(world) as s:
            return [
                s.createContext("c", ip="172.1.1.1"),
                s.uploadTaskDefintion(str(file)),
                s.ls(),
                s.getErrors(),
            ]

    assert await call(session) == [
        ["ran create context c with ip 172.1.1.1 30304"],
        "Task definition uploaded : t.yaml (8 bytes)",
        ["ran ls"],
        None,
    ]
    assert (world.commands.cwd / "t.yaml").read_text() == "Name: t\n"
    assert not [r for r in caplog.records if r.name == "test.swci"]


async def test_commands_arrive_verbatim(world):
    texts = ["a&b=c&format=json", "a+b c", "100%20", "#x", "größer 中", 'a"\\']
    with swci(world) as s:
        for text in texts:
            assert await asyncio.to_thread(s.cd, text)
    assert world.commands.arrived == [f"cd {text}" for text in texts]


async def test_failures_are_told(world):
    with swci(world) as s:
        assert await call(lambda: s._run("fail")) == []
        assert s.getErrors() == "ERROR : it failed"
        assert await call(lambda: s._run("body")) == ["ERROR in the text of a task", "ERROR", "b"]
        assert s.getErrors() is None


async def test_another_role_is_told_why(world):
    with swci(world, NodeKind.SL) as s:
        assert await call(s.pwd) == []
        assert "needs SWCI" in s.getErrors()
        said = await call(lambda: s.uploadTaskDefinition(__file__))
    assert "needs SWCI" in said
    assert s.getErrors() == said


async def test_a_refused_upload_is_told(world):
    with swci(world) as s:
        said = await call(lambda: s.uploadTaskDefinition(__file__))
    assert "test_web_client.py" in said
    assert s.getErrors() == said


async def test_the_server_must_be_signed_by_the_bundle(world, tmp_path):
    other = Pki(tmp_path / "other")
    with swci(world, clientCABundle=str(other.ca_cert)) as s:
        assert await call(s.pwd) == []
        assert "clientCABundle does not trust" in s.getErrors()
    assert world.commands.arrived == []
    with swci(world, clientCABundle=str(world.pki.ca_cert)) as s:
        assert await call(s.pwd) == ["ran pwd"]


async def test_without_a_bundle_it_warns_and_works(world, caplog):
    with swci(world, clientCABundle=None) as s:
        assert await call(s.pwd) == ["ran pwd"]
        assert await call(s.pwd) == ["ran pwd"]
    told = [r for r in caplog.records if "no clientCABundle" in r.getMessage()]
    assert len(told) == 1


async def test_a_certificate_that_the_server_refuses(world):
    files = world.pki.bad_files(NodeKind.SWCI, wrong_ca=True)
    with swci(world, clientCert=files["SWARM_ID_CERT"], clientPKey=files["SWARM_ID_KEY"]) as s:
        assert await call(s.pwd) == []
        assert "refused the client certificate" in s.getErrors()


async def test_plain_http_to_https_is_explained(tmp_path, monkeypatch):
    impatient = partial(serving, limits=Limits(handshake_s=0.5))
    monkeypatch.setattr("services.swci.web.serving", impatient)
    async with serving_echo(Pki(tmp_path), tmp_path) as world:
        await _speak_plainly(world)


async def _speak_plainly(world):
    with swci(world, clientCert=None) as s:
        assert await call(s.pwd) == []
        assert "give clientCert" in s.getErrors()
    assert world.commands.arrived == []


@pytest.mark.parametrize("bundle", ["missing.pem", "empty"])
async def test_a_useless_bundle_is_refused(world, tmp_path, bundle):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="cannot use clientCert"):
        swci(world, clientCABundle=str(tmp_path / bundle))


async def test_key_and_certificate_in_one_file(world, tmp_path):
    files = world.pki.files(NodeKind.SWCI, "user")
    both = tmp_path / "both.pem"
    with both.open("w") as joined:
        for name in ("SWARM_ID_CERT", "SWARM_ID_KEY"):
            joined.write(Path(files[name]).read_text())
    with swci(world, clientCert=str(both), clientPKey=None) as s:
        assert await call(s.pwd) == ["ran pwd"]


async def test_old_tls_is_not_spoken(world):
    with swci(world) as s:
        assert s._transport._context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_threads_do_not_wait_for_each_other(world):
    with swci(world) as s:
        held = asyncio.create_task(call(lambda: s._run("hold")))
        await world.until(lambda: world.commands.held == 1)
        assert await call(s.pwd) == ["ran pwd"]
        assert not held.done()
        world.commands.open.set()
        assert await held == ["held"]


async def test_a_server_that_stopped_is_found_again(tmp_path):
    """The client's idle connection died with the old server; the command is sent once."""
    pki = Pki(tmp_path)
    async with serving_echo(pki, tmp_path) as first:
        s = swci(first)
        assert await call(s.pwd) == ["ran pwd"]
    async with serving_echo(pki, tmp_path, swci_web_port=first.port) as second:
        assert await call(s.pwd) == ["ran pwd"]
        assert second.commands.arrived == ["pwd"]
    s.close()
