"""The web mode on real sockets, tried by a client that knows compat/03 section 6 only."""

import asyncio
import json
import ssl
import warnings

import pytest
import requests

from services.common.errors import ConfigError
from services.common.ids import NodeKind
from services.swci import web
from tests.component.swci.web_world import (
    PATIENCE,
    Echo,
    HpeClient,
    World,
    serving_echo,
    settings_of,
)
from tests.pki import Pki


@pytest.fixture
async def world(tmp_path):
    folder = tmp_path / "usr"
    folder.mkdir()
    async with serving_echo(Pki(tmp_path), folder) as world:
        yield world


@pytest.fixture
async def plain(tmp_path):
    async with serving_echo(Pki(tmp_path), tmp_path, swci_web_insecure=True) as world:
        yield world


GLUED = [
    "list Nodes",
    "create context test with ip 172.1.1.1 30304",
    "append task body t 1 a: b+c & d=e",
    "append task body t 1 x&format=jsonl&cmd=quit",
    "append task body t 1 [a, 'b'] {c} ~ $x; `y` | z \\ \"q\" <r> ^",
    "append task body t 2 größer ≤ 中文",
    "append task body t 3 100%",
    "ls -l",
    "append task body t 4 a  b\t c",
]


async def test_a_glued_command_arrives_as_it_was_written(world):
    for command in GLUED:
        assert await world.run(command)
    assert world.commands.arrived == GLUED


async def test_the_answer_is_a_json_object_with_content_only(world):
    response = await asyncio.to_thread(world.client().post, "/exec?cmd=pwd")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"CONTENT": ["ran pwd"]}


async def test_a_failure_is_one_element_that_starts_with_error(world):
    client = world.client()
    assert await world.run("fail", client) == []
    assert client.error == "ERROR : it failed"


async def test_a_success_never_looks_like_a_failure(world):
    client = world.client()
    lines = await world.run("body", client)
    assert client.error is None
    assert lines == ["ERROR in the text of a task", "ERROR", "b"]


@pytest.mark.parametrize("command", ["quiet", ""])
async def test_a_success_says_something(world, command):
    assert await world.run(command)


@pytest.mark.parametrize("command", ["EXIT", "exit", " Exit  "])
async def test_exit_does_not_reach_the_interpreter(world, command):
    client = world.client()
    assert await world.run(command, client) == []
    assert "stop SWCI's container" in client.error
    assert world.commands.arrived == []
    assert await world.run("EXIT ON FAILURE OFF", client) == ["ran EXIT ON FAILURE OFF"]


FORMS = {
    "cmd=list+nodes": "list nodes",
    "cmd=a+b%2Bc": "a b+c",
    "cmd=a%20b+c": "a b+c",
    "cmd=a%26b%3Dc": "a&b=c",
}


async def test_form_encoders_are_understood_too(world):
    for query in FORMS:
        await asyncio.to_thread(world.client().post, f"/exec?{query}")
    assert world.commands.arrived == list(FORMS.values())


@pytest.mark.parametrize("query", ["cmd=pwd&format=json", "format=json&cmd=pwd"])
async def test_data_comes_where_it_is_asked_for(world, query):
    response = await asyncio.to_thread(world.client().post, f"/exec?{query}")
    assert response.json() == {"CONTENT": ["ran pwd"], "DATA": {"line": "pwd"}}


NO_COMMANDS = {
    "": "no command",
    "command=pwd": "no command",
    "format=json": "no command",
    "cmd=pwd%0Aexit": "control characters",
    "cmd=pwd%00": "control characters",
    "cmd=pwd%1B%5B2J": "control characters",
    "cmd=%FF%FE": "UTF-8",
    "cmd=" + "x" * 5000: "longer than 4096",
}


async def test_what_is_no_command_is_refused_in_words(world):
    for query, why in NO_COMMANDS.items():
        response = await asyncio.to_thread(world.client().post, f"/exec?{query}")
        assert response.status_code == 400, query
        told = response.json()
        assert told["code"] == "bad-request", query
        assert told["CONTENT"][0].startswith("ERROR : "), query
        assert why in told["CONTENT"][0], query
    assert world.commands.arrived == []


@pytest.mark.parametrize("role", [NodeKind.SL, NodeKind.SN, NodeKind.SWOP])
async def test_other_roles_are_refused_with_the_reason(world, role):
    client = world.client(role)
    assert await world.run("list nodes", client) == []
    assert "needs SWCI" in client.error
    file = world.commands.cwd.parent / "x.yaml"
    file.write_text("a: 1")
    assert (await asyncio.to_thread(client.upload, file)).startswith("ERROR : ")
    assert world.commands.arrived == []
    assert list(world.commands.cwd.iterdir()) == []


@pytest.mark.parametrize("bad", ["none", "stranger", "expired"])
async def test_without_a_good_certificate_nothing_is_executed(world, bad):
    if bad == "none":
        client = HpeClient("127.0.0.1", world.port)
        client.base = client.base.replace("http:", "https:")
    else:
        files = world.pki.bad_files(
            NodeKind.SWCI, expired=bad == "expired", wrong_ca=bad == "stranger"
        )
        client = HpeClient("127.0.0.1", world.port, files["SWARM_ID_CERT"], files["SWARM_ID_KEY"])
    assert await world.run("list nodes", client) == []
    assert client.error == "ERROR : Exception occurred during POST request"
    assert world.commands.arrived == []


@pytest.mark.parametrize("path", ["/exec?cmd=pwd", "/uploadTaskDef"])
async def test_pages_in_a_browser_may_not_call(world, path):
    for origin in (f"https://127.0.0.1:{world.port}", "https://example.org", "null"):
        response = await asyncio.to_thread(world.client().post, path, headers={"Origin": origin})
        assert response.status_code == 403
    assert world.commands.arrived == []


async def test_get_executes_nothing(world):
    client = world.client()
    reader, writer = await _connect(world)
    writer.write(b"GET /exec?cmd=pwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b" 405 " in await reader.readline()
    writer.close()
    assert world.commands.arrived == []
    assert await world.run("pwd", client)


async def test_one_that_waits_holds_up_nobody(world):
    waiting = asyncio.create_task(world.run("hold"))
    await world.until(lambda: world.commands.held == 1)
    assert await world.run("pwd") == ["ran pwd"]
    assert not waiting.done()
    world.commands.open.set()
    assert await waiting == ["held"]


async def test_a_client_that_goes_cancels_its_command(world):
    _, writer = await _connect(world)
    writer.write(b"POST /exec?cmd=hold HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    await world.until(lambda: world.commands.held == 1)
    writer.transport.abort()
    await world.until(lambda: world.commands.cancelled == 1)


async def test_commands_under_way_are_bounded_for_each_certificate(world, monkeypatch):
    connections = [await _connect(world) for _ in range(web.MOST_COMMANDS)]
    for _, writer in connections:
        writer.write(b"POST /exec?cmd=hold HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    await world.until(lambda: world.commands.held == web.MOST_COMMANDS)
    crowded, other = world.client(), world.client(name="other")
    assert await world.run("pwd", crowded) == []
    assert "ask again later" in crowded.error
    assert await world.run("pwd", other) == ["ran pwd"]
    for _, writer in connections:
        writer.transport.abort()
    await world.until(lambda: world.commands.cancelled == web.MOST_COMMANDS)
    assert await world.run("pwd", crowded) == ["ran pwd"]


async def test_health_and_description_need_no_network(world):
    client = world.client()

    def get(path):
        return _get(client, path)

    assert (await asyncio.to_thread(get, "/healthz")).text == "OK"
    described = (await asyncio.to_thread(get, "/openapi.json")).json()
    assert set(described["paths"]) >= {"/exec", "/uploadTaskDef", "/healthz"}
    parameters = described["paths"]["/exec"]["post"]["parameters"]
    assert [p["name"] for p in parameters] == ["cmd", "format"]
    page = await asyncio.to_thread(get, "/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "POST /exec" in page.text
    assert "/uploadTaskDef" in page.text
    assert "<script" not in page.text
    assert "src=" not in page.text
    assert "href='http" not in page.text


async def test_plain_http_works_where_it_is_asked_for(plain, tmp_path):
    assert await plain.run("list Nodes", plain.plain()) == ["ran list Nodes"]
    file = tmp_path / "from" / "t.yaml"
    file.parent.mkdir()
    file.write_text("a: 1")
    said = await asyncio.to_thread(plain.plain().upload, file)
    assert said == "Task definition uploaded : t.yaml (4 bytes)"
    response = await asyncio.to_thread(
        plain.plain().post, "/exec?cmd=pwd", headers={"Origin": "http://localhost"}
    )
    assert response.status_code == 403


async def test_plain_http_is_loud(tmp_path, caplog):
    async with serving_echo(Pki(tmp_path), tmp_path, swci_web_insecure=True):
        pass
    assert [r for r in caplog.records if r.levelname == "WARNING" and "plain HTTP" in r.message]


async def test_plain_http_has_room_for_so_many_only(plain, monkeypatch):
    monkeypatch.setattr("services.swci.web_plain.MOST_CONNECTIONS", 2)
    held = [await asyncio.open_connection("127.0.0.1", plain.port) for _ in range(3)]
    assert b" 503 " in await asyncio.wait_for(held[2][0].readline(), PATIENCE)
    held[0][1].close()
    held[2][1].close()
    await held[0][1].wait_closed()

    async with asyncio.timeout(PATIENCE):
        while await plain.run("pwd", plain.plain()) != ["ran pwd"]:
            await asyncio.sleep(0.02)
    held[1][1].close()


async def test_a_taken_port_is_said(world):
    taken = settings_of(world.pki).model_copy(update={"swci_web_port": world.port})
    with pytest.raises(ConfigError, match="SWCI's web mode cannot listen"):
        async with web.serving_web(taken, world.commands):
            pass


async def test_the_ready_line_names_the_port(tmp_path, caplog):
    caplog.set_level("INFO")
    pki = Pki(tmp_path)
    serving = asyncio.create_task(
        web.serve(settings_of(pki), Echo(tmp_path), pki.identity(NodeKind.SWCI))
    )
    async with asyncio.timeout(PATIENCE):
        while not (ready := [r.message for r in caplog.records if "starting SWCI" in r.message]):
            await asyncio.sleep(0.01)
    port = int(ready[0].removeprefix("starting SWCI web mode in "))
    world = World(pki, port, None)
    assert (await asyncio.to_thread(_get, world.client(), "/healthz")).text == "OK"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_only_the_first_words_of_a_command_are_logged(world, caplog):
    caplog.set_level("INFO", "swarm.swci")
    await world.run("set context env NAME secret-value")
    assert "set context env NAME" in caplog.text
    assert "secret-value" not in caplog.text


def _get(client, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return requests.get(client.base + path, cert=client.cert, verify=False)


async def _connect(world):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(*world.client().cert)
    return await asyncio.open_connection("127.0.0.1", world.port, ssl=context, server_hostname="")


def test_the_openapi_is_json():
    described = web.web_app(None).openapi()
    assert json.loads(json.dumps(described)) == described
