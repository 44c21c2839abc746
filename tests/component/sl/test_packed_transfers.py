"""Packed transfers over real TLS: on slow links only, resumed plainly, and never trusted."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from services.common.errors import DigestMismatchError, PeerUnavailableError
from services.common.ids import Digest
from services.sl.adapters.file_connection import Limits
from services.sl.adapters.peers import Peers
from services.sl.core.packing import CODING, Packer
from swarmlearning.wire.digest import CHUNK, digest_of
from tests.component.sl.plane import (
    QUICK,
    Client,
    Plane,
    cutting_proxy,
    model_file,
    put,
    reset,
    tcp_server,
)
from tests.pki import Pki

MB = 1_000_000
MODELS = [model_file(seed, count=1_500_000) for seed in range(3)]
SIZE = len(MODELS[0])
SLOW = 40 * MB
"""Bytes per second of the throttled link."""


@pytest.fixture
def plane(tmp_path):
    return Plane(Pki(tmp_path), tmp_path)


@pytest.fixture
def source(plane):
    return plane.store("source")


@pytest.fixture
def digests(source):
    return [put(source, model) for model in MODELS]


@pytest.fixture
def target(plane):
    return plane.store("target")


@pytest.fixture
async def peers(plane):
    async with Peers(plane.identity(name="2"), QUICK, pack_below=250 * MB) as peers:
        yield peers


@pytest.fixture
async def served(plane, source):
    async with plane.serving(source, limits=Limits(pack_below=250 * MB)) as served:
        yield served


@asynccontextmanager
async def throttled(port, rate):
    """A link of ``rate`` bytes per second to ``port``: its endpoint."""

    async def pump(reader, writer, rate):
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while piece := await reader.read(65536):
            free_at = max(free_at, loop.time()) + len(piece) / rate
            await asyncio.sleep(free_at - loop.time())
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def relay(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, back, 10**12))
                group.create_task(pump(there, writer, rate))
        finally:
            reset(writer)
            reset(back)

    async with tcp_server(relay) as endpoint:
        yield endpoint


async def test_a_slow_link_is_used_packed_from_the_second_transfer_on(
    peers, served, source, target, digests
):
    async with throttled(served.port, SLOW) as endpoint:
        for done, digest in enumerate(digests):
            before = peers.fetched_bytes
            await peers.fetch(endpoint, digest, SIZE, target)
            assert target.path(digest).read_bytes() == MODELS[done]
            assert peers.fetched_packed == done
            passed = peers.fetched_bytes - before
            assert passed == SIZE if done == 0 else passed < 0.9 * SIZE
    assert served.server.traffic.bytes_sent == peers.fetched_bytes
    assert served.server.traffic.connections == 1


async def test_a_link_that_is_fast_again_is_used_plainly_again(
    peers, served, target, digests, monkeypatch
):
    monkeypatch.setattr("services.sl.core.links.FAST", 10**12)
    await peers.fetch(served.endpoint, digests[0], SIZE, target)
    await peers.fetch(served.endpoint, digests[1], SIZE, target)
    monkeypatch.setattr("services.sl.core.links.FAST", 1)
    await peers.fetch(served.endpoint, digests[2], SIZE, target)
    assert peers.fetched_packed == 1


@pytest.mark.parametrize(
    ("client", "server"), [(0, 250 * MB), (SIZE, 250 * MB), (250 * MB, 0), (250 * MB, SIZE)]
)
async def test_neither_side_packs_from_its_threshold_on(
    plane, source, target, digests, client, server
):
    async with (
        plane.serving(source, limits=Limits(pack_below=server)) as served,
        Peers(plane.identity(name="2"), QUICK, pack_below=client) as peers,
        throttled(served.port, SLOW) as endpoint,
    ):
        for digest in digests[:2]:
            await peers.fetch(endpoint, digest, SIZE, target)
        assert peers.fetched_packed == 0
        assert peers.fetched_bytes == 2 * SIZE


async def test_a_packed_transfer_that_is_cut_goes_on_plainly_where_it_was(
    peers, served, target, digests, monkeypatch
):
    monkeypatch.setattr("services.sl.core.links.FAST", 10**12)
    cuts = {0: None, 1: CHUNK + 200_000}
    async with cutting_proxy(served.port, cuts.get, gently=True) as (endpoint, passed):
        await peers.fetch(endpoint, digests[0], SIZE, target)
        kept = peers._connections.take(endpoint)
        kept.close()
        await peers.fetch(endpoint, digests[1], SIZE, target)
    assert target.path(digests[1]).read_bytes() == MODELS[1]
    assert (peers.fetched_packed, peers.resumed) == (1, 1)
    assert passed[2] < SIZE - CHUNK + 20_000


async def test_a_range_of_a_packed_file_is_told_in_bytes_of_the_file(plane, served, digests):
    client = await Client.connect(served.port, plane.identity(name="2").client_context())
    begin = SIZE - 1000
    await client.say(
        f"GET /v1/models/{digests[0]} HTTP/1.1\r\nHost: x\r\nRange: bytes={begin}-\r\n"
        f"Accept-Encoding: gzip, {CODING}\r\n\r\n"
    )
    head = (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 206")
    assert f"content-encoding: {CODING}" in head
    assert f"model-range: bytes {begin}-{SIZE - 1}/{SIZE}" in head
    length = int(await client.reader.readuntil(b"\r\n"), 16)
    await client.reader.readexactly(length + 2)
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"
    assert (await client.ask(f"HEAD /v1/models/{digests[0]} HTTP/1.1"))[0] == 200
    await client.close()


# --- servers that lie


def packed_answer(chunks, total=SIZE, begin=0):
    head = (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: {CODING}\r\n"
        f"Model-Range: bytes {begin}-{total - 1}/{total}\r\n\r\n"
    )
    return head.encode() + b"".join(chunks)


def framed(packed):
    return b"%x\r\n%b\r\n" % (len(packed), packed)


FIRST = framed(Packer().pack(memoryview(MODELS[0][:CHUNK])))
REST = framed(Packer().pack(memoryview(MODELS[0][CHUNK:])))
END = b"0\r\n\r\n"
LIES = {
    "another-file": packed_answer(
        [FIRST, framed(Packer().pack(memoryview(bytes(SIZE - CHUNK)))), END]
    ),
    "another-size": packed_answer([FIRST, REST, END], total=SIZE + 4),
    "another-range": packed_answer([FIRST, REST, END], begin=4),
    "too-short": packed_answer([FIRST, END]),
    "empty-chunks": packed_answer([framed(b"\0")] * 1000),
    "a-huge-chunk": packed_answer([b"fffffff\r\n" + bytes(100_000)]),
    "a-length-without-end": packed_answer([b"1" * 100_000]),
    "a-negative-length": packed_answer([b"-5\r\n"]),
    "a-chunk-longer-than-told": packed_answer([FIRST[:-2] + b"xx\r\n"]),
    "no-packed-chunk": packed_answer([framed(bytes([4]) * 1000)]),
    "no-range": packed_answer([FIRST, REST, END]).replace(b"Model-Range", b"X"),
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES.keys())
async def test_a_server_that_lies_is_given_up(plane, target, peers, answer, monkeypatch):
    monkeypatch.setattr("services.sl.core.links.Links.pays", lambda *_: True)

    async def lie(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)
            await writer.drain()

    async def handle(reader, writer):
        try:
            await lie(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()

    digest = Digest(digest_of(MODELS[0]))
    async with tcp_server(handle, plane.identity().server_context()) as endpoint:
        with pytest.raises((PeerUnavailableError, DigestMismatchError)):
            await peers.fetch(endpoint, digest, SIZE, target, deadline_s=10)
    assert list(target.folder.iterdir()) == []
