"""Port 30303 towards those that should not be there, or do not behave (FAULTS S1, S2, S7)."""

import asyncio
import ssl
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from services.common.ids import NodeKind
from services.sn.adapters import p2p_link
from services.sn.adapters.p2p_messages import MAX_MESSAGE, Hello, Items, Kind, decode, encode
from tests.component.sn.engine import DEADLINE_S, swarm
from tests.component.sn.test_engine_p2p import hello_for, tells

REFUSED_BY_TLS = (ssl.SSLError, ConnectionClosed, InvalidMessage, InvalidHandshake, OSError)
MANY = 150


@pytest.fixture
async def sns(tmp_path):
    async with swarm(tmp_path) as made:
        yield made


async def listens_still(sns, a):
    """A good SN links, and a transaction reaches it."""
    counter = await a.deploy()
    b = await sns.start("2", join=[a.endpoint], mine=False)
    await b.receipt(await a.submit(to=counter))
    assert [peer.name for peer in a.chain.peers()] == ["SN-2"]


def asks(endpoint, context):
    return connect(f"wss://{endpoint}", ssl=context, proxy=None, open_timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"not_yet_valid": True}, "certificate is not yet valid"),
        ({"wrong_ca": True}, "certificate"),
    ],
    ids=["expired", "not yet valid", "wrong CA"],
)
async def test_a_bad_certificate_is_refused_with_one_line(sns, caplog, bad, says):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.bad_identity(NodeKind.SN, **bad).client_context()
    with pytest.raises(REFUSED_BY_TLS):
        async with asks(a.endpoint, context) as connection:
            await connection.recv()
    lines = [record.getMessage() for record in caplog.records if record.name == "swarm.tls"]
    assert len(lines) == 1
    assert lines[0].startswith("TLS client refused: ")
    assert says in lines[0]
    await listens_still(sns, a)


async def test_no_certificate_is_refused(sns, caplog):
    a = await sns.start("1", sentinel=True)
    context = ssl.create_default_context(cafile=sns.pki.ca_cert)
    context.check_hostname = False
    with pytest.raises(REFUSED_BY_TLS):
        async with asks(a.endpoint, context) as connection:
            await connection.recv()
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text
    await listens_still(sns, a)


@pytest.mark.parametrize("name", ["worker-7", "SL-1"])
async def test_a_certificate_of_no_sn_is_told_so(sns, name):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.bad_identity(NodeKind.SN, common_name=name).client_context()
    async with asks(a.endpoint, context) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4003
    assert "SN" in connection.close_reason


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_below_1_2_is_refused(sns, caplog):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(REFUSED_BY_TLS):
        async with asks(a.endpoint, context) as connection:
            await connection.recv()
    assert "TLS client refused: UNSUPPORTED_PROTOCOL" in caplog.text


async def test_who_says_no_hello_is_cut_off(sns, monkeypatch):
    monkeypatch.setattr(p2p_link, "HELLO_S", 0.3)
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    heard, code = await tells(a.endpoint, context)
    assert [type(message) for message in heard] == [Hello]
    assert code == 4003


async def test_an_oversized_message_cuts_the_link_and_nothing_else(sns):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    (theirs,), _ = await tells(a.endpoint, context, b"")
    async with asks(a.endpoint, context) as connection:
        decode(await connection.recv())
        await connection.send(encode(await hello_for(sns, a, theirs)))
        with pytest.raises(ConnectionClosed):
            await connection.send(bytes(MAX_MESSAGE + 1))
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    await connection.recv()
    assert connection.close_code == 1009
    await listens_still(sns, a)


async def test_many_silent_connections_keep_nobody_out(sns):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    host, port = a.endpoint.split(":")
    async with AsyncExitStack() as stack:
        for _ in range(MANY):  # no TLS
            _, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
        for _ in range(10):  # no HELLO
            await stack.enter_async_context(asks(a.endpoint, context))
        await listens_still(sns, a)


async def test_transactions_that_nobody_signed_for_fill_nothing(sns, caplog):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    (theirs,), _ = await tells(a.endpoint, context, b"")
    async with asks(a.endpoint, context) as connection:
        await connection.send(encode(await hello_for(sns, a, theirs)))
        junk = tuple(bytes([n % 256]) * 1000 for n in range(2000))
        for _ in range(5):
            await connection.send(encode(Items(Kind.TXS, junk)))
        await connection.send(encode(Items(Kind.SYNC, ())))
        async with asyncio.timeout(DEADLINE_S):
            while (decode(await connection.recv())) != Items(Kind.BLOCKS, ()):
                pass
        assert len(a.node.pool) == 0
        await a.deploy()
