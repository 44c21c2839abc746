"""An SN with a good certificate that means ill, on port 30303, real sockets (FAULTS S3, S7)."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager, suppress

import pytest
import rlp
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from services.common.ids import NodeKind
from services.sn.adapters import p2p, p2p_link
from services.sn.adapters.p2p_link import Credentials
from services.sn.adapters.p2p_messages import (
    MAX_MESSAGE,
    VERSION,
    Hello,
    Items,
    Kind,
    decode,
    encode,
)
from tests.component.sn.engine import COUNTER, creation, swarm

KEY = PrivateKey(b"\x09" * 32)
PATIENCE = 60


@pytest.fixture
async def sns(tmp_path):
    async with swarm(tmp_path) as made:
        yield made


class Foe:
    """A client of an SN's p2p port with SN-9's certificate, or another's."""

    def __init__(self, sns, a, connection, name, key):
        self.a = a
        self.connection = connection
        self.key = key
        identity = sns.pki.identity(NodeKind.SN, name)
        self.credentials = Credentials(key, identity.certificate.fingerprint, "", False)
        self.other = sns.pki.identity(NodeKind.SN, "1").certificate

    async def hello(self, final=0, **changes):
        theirs = decode(await self.connection.recv())
        made = self.credentials.hello(theirs.genesis, final, self.other)
        fields = {name: getattr(made, name) for name in Hello.__slots__} | changes
        return encode(Hello(**fields))

    async def greet(self, final=0, **changes):
        await self.connection.send(await self.hello(final, **changes))
        return self

    async def say(self, kind, *items):
        await self.connection.send(encode(Items(kind, items)))

    async def hears(self, kind, *items):
        """Wait for this very message, or for any of this kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = decode(await self.connection.recv())
                if message.kind is kind and (not items or message.items == items):
                    return message

    async def answered(self):
        """Wait until the SN has dealt with all that was said: it takes messages one by one."""
        await self.say(Kind.SYNC, self.a.chain.head)
        return await self.hears(Kind.BLOCKS)

    async def cut(self):
        """The code that the SN closes with."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code


@asynccontextmanager
async def foe(sns, a, name="9", key=KEY):
    context = sns.pki.identity(NodeKind.SN, name).client_context()
    async with connect(
        f"wss://{a.endpoint}",
        ssl=context,
        proxy=None,
        max_size=None,
        compression=None,
        ping_interval=None,
    ) as connection:
        yield Foe(sns, a, connection, name, key)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def transaction(chain_id, nonce=0, key=KEY, **changes):
    fields = {
        "nonce": nonce, "gasPrice": 0, "gas": 300_000, "value": 0, "chainId": chain_id,
        "data": creation(COUNTER), "to": "",
    }  # fmt: skip
    return bytes(Account.sign_transaction(fields | changes, key.to_bytes()).raw_transaction)


# --- before HELLO


async def test_a_handshake_that_never_comes_is_not_waited_for(sns, monkeypatch):
    monkeypatch.setattr(p2p, "CONNECT_S", 0.5)
    a = await sns.start("1", sentinel=True)
    host, port = a.endpoint.split(":")
    context = sns.pki.identity(NodeKind.SN, "9").client_context()
    for tls in (None, context):  # no TLS at all; TLS, but no WebSocket
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname="" if tls else None
        )
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError, ssl.SSLError):
                while await reader.read(1000):
                    pass
        writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    await a.deploy()


async def test_a_hello_that_never_comes_is_not_waited_for(sns, monkeypatch):
    monkeypatch.setattr(p2p_link, "HELLO_S", 0.3)
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        assert await it.cut() == 4003
        assert "no HELLO" in it.connection.close_reason
    assert a.chain.peers() == []


async def test_another_version_is_refused(sns):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        other = (await it.hello()).replace(VERSION, b"swarm/9")
        await it.connection.send(other)
        assert await it.cut() == 4003
        assert "version" in it.connection.close_reason


async def test_a_hello_cannot_be_used_by_another_or_for_another(sns):
    """S3: whoever overhears a HELLO can do nothing with it."""
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint], mine=False)
    async with foe(sns, a) as it:
        overheard = await it.hello()
    async with foe(sns, a, name="8") as thief:
        await thief.connection.send(overheard)
        assert await thief.cut() == 4003
        assert "account that is not its own" in thief.connection.close_reason
    async with foe(sns, b) as it:  # SN-9's own, but made for SN-1
        await it.connection.recv()
        await it.connection.send(overheard)
        assert await it.cut() == 4003
    assert {peer.name for peer in a.chain.peers()} == {"SN-2"}


async def test_what_an_sn_says_to_one_cannot_be_passed_on_to_another(sns):
    """An SN between two others cannot pose as one of them: the proof names both certificates."""
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint], mine=False)
    async with foe(sns, a) as it:
        of_a = await it.connection.recv()
    async with foe(sns, b) as it:
        await it.connection.recv()
        await it.connection.send(of_a)
        assert await it.cut() == 4003


async def test_a_copy_of_the_sn_itself_is_refused(sns):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a, key=a.node.key) as it:
        await it.greet()
        assert await it.cut() == 4003
        assert "itself, or a copy" in it.connection.close_reason


# --- messages


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize(
    "frame",
    ["text", b"\xc0" * 1_000_000, b"\xf9\xff\xff" + b"\xc0" * 65_535, bytes(100), b"\xc1\x06"],
    ids=["text", "lists", "a list of lists", "zeros", "unknown kind"],
)
async def test_frames_that_are_no_messages_end_the_link_at_once(sns, frame, greeted):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        if greeted:
            await it.greet()
        started = time.monotonic()
        await it.connection.send(frame)
        assert await it.cut() == (1002 if greeted else 4003)
        assert time.monotonic() - started < 30
    await a.deploy()


@pytest.mark.parametrize("greeted", [False, True])
async def test_a_frame_that_is_too_large_is_not_read(sns, greeted):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        if greeted:
            await it.greet()
        with suppress(ConnectionClosed):
            await it.connection.send(bytes(MAX_MESSAGE + 1))
        assert await it.cut() == 1009
    await until(lambda: a.chain.peers() == [])
    await a.deploy()


async def test_blocks_that_nobody_asked_for_are_not_looked_at(sns, monkeypatch):
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    looked = []
    take = a.node.take
    monkeypatch.setattr(a.node, "take", lambda block: looked.append(block) or take(block))
    async with foe(sns, a) as it:
        await it.greet()
        for _ in range(20):
            await it.say(Kind.BLOCKS, *[b"\xc0"] * 100)
        await it.answered()
    assert looked == []
    await a.send(to=counter)


async def test_who_claims_a_longer_chain_and_has_none_stops_nobody_for_long(sns, monkeypatch):
    monkeypatch.setattr("services.sn.adapters.p2p_exchange.SYNC_S", 1.0)
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        await it.greet(final=1 << 60)
        await it.hears(Kind.SYNC)
        await a.deploy()


async def test_transactions_that_are_none_of_this_chain_change_nothing(sns):
    """Bad signatures, another chain's, old ones again, too much gas, gas that is paid for."""
    a = await sns.start("1", sentinel=True)
    counter = await a.deploy()
    old = a.sign(data=creation(COUNTER), nonce=0)  # on the chain already
    own = a.chain.chain_id
    bad = [
        old, transaction(own + 1), transaction(own, gas=30_000_001), transaction(own, gasPrice=1),
        transaction(own, value=1), transaction(own, nonce=10_000), b"\x02\xc0", b"\x03" + bytes(50),
        rlp.encode([b""] * 9), bytes(100), b"",
    ]  # fmt: skip
    before = a.chain.head
    async with foe(sns, a) as it:
        await it.greet()
        for _ in range(10):
            await it.say(Kind.TXS, *bad * 20)
        await it.answered()
        assert a.chain.head == before
        assert await a.node.do(len, a.node.pool) == 0
        sent = await a.submit(to=counter)  # and the SN still works while they come
        await it.say(Kind.TXS, *bad * 20)
        assert (await a.receipt(sent))["status"] == "0x1"


async def test_a_flood_of_transactions_fills_no_more_than_the_pool(sns, monkeypatch):
    monkeypatch.setattr("services.sn.adapters.evm_pool.LIMIT", 20)
    a = await sns.start("1", sentinel=True)
    a.node._mine = False
    many = [
        transaction(a.chain.chain_id, nonce, PrivateKey(bytes([n]) * 32))
        for n in range(1, 11)
        for nonce in range(8)
    ]
    async with foe(sns, a) as it:
        await it.greet()
        await it.say(Kind.TXS, *many)
        await it.say(Kind.TXS, *many)
        await it.answered()
        assert await a.node.do(len, a.node.pool) == 20


# --- endpoints


async def test_addresses_of_long_ago_are_forgotten_once_there_is_a_link(sns, monkeypatch):
    """A container has another address after each restart: the old ones must not pile up."""
    a = await sns.start("1", sentinel=True)
    b = await sns.start("2", join=[a.endpoint])
    old = [f"127.0.0.1:{port}" for port in range(1, 9)]
    store = b.node.chain.store
    await b.node.do(store.set_meta, "endpoints", json.dumps([*old, a.endpoint]).encode())
    await sns.stop(b)
    monkeypatch.setattr(p2p, "REDIAL_S", 0.01)
    monkeypatch.setattr(p2p, "REDIAL_MAX_S", 0.02)
    b = await sns.start("2", join=["127.0.0.1:1"])
    links = b.chain._p2p
    await until(lambda: links._dialling <= {"127.0.0.1:1", a.endpoint, b.endpoint})
    assert a.endpoint in links._dialling
    c = await sns.start("3", join=[a.endpoint])  # whom it hears of, so that it stores anew
    await until(lambda: c.endpoint in links._dialling)
    kept = json.loads(await b.node.do(b.node.chain.store.meta, "endpoints"))
    assert not set(kept) & set(old[1:])


async def test_strangers_that_an_sn_names_are_dialled_a_few_times_and_forgotten(sns, monkeypatch):
    monkeypatch.setattr(p2p, "REDIAL_S", 0.01)
    monkeypatch.setattr(p2p, "REDIAL_MAX_S", 0.02)
    a = await sns.start("1", sentinel=True)
    dialled = {}

    async def count(_reader, writer):
        port = writer.get_extra_info("sockname")[1]
        dialled[port] = dialled.get(port, 0) + 1
        writer.close()

    strangers = [await asyncio.start_server(count, "127.0.0.1", 0) for _ in range(4)]
    ports = [each.sockets[0].getsockname()[1] for each in strangers]
    try:
        async with foe(sns, a) as it:
            await it.greet()
            await it.say(Kind.PEERS, *(f"127.0.0.1:{port}".encode() for port in ports))
            await until(lambda: len(dialled) == 4)
            await it.say(
                Kind.PEERS,
                *(f"127.0.0.{n}:{p}".encode() for n in range(1, 5) for p in range(1, 1000)),
            )
            await it.answered()
            assert len(a.chain._p2p._dialling) <= p2p.MAX_NAMED
        await until(lambda: not a.chain._p2p._dialling)
    finally:
        for each in strangers:
            each.close()
    assert max(dialled.values()) <= p2p.TRIES
    assert a.chain._p2p._owners == {}
    stored = await a.node.do(a.node.chain.store.meta, "endpoints")
    assert json.loads(stored or "[]") == [], "nor after a restart"


async def test_an_account_has_one_endpoint(sns, monkeypatch):
    """Else an SN that comes back under ever new endpoints makes all dial all of these."""
    monkeypatch.setattr(p2p, "REDIAL_S", 0.01)
    monkeypatch.setattr(p2p, "REDIAL_MAX_S", 0.02)
    a = await sns.start("1", sentinel=True)
    for port in range(1, 8):
        async with foe(sns, a) as it:
            await it.greet(endpoint=f"127.0.0.1:{port}")
            await it.answered()
    await until(lambda: a.chain._p2p._dialling == {"127.0.0.1:7"})
    assert list(a.chain._p2p._homes.values()) == ["127.0.0.1:7"]


@pytest.mark.parametrize(
    "endpoint",
    [":1", "", "h", "h:0", "h:99999", "h:1/path", "u@h:1", "h:1\r\nX: y", "h\0:1", "é:1", "[::1]"],
)
async def test_what_cannot_be_dialled_is_not_dialled(sns, endpoint):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        await it.greet()
        await it.say(Kind.PEERS, endpoint.encode())
        await it.answered()
        assert a.chain._p2p._dialling == set()


# --- links


async def test_a_link_that_reads_nothing_is_cut(sns, monkeypatch):
    monkeypatch.setattr(p2p_link, "QUEUE_BYTES", 4 << 20)
    monkeypatch.setattr(p2p, "FRAMES", p2p.FRAMES | {"ping_interval": None})
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as it:
        await it.greet()
        await until(lambda: a.chain.peers())
        (link,) = a.chain._p2p._links.values()
        it.connection.transport.pause_reading()
        for _ in range(40):
            link.post(Items(Kind.TXS, (bytes(1 << 20),)))
            await asyncio.sleep(0)
        await until(lambda: a.chain.peers() == [])
        assert link._queued <= 6 << 20
        it.connection.transport.abort()
    await a.deploy()


async def test_one_account_has_one_link(sns):
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as one, foe(sns, a) as two:
        await one.greet()
        await one.answered()
        await two.greet()
        await two.answered()
        assert await one.cut() == 4001
        assert len(a.chain.peers()) == 1
    await until(lambda: a.chain.peers() == [])


async def test_more_links_than_there_may_be_sns_are_refused(sns, monkeypatch):
    monkeypatch.setattr(p2p, "MAX_PEERS", 2)
    a = await sns.start("1", sentinel=True)
    async with (
        foe(sns, a, key=PrivateKey(b"\x01" * 32)) as one,
        foe(sns, a, key=PrivateKey(b"\x02" * 32)) as two,
        foe(sns, a, key=PrivateKey(b"\x03" * 32)) as three,
    ):
        for it in (one, two):
            await it.greet()
            await it.answered()
        with suppress(ConnectionClosed):
            await three.greet()
        assert await three.cut() == 4003
        assert len(a.chain.peers()) == 2


async def test_connections_that_say_nothing_are_counted_too(sns, monkeypatch):
    monkeypatch.setattr(p2p, "MAX_ACCEPTED", 2)
    a = await sns.start("1", sentinel=True)
    async with foe(sns, a) as one, foe(sns, a) as two:
        for it in (one, two):
            await it.connection.recv()
        async with foe(sns, a) as three:
            assert await three.cut() == 4003


@pytest.mark.parametrize("role", [kind for kind in NodeKind if kind is not NodeKind.SN])
async def test_no_other_role_may_link(sns, role):
    a = await sns.start("1", sentinel=True)
    context = sns.pki.identity(role).client_context()
    async with connect(f"wss://{a.endpoint}", ssl=context, proxy=None) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 4003


@pytest.mark.parametrize("bad", ["no certificate", "expired", "not yet valid", "no role"])
async def test_bad_certificates_may_not_link(sns, bad):
    a = await sns.start("1", sentinel=True)
    if bad == "no certificate":
        context = ssl.create_default_context(cafile=sns.pki.ca_cert)
        context.check_hostname = False
    else:
        how = {"common_name": "alice"} if bad == "no role" else {bad.replace(" ", "_"): True}
        context = sns.pki.bad_identity(NodeKind.SN, **how).client_context()
    with pytest.raises((OSError, InvalidMessage, InvalidHandshake, ConnectionClosed)):
        async with connect(f"wss://{a.endpoint}", ssl=context, proxy=None) as connection:
            await connection.recv()
    assert a.chain.peers() == []
