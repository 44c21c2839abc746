"""Bytes by which two readers could see two different requests do not get through."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.socket_proxy import http1
from compose.socket_proxy.refusal import Refused
from tests.component.compose.socket_proxy_place import ID, Place, proxied

START = b"POST /v1.45/containers/c1/start HTTP/1.1\r\n"
SMUGGLED = (
    b"POST /v1.45/containers/create?name=evil HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with proxied(tmp_path) as place:
        place.own("c1", "created")
        yield place


MALFORMED = {
    "two lengths": START + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "two different lengths": START + b"Content-Length: 5\r\ncontent-length: 0\r\n\r\n",
    "lengths in one": START + b"Content-Length: 0, 0\r\n\r\n",
    "length and chunks": START + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "signed length": START + b"Content-Length: +0\r\n\r\n",
    "hexadecimal length": START + b"Content-Length: 0x0\r\n\r\n",
    "length with underscore": START + b"Content-Length: 1_0\r\n\r\n",
    "negative length": START + b"Content-Length: -1\r\n\r\n",
    "endless length": START + b"Content-Length: " + b"9" * 99 + b"\r\n\r\n",
    "unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\n",
    "two codings": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "two coding headers": START
    + b"Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n\r\n",
    "folded header": START + b"X: a\r\n Content-Length: 5\r\n\r\n",
    "space before colon": START + b"Content-Length : 5\r\n\r\n",
    "no name": START + b": x\r\n\r\n",
    "no colon": START + b"Host\r\n\r\n",
    "bare line feed": START + b"X: a\nContent-Length: 5\r\n\r\n",
    "bare carriage return": START + b"X: a\rContent-Length: 5\r\n\r\n",
    "NUL": START + b"X: a\x00b\r\n\r\n",
    "not ASCII": START + "X: é\r\n\r\n".encode(),
    "vertical tab": START + b"Transfer-Encoding:\x0bchunked\r\n\r\n",
    "HTTP/1.0": b"POST /containers/c1/start HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /_ping\r\n\r\n",
    "lower-case method": b"post /containers/c1/start HTTP/1.1\r\n\r\n",
    "absolute target": b"POST http://x/containers/c1/start HTTP/1.1\r\n\r\n",
    "two spaces": b"POST  /containers/c1/start HTTP/1.1\r\n\r\n",
    "fragment": b"POST /containers/c1/start#x HTTP/1.1\r\n\r\n",
    "empty line first": b"\r\n" + START + b"\r\n",
    "too many headers": START + b"".join(b"X-%d: 1\r\n" % n for n in range(70)) + b"\r\n",
    "encoded body": START + b"Content-Encoding: gzip\r\n\r\n",
    "announced trailer": START + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n\r\n",
    "semicolon in query": b"POST /containers/c1/stop?t=1;t=2 HTTP/1.1\r\n\r\n",
    "parameter twice": b"POST /containers/c1/stop?t=1&t=2 HTTP/1.1\r\n\r\n",
    "bad escape in query": b"POST /containers/c1/stop?%ff=1 HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed(place: Place, name: str):
    status, text = await place.send(MALFORMED[name] + SMUGGLED)
    assert (status, "socket-proxy: malformed request" in text) == (400, True)
    assert place.got == []


CHUNKS = {
    "extension": b"2;x=1\r\n{}\r\n0\r\n\r\n",
    "no hexadecimal": b"0x2\r\n{}\r\n0\r\n\r\n",
    "space": b"2 \r\n{}\r\n0\r\n\r\n",
    "sign": b"+2\r\n{}\r\n0\r\n\r\n",
    "too long a size": b"000000002\r\n{}\r\n0\r\n\r\n",
    "wrong end": b"2\r\n{}XX0\r\n\r\n",
    "trailer": b"2\r\n{}\r\n0\r\nX: 1\r\n\r\n",
    "line feed only": b"2\n{}\n0\n\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
async def test_badly_framed_chunks(place: Place, name: str):
    head = b"POST /volumes/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _ = await place.send(head + CHUNKS[name])
    assert status == 400
    assert place.got == []


async def test_what_is_passed_on_is_written_anew(place: Place):
    status, _ = await place.send(
        b"POST /v1.45/containers/c1/stop?t=5 HTTP/1.1\r\nHost: evil\r\nX-Anything: 1\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n"
    )
    assert status == 200
    assert place.got == [
        b"POST /v1.45/containers/" + ID.encode() + b"/stop?t=5 HTTP/1.1\r\n"
        b"Host: docker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    ]


async def test_a_second_request_on_the_connection_is_not_answered(place: Place):
    await place.send(START + b"Content-Length: 0\r\n\r\n" + SMUGGLED)
    assert len(place.got) == 1
    assert b"evil" not in place.got[0]


async def test_a_body_where_none_belongs(place: Place):
    old_host_config = b'{"Privileged": true}'
    status, text = await place.ask("POST", "/v1.45/containers/c1/start", old_host_config)
    assert (status, place.got) == (413, [])
    assert "too long" in text


async def test_an_endless_head(place: Place):
    status, text = await place.send(START + b"X: " + b"a" * (40 << 10))
    assert (status, place.got) == (431, [])
    assert "too long" in text


async def test_a_long_json_body(place: Place):
    status, _ = await place.ask("POST", "/volumes/create", b" " * ((1 << 20) + 1))
    assert (status, place.got) == (413, [])


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Connection: Upgrade\r\nUpgrade: tcp", 403),
        (b"Upgrade: h2c", 403),
        (b"Expect: 100-continue", 417),
    ],
    ids=["tcp", "h2c", "expect"],
)
async def test_connections_are_not_handed_over(place: Place, header: bytes, status: int):
    answer = await place.send(START + header + b"\r\n\r\n")
    assert (answer[0], place.got) == (status, [])


async def test_chunks_are_passed_on_as_chunks(place: Place):
    place.own("c2", "created")
    head = b"PUT /containers/c2/archive?path=%2F HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _ = await place.send(head + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n")
    assert status == 200
    assert place.got[0].endswith(b"\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n")


async def test_a_client_that_leaves_ends_its_build(place: Place):
    place.hold = asyncio.Event()
    reader, writer = await asyncio.open_unix_connection(str(place.socket))
    writer.write(b"POST /build?t=x&dockerfile=D HTTP/1.1\r\nContent-Length: 3\r\n\r\ntar")
    async with asyncio.timeout(10):
        while not place.got:
            await asyncio.sleep(0.01)
        writer.close()
        await place.cut.wait()
    del reader


async def test_nobody_behind_it(place: Place, tmp_path: Path):
    (tmp_path / "docker.sock").unlink()
    status, text = await place.ask("GET", "/version")
    assert (status, "Docker does not answer" in text) == (503, True)


async def test_many_connections(place: Place):
    idle = [await asyncio.open_unix_connection(str(place.socket)) for _ in range(100)]
    async with asyncio.timeout(10):
        while (await place.ask("GET", "/version"))[0] != 503:
            await asyncio.sleep(0.01)
        for _, writer in idle:
            writer.close()
        while (await place.ask("GET", "/version"))[0] != 200:
            await asyncio.sleep(0.01)


WORDS = b"GET|POST| |/_ping|?a=b|HTTP/1.1|\r\n|\n|\r|\t|:|X|0|5|\0|\xff|Content-Length|chunked"


@given(st.lists(st.sampled_from([*WORDS.split(b"|"), b"Transfer-Encoding"])).map(b"".join))
def test_a_head_is_refused_or_means_one_thing(head: bytes):
    """What is accepted is printable, and says itself again when it is written down."""
    try:
        parsed = http1.parse_head(head + b"\r\n\r\n")
    except Refused:
        return
    lines = [f"{name}: {value}" for name, value in parsed.headers.items()]
    written = "\r\n".join([f"{parsed.method} {parsed.target} HTTP/1.1", *lines, "", ""])
    assert http1.parse_head(written.encode()) == parsed
    assert written.replace("\r\n", "").replace("\t", "").isprintable()


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(0, 200))
async def test_chunks_come_out_as_they_went_in(pieces: list[bytes], limit: int):
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(http1.chunk(piece) for piece in pieces) + http1.chunk(b"") + b"next")
    reader.feed_eof()
    head = http1.Head("POST", "/build", {}, None)
    content = b"".join(pieces)
    if len(content) > limit:
        with pytest.raises(Refused, match="too long"):
            assert [piece async for piece in http1.body(reader, head, limit)]
    else:
        assert b"".join([piece async for piece in http1.body(reader, head, limit)]) == content
        assert await reader.read() == b"next"
