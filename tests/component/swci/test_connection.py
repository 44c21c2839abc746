"""Why an SN cannot be reached: the four reasons are told apart; and another SN takes over."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager

import pytest

from services.common import rest
from services.common.ids import NodeKind
from services.swci.adapters import connection
from services.swci.adapters.connection import Connector
from services.swci.core.commands import Address
from tests.component.swci.conftest import Operator, SnProcess
from tests.pki import Pki


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path)


async def probe(pki, port, host="127.0.0.1", identity=None):
    connector = Connector(identity or pki.identity(NodeKind.SWCI))
    return await connector.probe(Address(host, port))


@asynccontextmanager
async def serving(pki, identity):
    """Something that speaks TLS and HTTP as an SN does, under a certificate of one's choice."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with rest.serving(rest.make_app("not an SN"), sock, identity):
            yield sock.getsockname()[1]


async def test_an_sn_answers(sn):
    assert await probe(sn.pki, sn.port) is None
    assert await probe(sn.pki, sn.port, "localhost") is None


async def test_a_name_that_does_not_resolve(pki):
    trouble = await probe(pki, 1, "no-such-host.invalid")
    assert trouble.why.startswith("DNS: the name no-such-host.invalid does not resolve")
    assert trouble.waiting_helps
    long = await probe(pki, 1, "a" * 253)
    assert long.why.startswith("DNS: ")


async def test_nobody_listens(pki):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    trouble = await probe(pki, port)
    assert trouble.why.startswith(f"TCP: 127.0.0.1:{port} (127.0.0.1) refuses")
    assert "Connection refused" in trouble.why
    assert trouble.waiting_helps


async def test_something_accepts_and_says_nothing(pki, monkeypatch):
    monkeypatch.setattr(connection, "PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        trouble = await probe(pki, silent.getsockname()[1])
    assert trouble.why.startswith("TLS: ")
    assert "is the port right?" in trouble.why


async def test_something_that_speaks_no_tls(pki):
    async def answer(_reader, writer):
        writer.write(b"SSH-2.0-x\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        trouble = await probe(pki, server.sockets[0].getsockname()[1])
    assert trouble.why.startswith("TLS: ")


async def test_an_expired_certificate_and_one_that_is_not_valid_yet(pki):
    for bad, words in (({"expired": True}, "has expired"), ({"not_yet_valid": True}, "not valid")):
        async with serving(pki, pki.bad_identity(NodeKind.SN, **bad)) as port:
            trouble = await probe(pki, port)
        assert trouble.why.startswith("TLS: the certificate of 127.0.0.1")
        assert words in trouble.why
        assert not trouble.waiting_helps


async def test_a_certificate_of_a_ca_that_we_do_not_trust(pki, tmp_path, sn):
    trouble = await probe(pki, sn.port)
    assert "is not signed by a CA that we trust" in trouble.why
    assert "SWARM_ID_CAPATH" in trouble.why
    assert not trouble.waiting_helps


async def test_an_sn_that_refuses_us(sn):
    expired = sn.pki.bad_identity(NodeKind.SWCI, expired=True)
    trouble = await probe(sn.pki, sn.port, identity=expired)
    assert "our certificate has expired" in trouble.why
    wrong = sn.pki.bad_identity(NodeKind.SWCI, wrong_ca=True)
    trouble = await probe(sn.pki, sn.port, identity=wrong)
    assert "does not trust the CA of our certificate" in trouble.why
    assert not trouble.waiting_helps


async def test_something_else_than_an_sn(pki):
    async with serving(pki, pki.identity(NodeKind.SN)) as port:
        trouble = await probe(pki, port)
    assert trouble.why.startswith("API: ")


async def test_create_context_and_wait_tell_the_reason(pki, tmp_path):
    operator = Operator(pki, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "cannot reach the API server. TCP: " in await operator.bad(
        f"CREATE CONTEXT c WITH IP 127.0.0.1 {port}"
    )
    assert "DNS: " in await operator.bad("CREATE CONTEXT c WITH SERVICE no-such.invalid")
    assert await operator.good("LIST CONTEXTS") == ["NO CONTEXTS"]
    assert "is not up after 3 tries. TCP: " in await operator.bad(f"WAIT FOR IP 127.0.0.1 {port} 3")
    assert "is not up after 2 tries. DNS: " in await operator.bad(
        "WAIT FOR SERVICE no-such.invalid:1 2"
    )
    async with serving(pki, pki.bad_identity(NodeKind.SN, expired=True)) as expired:
        error = await operator.bad(f"WAIT FOR IP 127.0.0.1 {expired}")
    assert "after 1 try. TLS: " in error
    assert "has expired" in error, "waiting does not mend that"
    await operator.interpreter.close()


async def test_waiting_for_an_sn_that_comes_up(pki, tmp_path, sn):
    operator = Operator(sn.pki, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    marks, tried = [], asyncio.Event()

    def progress(text):
        marks.append(text)
        tried.set()

    waiting = asyncio.create_task(operator.reply(f"wait for ip 127.0.0.1 {port}", progress))
    await asyncio.wait_for(tried.wait(), 30)

    async def forward(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", sn.port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async def pump(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    async with server:
        reply = await asyncio.wait_for(waiting, 30)
    assert reply.lines == ("API Server is UP!",)
    assert set(marks) == {"#"}
    assert await operator.good(f"WAIT FOR SERVICE localhost:{sn.port}") == ["API Server is UP!"]
    await operator.interpreter.close()


async def test_a_context_goes_on_with_another_sn_when_its_own_dies(tmp_path):
    pki = Pki(tmp_path)
    first = SnProcess(pki, tmp_path)
    second = SnProcess(
        pki, tmp_path, "2", SN_I_AM_SENTINEL="", SENTINEL_NODE_IP="127.0.0.1",
        SENTINEL_API_SERVER_PORT=str(first.port),
    )  # fmt: skip
    operator = Operator(pki, tmp_path, swci_wait_retry_seconds=0.2)
    try:
        await operator.good(f"WAIT FOR IP 127.0.0.1 {second.port}")
        await operator.use(second)
        assert f"127.0.0.1:{first.port}" in (await operator.pairs("GET CONTEXT INFO"))["OTHER_SNS"]
        second.kill()
        assert "ROOTTASK" in await operator.good("LIST TASKS")
    finally:
        await operator.interpreter.close()
        second.stop()
        first.stop()


def test_the_codes_of_openssl_are_the_ones_we_tell_apart():
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1, 1)
    assert (connection._EXPIRED, connection._NOT_YET_VALID) == (10, 9)
