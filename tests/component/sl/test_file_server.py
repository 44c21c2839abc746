"""The file server over real TLS: who gets what, hostile clients, and that others do not suffer."""

import asyncio
import json
import logging
import os
import socket
import ssl

import pytest

from services.common.ids import Digest, NodeKind
from services.sl.adapters import file_connection
from services.sl.adapters.file_connection import Limits
from services.sl.adapters.file_server import FileServer
from swarmlearning.wire.digest import digest_of
from tests.component.sl.plane import DEADLINE, Client, Plane, noise, put
from tests.pki import Pki

CONTENT = noise(1_500_000)
DIGEST = Digest(digest_of(CONTENT))
TARGET = f"/v1/models/{DIGEST}"
QUICK = Limits(handshake_s=0.2, head_s=0.2, idle_s=0.2, stall_s=0.2)


@pytest.fixture
def plane(tmp_path):
    return Plane(Pki(tmp_path), tmp_path)


@pytest.fixture
def store(plane):
    store = plane.store("server")
    put(store, CONTENT)
    return store


@pytest.fixture
async def served(plane, store):
    async with plane.serving(store) as served:
        yield served


@pytest.fixture
async def client(plane, served):
    client = await Client.connect(served.port, plane.identity(name="2").client_context())
    yield client
    await client.close()


async def connect(plane, served, identity=None):
    return await Client.connect(served.port, (identity or plane.identity()).client_context())


# --- what it serves


async def test_get_a_whole_file(client, served):
    status, fields, body = await client.ask(f"GET {TARGET} HTTP/1.1")
    assert (status, body) == (200, CONTENT)
    assert fields["etag"] == f'"{DIGEST}"'
    assert fields["accept-ranges"] == "bytes"
    assert served.server.traffic.files_sent == 1
    assert served.server.traffic.bytes_sent == len(CONTENT)


async def test_head_tells_the_size_only(client):
    status, fields, body = await client.ask(f"HEAD {TARGET} HTTP/1.1")
    assert (status, fields["content-length"], body) == (200, str(len(CONTENT)), b"")
    status, _, _ = await client.ask(f"HEAD /v1/models/{'0' * 64} HTTP/1.1")
    assert status == 404


async def test_many_requests_over_one_connection(client, served):
    for begin in range(20):
        _, _, body = await client.ask(f"GET {TARGET} HTTP/1.1", f"Range: bytes={begin}-{begin}")
        assert body == CONTENT[begin : begin + 1]
    status, _, _ = await client.ask(f"GET /v1/models/{'0' * 64} HTTP/1.1")
    assert status == 404
    status, _, _ = await client.ask(f"HEAD {TARGET} HTTP/1.1", "Connection: close")
    assert status == 200
    assert await client.closed()
    assert served.server.traffic.connections == 1


async def test_small_answers_do_not_wait_for_acknowledgements(client, served):
    await client.ask(f"HEAD {TARGET} HTTP/1.1")
    [connection] = served.server._open.values()
    assert connection.stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("span", "begin", "end"),
    [("0-0", 0, 1), ("1000000-", 1_000_000, 1_500_000), ("-7", 1_499_993, 1_500_000),
     ("5-99999999", 5, 1_500_000)],
)  # fmt: skip
async def test_a_range(client, span, begin, end):
    status, fields, body = await client.ask(f"GET {TARGET} HTTP/1.1", f"Range: bytes={span}")
    assert (status, body) == (206, CONTENT[begin:end])
    assert fields["content-range"] == f"bytes {begin}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("span", ["bytes=x", "bytes=9-3", "bytes=1500000-", "bytes=0-1,4-5"])
async def test_a_bad_range_is_416_and_the_connection_stays(client, span):
    status, fields, body = await client.ask(f"GET {TARGET} HTTP/1.1", f"Range: {span}")
    assert (status, fields["content-type"]) == (416, "application/problem+json")
    assert json.loads(body)["code"] == "range"
    assert (await client.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200


async def test_an_empty_file(client, store):
    digest = put(store, b"")
    assert (await client.ask(f"GET /v1/models/{digest} HTTP/1.1"))[::2] == (200, b"")


async def test_pipelined_requests_are_answered_in_order(client):
    request = "GET {} HTTP/1.1\r\nHost: x\r\nRange: bytes={}-{}\r\n\r\n"
    await client.say(request.format(TARGET, 0, 9) + request.format(TARGET, 10, 19))
    assert (await client.answer())[2] == CONTENT[:10]
    assert (await client.answer())[2] == CONTENT[10:20]


async def test_a_file_of_an_earlier_process_is_checked_before_it_is_served(plane, store):
    store.path(DIGEST).write_bytes(b"\1" + CONTENT[1:])
    async with plane.serving(plane.store("server")) as served:
        client = await connect(plane, served)
        assert (await client.ask(f"GET {TARGET} HTTP/1.1"))[0] == 404
        await client.close()


# --- what it does not serve


@pytest.mark.parametrize(
    "target",
    ["/v1/models/../../secret", "/v1/models/%2e%2e%2fsecret", "/secret", "//secret", "/",
     f"/v1/models/{'0' * 64}", f"/v1/models/{DIGEST}%00", f"{TARGET}/..", f"{TARGET}?x=1",
     f"/v1/models/{DIGEST[:63]}\0"],
)  # fmt: skip
async def test_nothing_outside_the_store(client, plane, target):
    (plane.folder / "secret").write_text("secret")
    status, _, body = await client.ask(f"GET {target} HTTP/1.1")
    assert status == 404
    assert b"secret" not in body.replace(target.encode(), b"")


async def test_no_symbolic_link(client, plane, store):
    (plane.folder / "secret").write_text("secret")
    digest = Digest(digest_of(b"secret"))
    store.path(digest).symlink_to(plane.folder / "secret")
    assert (await client.ask(f"GET /v1/models/{digest} HTTP/1.1"))[0] == 404


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("\x16\x03\x01\0\xff\xfe\r\n\r\n", 400),
        (f"GET {TARGET} HTTP/1.0\r\n\r\n", 505),
        (f"POST {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (f"GET {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
        (f"GET {TARGET} HTTP/1.1\r\nHost: x\r\nX: {'a' * 17_000}\r\n\r\n", 431),
        (f"GET {TARGET} HTTP/1.1\r\nHost: x\r\nX: {'a' * 600_000}\r\n\r\n", 431),
    ],
)
async def test_bad_requests_are_answered_and_the_connection_closed(client, request_text, status):
    await client.say(request_text)
    answered, fields, body = await client.answer()
    assert (answered, fields["connection"]) == (status, "close")
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["detail"]
    assert await client.closed()


@pytest.mark.parametrize("role", [NodeKind.SN, NodeKind.SWCI, NodeKind.SWOP])
async def test_another_role_is_forbidden(plane, served, role):
    client = await connect(plane, served, plane.identity(role))
    status, _, body = await client.ask(f"GET {TARGET} HTTP/1.1")
    assert status == 403
    assert f"has role {role}" in json.loads(body)["detail"]
    assert await client.closed()


async def test_a_peer_that_is_not_enrolled_is_forbidden_even_to_know_what_there_is(plane, store):
    stranger, member = plane.identity(name="stranger"), plane.identity(name="member")
    members = {member.certificate.fingerprint}
    async with plane.serving(store, authorise=lambda c: c.fingerprint in members) as served:
        for digest in (DIGEST, "0" * 64):
            client = await connect(plane, served, stranger)
            assert (await client.ask(f"HEAD /v1/models/{digest} HTTP/1.1"))[0] == 403
            await client.close()
        client = await connect(plane, served, member)
        assert (await client.ask(f"GET {TARGET} HTTP/1.1"))[0] == 200
        members.clear()
        assert (await client.ask(f"GET {TARGET} HTTP/1.1"))[0] == 403
        await client.close()


# --- TLS


async def test_without_a_good_certificate_there_is_no_connection(plane, served, caplog):
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname, nameless.verify_mode = False, ssl.CERT_NONE
    contexts = [nameless] + [
        plane.pki.bad_identity(NodeKind.SL, **{fault: True}).client_context()
        for fault in ("wrong_ca", "expired", "not_yet_valid")
    ]
    with caplog.at_level(logging.WARNING, "swarm.sl.fileserver"):
        for context in contexts:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                client = await Client.connect(served.port, context)
                await client.ask(f"GET {TARGET} HTTP/1.1")
        client = await connect(plane, served)
        assert (await client.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
        await client.close()
    assert served.server.traffic.handshakes_failed == len(contexts)
    assert len([r for r in caplog.records if "refused" in r.message]) == len(contexts)


async def test_plain_http_is_not_spoken(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    assert CONTENT[:100] not in answer
    assert not answer.startswith(b"HTTP")
    writer.close()


# --- slow and many clients


async def test_a_silent_connection_is_cut(plane, store):
    async with plane.serving(store, limits=QUICK) as served:
        client = await connect(plane, served)
        assert await client.closed()
        assert served.server.traffic.cut == 1


async def test_an_idle_connection_is_cut(plane, store):
    async with plane.serving(store, limits=QUICK) as served:
        client = await connect(plane, served)
        assert (await client.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
        assert await client.closed()


async def test_slowloris_is_cut_although_it_keeps_sending(plane, store):
    async with plane.serving(store, limits=QUICK) as served:
        client = await connect(plane, served)
        closed = asyncio.create_task(client.closed())
        await client.say("GET ")
        drip = asyncio.get_running_loop().create_task(_drip(client))
        assert await closed
        drip.cancel()
        await asyncio.gather(drip, return_exceptions=True)


async def _drip(client):
    while True:
        await client.say("x")
        await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_is_cut(plane, store):
    big = put(store, noise(40_000_000))
    async with plane.serving(store, limits=QUICK) as served:
        client = await connect(plane, served)
        client.writer.transport.pause_reading()
        await client.say(f"GET /v1/models/{big} HTTP/1.1\r\nHost: x\r\n\r\n")
        await _until(lambda: served.server.traffic.cut == 1)
        client.writer.transport.abort()


async def _until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0)


async def test_a_handshake_that_never_ends_is_cut(plane, store):
    async with plane.serving(store, limits=QUICK) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()
        assert served.server.traffic.handshakes_failed == 1


async def test_a_flood_without_certificates_is_bounded_and_keeps_no_peer_out(plane, store):
    limits = Limits(connections=4, handshake_s=DEADLINE)
    async with plane.serving(store, limits=limits) as served:
        flood = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(12)]
        closed = [asyncio.create_task(reader.read()) for reader, _ in flood]
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*closed[:8])
        client = await connect(plane, served)
        assert (await client.ask(f"GET {TARGET} HTTP/1.1"))[2] == CONTENT
        await client.close()
        for task in closed:
            task.cancel()
        await asyncio.gather(*closed, return_exceptions=True)
        for _, writer in flood:
            writer.close()


async def test_a_flood_that_waits_in_the_backlog_is_bounded_too(plane, store):
    """All are there at once, so that nobody has to be waited for between two of them."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        flood = [socket.create_connection(sock.getsockname()) for _ in range(40)]
        limits = Limits(connections=4, handshake_s=DEADLINE)
        server = FileServer(sock, plane.identity(), store, lambda _: True, limits=limits)
        accepted, most = 0, 0
        start = server._start

        def counting(work, *arguments):
            nonlocal accepted, most
            task = start(work, *arguments)
            accepted += work == server._serve
            most = max(most, len(server._tasks))
            return task

        server._start = counting
        async with server:
            await _until(lambda: accepted == len(flood))
        assert most <= 4 + 3  # the one that accepts, a new one, and one that is going
        for each in flood:
            each.close()


async def busy(plane, served, store, identity):
    """A connection in the middle of a download that its client does not read."""
    client = await connect(plane, served, identity)
    await client.ask(f"HEAD {TARGET} HTTP/1.1")
    client.writer.transport.pause_reading()
    before = served.server.traffic.files_sent
    await client.say(f"GET /v1/models/{put(store, noise(40_000_000))} HTTP/1.1\r\nHost: x\r\n\r\n")
    await _until(lambda: served.server.traffic.files_sent > before)
    return client


async def test_the_oldest_idle_connection_gives_way(plane, store):
    async with plane.serving(store, limits=Limits(connections=2)) as served:
        first, second = [await connect(plane, served) for _ in range(2)]
        for client in (first, second):
            assert (await client.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
        third = await connect(plane, served)
        assert (await third.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
        assert await first.closed()
        assert (await second.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
        for client in (second, third):
            await client.close()


async def test_connections_at_work_are_bounded_in_all_and_by_certificate(plane, store):
    greedy, other = plane.identity(name="greedy"), plane.identity(name="other")
    limits = Limits(connections=3, per_certificate=2)
    async with plane.serving(store, limits=limits) as served:
        clients = [await busy(plane, served, store, greedy) for _ in range(2)]
        refused = await connect(plane, served, greedy)
        assert (await refused.answer())[0] == 503
        clients.append(await busy(plane, served, store, other))
        refused = await connect(plane, served, plane.identity(name="third"))
        assert (await refused.answer())[0] == 503
        assert served.server.traffic.connections == 3
        for client in clients:
            client.writer.transport.abort()


async def test_a_client_that_leaves_in_the_middle_harms_nobody(plane, store, caplog):
    async with plane.serving(store) as served:
        client = await busy(plane, served, store, plane.identity())
        client.writer.transport.abort()
        other = await connect(plane, served)
        assert (await other.ask(f"GET {TARGET} HTTP/1.1"))[2] == CONTENT
        await other.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_a_file_that_shrinks_in_the_middle_ends_that_connection_only(
    plane, store, monkeypatch
):
    real = file_connection.FileConnection._piece

    def shrink(self, model, offset, length):
        if offset:
            os.truncate(store.path(model.digest), 1000)
        return real(self, model, offset, length)

    monkeypatch.setattr(file_connection.FileConnection, "_piece", shrink)
    other = put(store, b"small")
    async with plane.serving(store) as served:
        client = await connect(plane, served)
        await client.say(f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)):
            await client.answer()
        again = await connect(plane, served)
        assert (await again.ask(f"GET /v1/models/{other} HTTP/1.1"))[2] == b"small"
        await again.close()


async def test_stopping_the_server_closes_its_connections(plane, store):
    async with plane.serving(store) as served:
        client = await connect(plane, served)
        assert (await client.ask(f"HEAD {TARGET} HTTP/1.1"))[0] == 200
    assert await client.closed()
    with pytest.raises(OSError, match="onnect"):
        await connect(plane, served)


# --- copies left here


COPY = noise(700_000, seed=1)
COPY_DIGEST = Digest(digest_of(COPY))


def upload(content=COPY, digest=COPY_DIGEST, *fields):
    lines = [f"PUT /v1/models/{digest} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, *fields, "", ""]).encode() + content


async def test_a_copy_is_taken_from_who_may_leave_one(plane, store):
    asked = []

    def may_copy(certificate, digest, size):
        asked.append((certificate.common_name, digest, size))
        return True

    async with plane.serving(store, may_copy=may_copy) as served:
        client = await connect(plane, served, plane.identity(name="leader"))
        await client.say(upload())
        assert (await client.answer())[0] == 201
        assert store.path(COPY_DIGEST).read_bytes() == COPY
        assert asked == [("SL-leader", COPY_DIGEST, len(COPY))]
        await client.say(upload(b"", COPY_DIGEST, "Expect: 100-continue"))
        assert (await client.answer())[0] == 200
        await client.close()


async def test_a_copy_is_refused_from_others_and_nothing_is_written(plane, store, served):
    before = sorted(store.folder.iterdir())
    client = await connect(plane, served)
    await client.say(upload(b"", COPY_DIGEST, "Expect: 100-continue"))
    assert (await client.answer())[0] == 403
    assert await client.closed()
    assert sorted(store.folder.iterdir()) == before


async def test_a_damaged_or_cut_copy_leaves_nothing(plane, store):
    before = sorted(store.folder.iterdir())
    async with plane.serving(store, may_copy=lambda *_: True, limits=QUICK) as served:
        damaged = await connect(plane, served)
        await damaged.say(upload(COPY[:-1] + b"x"))
        status, _, body = await damaged.answer()
        assert (status, json.loads(body)["code"]) == (422, "digest")
        stalled = await connect(plane, served)
        await stalled.say(upload()[:-5])
        assert await stalled.closed()
        cut = await connect(plane, served)
        await cut.say(upload()[:-5])
        await cut.close()
    assert sorted(store.folder.iterdir()) == before


async def test_a_full_disk_refuses_the_copy(plane, store, monkeypatch):
    before = sorted(store.folder.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    async with plane.serving(store, may_copy=lambda *_: True) as served:
        client = await connect(plane, served)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            await client.say(upload(b"small", Digest(digest_of(b"small"))))
            status, _, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (507, "storage")
    assert sorted(store.folder.iterdir()) == before
