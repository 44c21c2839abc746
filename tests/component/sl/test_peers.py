"""Downloads over real TLS: verified, resumed, bounded; every failure quick and clear."""

import asyncio
import os
import socket
import ssl
import threading

import pytest

from services.common.errors import (
    DigestMismatchError,
    NotFoundError,
    PeerUnavailableError,
    StorageError,
)
from services.common.ids import Digest, NodeKind
from services.sl.adapters import file_connection
from services.sl.adapters.file_connection import Limits
from services.sl.adapters.peer import Patience
from services.sl.adapters.peers import Peers
from swarmlearning.wire.digest import digest_of
from tests.component.sl.plane import (
    DEADLINE,
    QUICK,
    Plane,
    cutting_proxy,
    mute,
    noise,
    put,
)
from tests.pki import Pki

CONTENT = noise(5_000_000)
DIGEST = Digest(digest_of(CONTENT))
SIZE = len(CONTENT)


@pytest.fixture
def plane(tmp_path):
    return Plane(Pki(tmp_path), tmp_path)


@pytest.fixture
def source(plane):
    source = plane.store("source")
    put(source, CONTENT)
    return source


@pytest.fixture
def target(plane):
    return plane.store("target")


@pytest.fixture
async def served(plane, source):
    async with plane.serving(source) as served:
        yield served


@pytest.fixture
async def peers(plane):
    async with Peers(plane.identity(name="2"), QUICK) as peers:
        yield peers


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


# --- good


async def test_a_download_is_verified_and_stored(peers, served, target):
    await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert target.path(DIGEST).read_bytes() == CONTENT
    assert names(target) == [DIGEST]
    assert (peers.fetched_files, peers.fetched_bytes, peers.resumed) == (1, SIZE, 0)


async def test_what_is_there_is_not_fetched_again(peers, served, target):
    put(target, CONTENT)
    await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert served.server.traffic.connections == 0


async def test_the_connection_is_kept_for_the_next_file(peers, served, source, target):
    files = [noise(1000, seed) for seed in range(5)]
    for content in files:
        digest = put(source, content)
        await peers.fetch(served.endpoint, digest, len(content), target)
        assert target.path(digest).read_bytes() == content
    assert served.server.traffic.connections == 1


async def test_a_kept_connection_that_the_server_closed_meanwhile(plane, peers, source, target):
    small = put(source, b"small")
    async with plane.serving(source, limits=Limits(idle_s=0.01)) as served:
        await peers.fetch(served.endpoint, small, 5, target)
        await _until(lambda: served.server.traffic.cut == 1)
        await peers.fetch(served.endpoint, DIGEST, SIZE, target)
        assert served.server.traffic.connections == 2
    assert peers.resumed == 0


async def _until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0)


async def test_many_files_at_the_same_time(peers, served, source, target):
    files = [noise(300_000, seed) for seed in range(20)]
    digests = [put(source, content) for content in files]
    fetches = [peers.fetch(served.endpoint, digest, 300_000, target) for digest in digests]
    await asyncio.gather(*fetches)
    assert names(target) == sorted(digests)


async def test_the_host_name_is_sent_as_sni_and_in_the_host_header(plane, target, peers):
    seen = []
    context = plane.identity().server_context()
    context.sni_callback = lambda _tls, name, _context: seen.append(name)
    answers = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    async def answer(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answers)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(PeerUnavailableError):
                await peers.fetch(f"{host}:{port}", DIGEST, SIZE, target)
    assert seen[0] == "localhost"
    assert b"Host: localhost\r\n" in seen[1]
    assert seen[2] is None


# --- broken connections


async def test_cut_at_90_percent_again_and_again_it_resumes_and_finishes(peers, served, target):
    """Each connection ends after 90 % of what was still missing, as long as that is a lot."""

    def missing():
        return SIZE - sum(path.stat().st_size for path in target.folder.iterdir())

    def cut_after(_number):
        return int(missing() * 0.9) if missing() > 30_000 else None

    async with cutting_proxy(served.port, cut_after, gently=True) as (endpoint, passed):
        await peers.fetch(endpoint, DIGEST, SIZE, target)
    assert target.path(DIGEST).read_bytes() == CONTENT
    assert peers.resumed == len(passed) - 1 >= 3
    assert sum(passed) < SIZE * 1.05


async def test_reset_every_400_kilobytes(peers, served, target):
    async with cutting_proxy(served.port, lambda _: 400_000) as (endpoint, passed):
        await peers.fetch(endpoint, DIGEST, SIZE, target)
    assert target.path(DIGEST).read_bytes() == CONTENT
    assert len(passed) > SIZE / 400_000


async def test_cut_before_any_progress_it_gives_up_after_some_tries(peers, served, target):
    async with cutting_proxy(served.port, lambda n: 500_000 if n == 0 else 5000) as (endpoint, p):
        with pytest.raises(PeerUnavailableError, match=r"after \d+ of 5000000 bytes"):
            await peers.fetch(endpoint, DIGEST, SIZE, target)
    assert len(p) == 1 + QUICK.tries
    assert names(target) == []


# --- damaged files


async def test_a_bit_flipped_on_disk_is_fetched_twice_and_refused(
    peers, served, source, target, monkeypatch
):
    monkeypatch.setattr(source, "_check", lambda _: None)  # it does not look what it serves
    source.path(DIGEST).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(DigestMismatchError, match="another file"):
        await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert served.server.traffic.files_sent == 2
    assert names(target) == []


async def test_a_bit_flipped_on_the_way_is_mended_by_the_second_fetch(
    peers, served, target, monkeypatch
):
    real, flips = file_connection.FileConnection._piece, []

    def flip_once(self, model, offset, length):
        piece = real(self, model, offset, length)
        if flips:
            return piece
        flips.append(offset)
        return bytes([piece[0] ^ 1]) + piece[1:]

    monkeypatch.setattr(file_connection.FileConnection, "_piece", flip_once)
    await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert flips
    assert target.path(DIGEST).read_bytes() == CONTENT


async def test_a_truncated_file_is_refused(peers, served, source, target, monkeypatch):
    monkeypatch.setattr(source, "_check", lambda _: None)
    os.truncate(source.path(DIGEST), SIZE - 1)
    with pytest.raises(DigestMismatchError, match=r"has 4999999 bytes .* announced were 5000000"):
        await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert names(target) == []


@pytest.mark.parametrize("announced", [SIZE - 1, SIZE + 1, 10**15])
async def test_another_size_than_announced_is_refused(peers, served, target, announced):
    with pytest.raises(DigestMismatchError, match="announced"):
        await peers.fetch(served.endpoint, DIGEST, announced, target)
    assert names(target) == []


async def test_a_full_disk_is_a_clear_error_and_works_when_freed(
    peers, served, target, monkeypatch
):
    real, written = os.pwrite, []

    def full_after_a_megabyte(fd, data, offset):
        written.append(len(data))
        if sum(written) > 1_000_000:
            raise OSError(28, "No space left on device")
        return real(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full_after_a_megabyte)
        with pytest.raises(StorageError, match="disk is full"):
            await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert names(target) == []
    await peers.fetch(served.endpoint, DIGEST, SIZE, target)


# --- peers that are away, silent, slow or hostile


async def test_nobody_there(peers, target):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        endpoint = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(PeerUnavailableError, match=f"{endpoint}: Connection refused. Check that"):
        await peers.fetch(endpoint, DIGEST, SIZE, target)
    assert peers.resumed == 0


@pytest.mark.parametrize(
    "endpoint", ["nowhere.invalid:1", "127.0.0.1:0", "127.0.0.1:99999", "", "\0:1", "..:5",
                 "a" * 300 + ":1"],
)  # fmt: skip
async def test_an_endpoint_that_leads_nowhere(peers, target, endpoint):
    with pytest.raises(PeerUnavailableError):
        await peers.fetch(endpoint, DIGEST, SIZE, target)


async def test_an_address_of_a_kind_that_this_machine_lacks_is_passed_over(
    peers, served, target, monkeypatch
):
    def both(host, port):
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(family, *kind, (host, port)) for family in (40_000, socket.AF_INET)]

    monkeypatch.setattr("services.sl.adapters.peers._resolve", both)
    await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert names(target) == [DIGEST]


async def test_a_host_that_does_not_answer_the_call(plane, target):
    """The listener's queue is full, so the kernel answers no further connection."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(sock.getsockname())
        async with Peers(plane.identity(), Patience(connect_s=0.2)) as peers:
            with pytest.raises(PeerUnavailableError, match="no answer in time"):
                await peers.fetch(f"127.0.0.1:{sock.getsockname()[1]}", DIGEST, SIZE, target)
            task = asyncio.create_task(
                Peers(plane.identity(), Patience(connect_s=DEADLINE)).fetch(
                    f"127.0.0.1:{sock.getsockname()[1]}", DIGEST, SIZE, target
                )
            )
            await _until(lambda: names(target))
            task.cancel()
            async with asyncio.timeout(DEADLINE / 2):
                with pytest.raises(asyncio.CancelledError):
                    await task
        for each in fill:
            each.close()
    assert names(target) == []


async def test_a_peer_without_the_file(peers, served, target):
    missing = Digest("0" * 64)
    with pytest.raises(PeerUnavailableError, match="no model file") as caught:
        await peers.fetch(served.endpoint, missing, 5, target)
    assert caught.value.code == "not-found"
    assert served.server.traffic.connections == 1


async def test_a_peer_that_does_not_know_us(plane, peers, source, target):
    async with plane.serving(source, authorise=lambda _: False) as served:
        with pytest.raises(PeerUnavailableError, match="no peer enrolled") as caught:
            await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert caught.value.code == "forbidden"


async def test_a_busy_peer_is_tried_again(plane, peers, source, target, monkeypatch):
    rooms = iter([False, True])
    async with plane.serving(source) as served:
        monkeypatch.setattr(served.server, "_make_room", lambda _: next(rooms))
        await peers.fetch(served.endpoint, DIGEST, SIZE, target)
    assert target.has(DIGEST)
    assert peers.resumed == 1


async def test_a_server_of_another_role_or_authority_is_not_talked_to(plane, peers, source, target):
    identities = {
        "no SL": plane.identity(NodeKind.SN),
        "not trusted": plane.pki.bad_identity(NodeKind.SL, wrong_ca=True),
        "its certificate is not trusted .*expired": plane.pki.bad_identity(
            NodeKind.SL, expired=True
        ),
    }
    for message, identity in identities.items():
        async with plane.serving(source, identity) as served:
            with pytest.raises(PeerUnavailableError, match=message):
                await peers.fetch(served.endpoint, DIGEST, SIZE, target)
            assert served.server.traffic.files_sent == 0


async def test_a_certificate_that_cannot_be_read_is_a_problem_of_that_peer_only(
    peers, served, target, monkeypatch
):
    def strict(_der):
        raise ValueError("error parsing asn1 value")

    monkeypatch.setattr("services.sl.adapters.peer_connection.read_certificate", strict)
    with pytest.raises(PeerUnavailableError, match="certificate cannot be read: error parsing"):
        await peers.fetch(served.endpoint, DIGEST, SIZE, target)


async def test_our_certificate_is_not_accepted(plane, served, target):
    stranger = plane.pki.bad_identity(NodeKind.SL, wrong_ca=True)
    async with Peers(stranger, QUICK) as peers:
        with pytest.raises(PeerUnavailableError, match="certificate"):
            await peers.fetch(served.endpoint, DIGEST, SIZE, target)


@pytest.mark.parametrize("stage", ["handshake", "answer", "body"])
async def test_a_peer_that_falls_silent_is_given_up(plane, target, stage):
    patience = Patience(connect_s=0.2, stall_s=0.2, tries=3, backoff_s=0.001)
    async with Peers(plane.identity(), patience) as peers, silent_at(plane, stage) as endpoint:
        with pytest.raises(PeerUnavailableError, match="no answer in time"):
            await peers.fetch(endpoint, DIGEST, SIZE, target)
        assert peers.resumed == (1 if stage == "body" else 0)  # silence is not tried again
    assert names(target) == []


def silent_at(plane, stage):
    if stage == "handshake":
        return mute()

    said = []

    async def greet(writer):
        if stage == "body" and not said:
            said.append(True)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\nabc".encode())
            await writer.drain()

    return mute(greet, plane.identity().server_context())


async def test_a_deadline_ends_a_download_that_trickles(plane, peers, target):
    async def trickle(writer):
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with mute(trickle, plane.identity().server_context()) as endpoint:
        with pytest.raises(PeerUnavailableError, match=r"too slow: .* of 5000000 bytes"):
            await peers.fetch(endpoint, DIGEST, SIZE, target, deadline_s=0.3)
    assert names(target) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 1-5/5000000\r\n\r\nabcde",
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 10_000,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n[1]{",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4000\r\n\r\n" + b"[" * 4000,
        b"X" * 100_000,
        b"",
    ],
)
async def test_a_server_that_answers_nonsense(plane, peers, target, answer):
    async def greet(writer):
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with mute(greet, plane.identity().server_context()) as endpoint:
        with pytest.raises((PeerUnavailableError, DigestMismatchError)):
            await peers.fetch(endpoint, DIGEST, SIZE, target)
    assert names(target) == []


async def test_cancelling_stops_at_once_and_leaves_nothing(plane, target):
    async with (
        Peers(plane.identity(), Patience(stall_s=DEADLINE)) as peers,
        silent_at(plane, "body") as endpoint,
    ):
        task = asyncio.create_task(peers.fetch(endpoint, DIGEST, SIZE, target))
        await _until(lambda: names(target))
        task.cancel()
        async with asyncio.timeout(DEADLINE / 2):
            with pytest.raises(asyncio.CancelledError):
                await task
    assert names(target) == []
    await _until(lambda: not any(t.name.startswith("peers") for t in threading.enumerate()))


async def test_a_silent_peer_does_not_hold_up_the_others(plane, served, target):
    async with (
        Peers(plane.identity(name="2"), Patience(stall_s=DEADLINE)) as peers,
        silent_at(plane, "answer") as endpoint,
    ):
        stuck = [
            asyncio.create_task(peers.fetch(endpoint, Digest(f"{n:064}"), 5, target))
            for n in range(12)
        ]
        async with asyncio.timeout(DEADLINE / 2):
            await peers.fetch(served.endpoint, DIGEST, SIZE, target)
        assert not any(task.done() for task in stuck)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


# --- copies left with a peer


async def test_push_leaves_a_copy_once(plane, peers, source, target):
    async with plane.serving(target, may_copy=lambda *_: True) as served:
        await peers.push(served.endpoint, DIGEST, SIZE, source)
        assert target.path(DIGEST).read_bytes() == CONTENT
        await peers.push(served.endpoint, DIGEST, SIZE, source)
        assert served.server.traffic.copies_taken == 1
        assert served.server.traffic.connections == 1


async def test_push_refused_unreachable_or_without_the_file(plane, peers, source, target):
    async with plane.serving(target) as served:
        with pytest.raises(PeerUnavailableError, match="may not leave this model"):
            await peers.push(served.endpoint, DIGEST, SIZE, source)
        with pytest.raises(NotFoundError):
            await peers.push(served.endpoint, Digest("0" * 64), 5, source)
    with pytest.raises(PeerUnavailableError, match="Connection refused"):
        await peers.push(served.endpoint, DIGEST, SIZE, source)
    assert names(target) == []


async def test_push_to_a_full_disk(plane, peers, source, target, monkeypatch):
    small = put(source, b"small")

    def full(*_):
        raise OSError(28, "No space left on device")

    async with plane.serving(target, may_copy=lambda *_: True) as served:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(PeerUnavailableError, match="disk is full"):
            await peers.push(served.endpoint, small, 5, source)


def test_tls_is_at_least_1_2(plane):
    context = plane.identity().client_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
