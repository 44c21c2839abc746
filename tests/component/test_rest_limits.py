"""What clients of our REST servers may cost, on real sockets: slow, greedy, deaf, many (FAULTS S7).

Attackers come from 127.0.0.2, honest clients from 127.0.0.1, where addresses matter.
"""

import asyncio
import gc
import ssl
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, Request

from services.common import rest
from services.common.door import Limits, source_of
from services.common.ids import NodeKind
from services.common.rest import Crowd, caller, listen, make_app, serving, while_there
from services.common.tls import PeerCertificate
from tests.pki import Pki

PATIENCE = 60
"""Seconds after which something that should happen at once counts as never."""
PACE_S = 0.02
"""Between two bytes of a slow client."""
ATTACKER = "127.0.0.2"
BIG = 32 << 20


class Server:
    """A server with a quick route, a slow one, one that takes and one that gives much."""

    def __init__(self, pki, limits):
        self.pki = pki
        self.limits = limits
        self.app = make_app("test")
        self.open = asyncio.Event()
        self.waiting = 0
        self.ended = 0
        self.given = 0
        self.crowd = Crowd(3, "long polls")

        @self.app.get("/slow")
        async def slow(who: Annotated[PeerCertificate, Depends(caller)], request: Request) -> str:
            with self.crowd.one_more(who.fingerprint):
                self.waiting += 1
                try:
                    await while_there(request, self.open.wait())
                finally:
                    self.ended += 1
                return who.common_name

        @self.app.get("/waits")
        async def waits() -> str:
            self.waiting += 1
            await self.open.wait()
            return "done"

        @self.app.post("/count")
        async def count(request: Request) -> int:
            return len(await request.body())

        @self.app.get("/big")
        async def big() -> str:
            self.given += 1
            return "x" * BIG

    @asynccontextmanager
    async def running(self):
        sock = listen("127.0.0.1", 0, "test")
        self.port = sock.getsockname()[1]
        async with serving(self.app, sock, self.pki.identity(NodeKind.SN), self.limits):
            try:
                yield self
            finally:
                self.open.set()

    def context(self, name="1"):
        return self.pki.identity(NodeKind.SL, name).client_context()

    async def ask(self, path="/is_up", name="1", address="127.0.0.1", method="GET", **more):
        transport = httpx.AsyncHTTPTransport(verify=self.context(name), local_address=address)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as http:
            return await http.request(method, f"https://127.0.0.1:{self.port}{path}", **more)

    async def tcp(self, address=ATTACKER):
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    async def tls(self, name="1", address="127.0.0.1"):
        return await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(address, 0), ssl=self.context(name),
            server_hostname="",
        )  # fmt: skip

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                await asyncio.sleep(PACE_S)


@pytest.fixture
def server(tmp_path):
    """Makes a running server with these limits."""
    pki = Pki(tmp_path)

    def make(**limits):
        return Server(pki, Limits(**limits)).running()

    return make


async def ended(reader):
    """All that the server said until it closed the connection."""
    said = b""
    with suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(PATIENCE):
            while some := await reader.read(65_536):
                said += some
    return said


async def dribble(writer, text):
    """Send byte after byte, for ever, until the server has had enough."""
    with suppress(ConnectionError, ssl.SSLError):
        for byte in text:
            if writer.is_closing():
                return
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(PACE_S)


async def close(*writers):
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
    gc.collect()


GET = b"GET /is_up HTTP/1.1\r\nHost: sn\r\n\r\n"


# --- connections


async def test_those_who_never_shake_hands_make_room_for_those_who_do(server):
    async with server(connections=20, per_address=10, handshake_s=600.0) as s:
        streams = [await s.tcp() for _ in range(30)]
        gone = [asyncio.ensure_future(ended(reader)) for reader, _ in streams]
        await s.until(lambda _: sum(task.done() for task in gone) >= 20)
        assert (await s.ask(address="127.0.0.1")).text == "OK"
        assert (await s.ask(address=ATTACKER)).text == "OK", "oldest idle one makes room"
        assert [task.done() for task in gone[-5:]] == [False] * 5, "the newest are in still"
        await close(*(writer for _, writer in streams))
        await asyncio.gather(*gone)


async def test_many_addresses_cannot_keep_others_out_either(server):
    async with server(connections=12, per_address=5, handshake_s=600.0) as s:
        streams = [await s.tcp(f"127.0.1.{n}") for n in range(1, 41)]
        assert (await s.ask()).text == "OK"
        await close(*(writer for _, writer in streams))


async def test_an_address_that_shook_hands_often_enough_is_turned_away(server, caplog):
    async with server(per_address=3) as s:
        streams = [await s.tls(address=ATTACKER) for _ in range(3)]
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await s.tls(address=ATTACKER)
        assert f"too many connections of {ATTACKER}" in caplog.text
        assert (await s.ask()).text == "OK"
        await close(*(writer for _, writer in streams))

        async def answered():
            with suppress(httpx.HTTPError):
                return (await s.ask(address=ATTACKER)).text == "OK"

        async with asyncio.timeout(PATIENCE):
            while not await answered():
                await asyncio.sleep(PACE_S)


async def test_one_certificate_cannot_take_all_connections(server):
    async with server(per_certificate=3) as s:
        streams = [await s.tls("1") for _ in range(3)]
        reader, writer = await s.tls("1")
        said = await ended(reader)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections of this certificate" in said
        assert (await s.ask(name="2")).text == "OK"
        await close(writer, *(each for _, each in streams))


async def test_a_handshake_that_never_comes_ends(server):
    async with server(handshake_s=0.3) as s:
        reader, writer = await s.tcp()
        assert await ended(reader) == b""
        await close(writer)
        assert (await s.ask()).text == "OK"


async def test_a_refused_certificate_does_not_hold_its_connection(server, tmp_path):
    async with server(handshake_s=0.3) as s:
        stranger = Pki(tmp_path / "other").identity(NodeKind.SL).client_context()
        stranger.load_verify_locations(s.pki.ca_cert)
        with suppress(ssl.SSLError, ConnectionError):  # TLS 1.3 tells the client late
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", s.port, ssl=stranger, server_hostname=""
            )
            assert await ended(reader) == b""
            await close(writer)
        assert (await s.ask()).text == "OK"


async def test_stopping_waits_for_nobody_who_shakes_no_hands(server):
    async with server(handshake_s=600.0) as s:
        streams = [await s.tcp() for _ in range(5)]
        assert (await s.ask()).text == "OK"
    for reader, _ in streams:
        assert await ended(reader) == b""
    await close(*(writer for _, writer in streams))


# --- requests


async def test_a_connection_without_a_request_ends(server):
    async with server(request_s=0.3) as s:
        reader, writer = await s.tls()
        assert await ended(reader) == b""
        await close(writer)


async def test_an_idle_connection_ends(server):
    async with server(idle_s=1, request_s=600.0) as s:
        reader, writer = await s.tls()
        writer.write(GET)
        assert (await ended(reader)).endswith(b"OK")
        await close(writer)


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET /is_up HTTP/1.1\r\nX-Slow: ", b"x" * 10_000),
        (b"POST /count HTTP/1.1\r\nHost: sn\r\nContent-Length: 9999\r\n\r\n", b"x" * 9_000),
        (b"POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 2_000),
        (b"", b"\r\n" * 10_000),
    ],
    ids=["header", "body", "chunks", "nothing but line ends"],
)
async def test_a_request_that_never_ends_is_cut(server, begin, drip):
    async with server(request_s=1.0) as s:
        reader, writer = await s.tls()
        writer.write(GET)
        await reader.readuntil(b"OK")
        writer.write(begin)
        slow = asyncio.ensure_future(dribble(writer, drip))
        assert b"200 OK" not in await ended(reader)
        await close(writer)
        await slow
        assert (await s.ask()).text == "OK"


@pytest.mark.parametrize(
    "head",
    [b"X-Huge: " + b"x" * 2**20, b"X-Many: x\r\n" * 2**17, b"X-" + b"n" * 2**20],
    ids=["one value", "many headers", "one name"],
)
async def test_a_huge_head_is_refused(server, head):
    async with server(request_s=600.0) as s:
        reader, writer = await s.tls()
        with suppress(ConnectionError):
            writer.write(b"GET /is_up HTTP/1.1\r\n" + head)
            await writer.drain()
        assert (await ended(reader))[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
        await close(writer)
        assert (await s.ask()).text == "OK"


async def test_a_huge_path_is_refused(server):
    async with server(request_s=600.0) as s:
        answer = await s.ask("/" + "x" * 40_000)
        assert answer.status_code == 400
        assert (await s.ask("/" + "x" * 20_000)).status_code == 404


async def test_headers_after_the_body_are_counted_too(server):
    async with server(request_s=600.0) as s:
        reader, writer = await s.tls()
        writer.write(b"POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        with suppress(ConnectionError):
            writer.write(b"X-Trailer: x\r\n" * 2**17)
            await writer.drain()
        assert b"200 OK" not in await ended(reader)
        await close(writer)


async def test_a_body_without_end_is_refused_at_its_limit(server):
    async with server(request_s=600.0) as s:
        _reader, writer = await s.tls()
        writer.write(b"POST /count HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with suppress(ConnectionError, ssl.SSLError):
            while not writer.is_closing() and sent < 64 << 20:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
                sent += 65_536
        assert sent < 64 << 20
        await close(writer)


async def test_all_bodies_together_have_a_limit(server, monkeypatch):
    monkeypatch.setattr(rest, "MAX_BODIES", 100_000)
    async with server(request_s=600.0) as s:
        _reader, writer = await s.tls("1")
        writer.write(b"POST /count HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"x" * 89_999)
        await writer.drain()

        async def busy():
            answer = await s.ask("/count", "2", method="POST", content=b"x" * 50_000)
            return answer.status_code == 503 and answer.json()["code"] == "busy"

        async with asyncio.timeout(PATIENCE):
            while not await busy():  # until the server has read the first
                await asyncio.sleep(PACE_S)
        await close(writer)
        async with asyncio.timeout(PATIENCE):
            while await busy():
                await asyncio.sleep(PACE_S)


async def test_a_body_that_breaks_off_is_no_body(server):
    async with server() as s:
        seen = []

        @s.app.post("/take")
        async def take(request: Request) -> None:
            seen.append(await request.body())

        _reader, writer = await s.tls()
        writer.write(b"POST /take HTTP/1.1\r\nContent-Length: 10\r\n\r\n{}")
        await writer.drain()
        await close(writer)
        assert (await s.ask("/take", method="POST", content=b"whole")).status_code == 200
        assert seen == [b"whole"]


async def test_the_next_request_may_not_come_before_the_answer(server):
    async with server() as s:
        reader, writer = await s.tls()
        writer.write(b"GET /waits HTTP/1.1\r\nHost: sn\r\n\r\n" + GET * 1_000)
        said = await ended(reader)
        assert said.count(b"HTTP/1.1") == 1
        assert said.startswith(b"HTTP/1.1 400")
        await close(writer)


# --- answers and long polls


async def test_a_client_that_takes_no_answer_is_cut(server):
    async with server(answer_s=1.0, per_certificate=1) as s:
        _, writer = await s.tls()
        writer.transport.pause_reading()
        writer.write(b"GET /big HTTP/1.1\r\nHost: sn\r\n\r\n")
        await s.until(lambda s: s.given == 1)
        assert (await s.ask()).status_code == 503, "it has its certificate's only connection"

        async def gone():
            return (await s.ask()).status_code == 200

        async with asyncio.timeout(PATIENCE):
            while not await gone():
                await asyncio.sleep(PACE_S)
        await close(writer)
        assert len((await s.ask("/big")).content) > BIG


async def test_long_polls_of_one_certificate_are_counted(server):
    async with server() as s:
        polls = [asyncio.ensure_future(s.ask("/slow")) for _ in range(3)]
        await s.until(lambda s: s.waiting == 3)
        refused = await s.ask("/slow")
        assert refused.status_code == 503
        assert refused.json()["code"] == "busy"
        assert "3 long polls of your certificate are under way" in refused.json()["detail"]
        other = asyncio.ensure_future(s.ask("/slow", name="2"))
        await s.until(lambda s: s.waiting == 4)
        s.open.set()
        assert [each.status_code for each in await asyncio.gather(*polls, other)] == [200] * 4
        assert (await s.ask("/slow")).status_code == 200


async def test_a_long_poll_ends_with_its_client(server):
    async with server() as s:
        for _ in range(5):  # more than may wait at the same time
            before = s.ended
            _, writer = await s.tls()
            writer.write(b"GET /slow HTTP/1.1\r\nHost: sn\r\n\r\n")
            await s.until(lambda s: s.waiting > before)  # noqa: B023 - called at once
            await close(writer)
            await s.until(lambda s: s.ended > before)  # noqa: B023 - called at once


async def test_requests_of_one_certificate_are_counted_also_when_their_clients_left(
    server, monkeypatch
):
    monkeypatch.setattr(rest, "MAX_REQUESTS", 3)
    async with server() as s:
        for count in range(1, 4):
            _, writer = await s.tls()
            writer.write(b"GET /waits HTTP/1.1\r\nHost: sn\r\n\r\n")
            await s.until(lambda s: s.waiting == count)  # noqa: B023 - called at once
            await close(writer)
        refused = await s.ask()
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert "3 requests of your certificate are under way" in refused.json()["detail"]
        assert (await s.ask(name="2")).text == "OK"
        s.open.set()
        async with asyncio.timeout(PATIENCE):
            while (await s.ask()).status_code != 200:
                await asyncio.sleep(PACE_S)


# --- what a proxy and we could understand differently


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: 0x5\r\n\r\nhello",
        b"Content-Length: 99999999999999999999\r\n\r\nhello",
        b"Content-Length : 5\r\n\r\nhello",
        b"Content Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        b"X-Fold: a\r\n b: c\r\nContent-Length: 5\r\n\r\nhello",
        b"X-Null: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
        b"X-Return: a\rContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_ambiguous_requests_are_refused_and_hide_no_second_one(server, head):
    async with server() as s:
        reader, writer = await s.tls()
        writer.write(b"POST /count HTTP/1.1\r\nHost: sn\r\n" + head + GET)
        said = await ended(reader)
        assert said.startswith(b"HTTP/1.1 400"), said[:100]
        assert said.count(b"HTTP/1.1") == 1
        await close(writer)


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0"])
async def test_there_is_nothing_to_upgrade_to(server, upgrade):
    async with server() as s:
        reader, writer = await s.tls()
        writer.write(
            b"GET /is_up HTTP/1.1\r\nHost: sn\r\nConnection: Upgrade, close\r\nUpgrade: "
            + upgrade + b"\r\n\r\n"
        )  # fmt: skip
        assert b" 101 " not in await ended(reader)
        await close(writer)
        assert (await s.ask()).text == "OK"


# --- ciphers


@pytest.mark.parametrize(
    "ciphers", ["NULL-SHA256", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ADH-AES128-SHA256"]
)
async def test_weak_ciphers_are_refused(server, ciphers):
    async with server() as s:
        weak = s.context()
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers(f"{ciphers}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"HANDSHAKE_FAILURE|NO_CIPHERS"):
            await asyncio.open_connection("127.0.0.1", s.port, ssl=weak, server_hostname="")
        good = s.context()
        good.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = await asyncio.open_connection("127.0.0.1", s.port, ssl=good, server_hostname="")
        assert "GCM" in writer.get_extra_info("cipher")[0]
        await close(writer)


def test_an_owner_of_many_ipv6_addresses_counts_once():
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("::ffff:192.0.2.1") == source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("fe80::1%eth0") == "fe80::/64"
