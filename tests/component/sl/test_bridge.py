import asyncio
import os
import signal
import stat
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.common.errors import ConfigError, MlError
from services.sl.adapters import bridge as bridge_module
from services.sl.adapters.bridge import Bridge
from services.sl.adapters.handover import FILES
from swarmlearning.wire import messages as m
from swarmlearning.wire.codec import encode
from tests.component.sl import foreign_client as foreign
from tests.component.sl.scripted_sl import OK, SECONDS, ScriptedSl, prepared

MODEL = foreign.model()


@pytest.fixture
async def sl(tmp_path):
    async with prepared(tmp_path) as made:
        yield made


def connect_raw(sl):
    """Open the pipes in the documented order, blocking; returns (read end, write end)."""
    incoming = os.open(sl.response, os.O_RDONLY)
    return incoming, os.open(sl.request, os.O_WRONLY)


@asynccontextmanager
async def raw_ml(sl, first=b""):
    """A connected ML program that has sent ``first``, as two file descriptors."""
    opening = asyncio.create_task(asyncio.to_thread(connect_raw, sl))
    connecting = asyncio.create_task(sl.bridge.connect(SECONDS))
    incoming, outgoing = await opening
    os.write(outgoing, first)
    await connecting
    try:
        yield incoming, outgoing
    finally:
        for fd in (incoming, outgoing):
            try:
                os.close(fd)
            except OSError:
                assert fd == outgoing, "only tests close the write end early"


async def program(*command):
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


# --- prepare


def test_files_come_before_pipes_open_to_all_with_hpes_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask belongs to the process"))
    sl = ScriptedSl(tmp_path)
    sl.bridge.prepare()
    lines = capsys.readouterr().out.splitlines()
    paths = [sl.folder / name for name in FILES] + [sl.request, sl.response]
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"{path}: {'file' if path.parent == sl.folder else 'pipe'} created" for path in paths
    ]
    assert {"trained_weights.pkl", "merged_weights.pkl"} <= set(FILES)
    for path in paths:
        mode = path.stat().st_mode
        assert stat.S_IMODE(mode) == 0o777
        assert stat.S_ISFIFO(mode) == (path.parent != sl.folder)
    sl.bridge.close()


def test_files_of_an_earlier_run_stay_and_its_pipes_are_replaced(tmp_path, capsys):
    sl = ScriptedSl(tmp_path)
    sl.folder.mkdir()
    kept = sl.folder / "trained_weights.pkl"
    kept.write_bytes(b"weights")
    kept.chmod(0o600)
    os.mkfifo(sl.request)
    reader = os.open(sl.request, os.O_RDONLY | os.O_NONBLOCK)
    sl.bridge.prepare()
    assert kept.read_bytes() == b"weights"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o777
    assert f"{kept}: File exists" in capsys.readouterr().out
    assert not os.path.samestat(os.fstat(reader), sl.request.stat())
    os.close(reader)
    sl.bridge.close()


@pytest.mark.parametrize("name", ["request.pipe", "response.pipe", "hpe-swarm/merged_weights.pkl"])
def test_something_else_in_their_place_is_not_touched(tmp_path, name):
    path = tmp_path / name
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot create (file|pipe)\. Something else is there"):
        ScriptedSl(tmp_path).bridge.prepare()
    assert path.is_dir()


def test_a_weight_file_that_is_a_link_is_refused(tmp_path):
    sl = ScriptedSl(tmp_path)
    sl.folder.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (sl.folder / "merged_weights.pkl").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="Something else is there"):
        sl.bridge.prepare()
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot create it"):
        Bridge(tmp_path / "file/a", tmp_path / "b", tmp_path / "c").prepare()


async def test_close_removes_its_own_pipes_but_not_those_of_a_successor(tmp_path):
    sl = ScriptedSl(tmp_path)
    sl.bridge.prepare()
    successor = ScriptedSl(tmp_path)
    successor.bridge.prepare()
    sl.bridge.close()
    assert sl.request.exists()
    assert sl.response.exists()
    successor.bridge.close()
    successor.bridge.close()
    assert not sl.request.exists()
    assert not sl.response.exists()


# --- whole sessions with a client that shares no code with ours


async def test_a_foreign_client_syncs_and_closes(sl):
    ml = await program(foreign.__file__, str(sl.request), str(sl.response), str(sl.folder), "3")
    terms = await sl.open()
    assert terms == m.SessionRequest(128, 2, False, "snapshot", 1, "defaultbb.cqdb.sml.hpe", "mean")
    closed = await sl.play()
    assert (closed.sequence, closed.weightage) == (1, 0)
    output, _ = await asyncio.wait_for(ml.communicate(), SECONDS)
    assert ml.returncode == 0, output.decode()
    assert len(sl.models) == 4
    assert [loss.loss for loss in sl.losses] == [0.5] * 4
    with pytest.raises(MlError) as caught:
        await sl.bridge.receive()
    assert caught.value.code == "ml-closed"


async def test_a_foreign_client_gets_the_merged_model_in_its_own_types(sl):
    def talk():
        client = foreign.ForeignClient(sl.request, sl.response, sl.folder)
        client.open()
        answers = [client.round(MODEL), client.round(MODEL)]
        client.close()
        return client.merged, answers

    ml = asyncio.create_task(asyncio.to_thread(talk))
    await sl.open()
    for interval, over in ((5, False), (1, True)):
        request = await sl.take(m.SyncRequest)
        await sl.load(request, lambda arrays: arrays["weight"].__imul__(2))
        await sl.load(request, number=2)
        await sl.answer(request, interval, over)
    merged, answers = await ml
    assert answers == [(5, False), (1, True)]
    assert merged[0]["weight"].tolist() == (MODEL["weight"] * 2).tolist()
    assert merged[1]["weight"].tolist() == MODEL["weight"].tolist()
    for found in merged:
        assert found.keys() == MODEL.keys()
        assert (found["bn.num_batches_tracked"].dtype, found["bn.num_batches_tracked"]) == ("f8", 7)
        assert found["double"].tobytes() == MODEL["double"].tobytes()
        assert found["mask"].dtype == bool


async def test_the_sl_may_come_after_the_ml_program(tmp_path):
    sl = ScriptedSl(tmp_path)
    sl.bridge.prepare()
    ml = asyncio.create_task(asyncio.to_thread(connect_raw, sl))
    looked = asyncio.create_task(sl.bridge.connect(SECONDS))
    incoming, outgoing = await ml
    os.write(outgoing, encode(m.Status(text="hello")))
    await looked
    assert await sl.bridge.receive() == m.Status(text="hello")
    sl.bridge.close()
    assert os.read(incoming, 1) == b""
    os.close(incoming)
    os.close(outgoing)


# --- F9: the ML program fails


async def test_an_ml_program_that_never_comes_is_given_up(sl):
    before = threading.active_count()
    with pytest.raises(MlError, match=r"no ML program opened the pipes .* within 0\.1 s"):
        await sl.bridge.connect(0.1)
    assert threading.active_count() == before


async def test_waiting_for_the_ml_program_can_be_cancelled_without_a_thread_left(sl):
    before = threading.active_count()
    connecting = asyncio.create_task(sl.bridge.connect(SECONDS))
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert threading.active_count() == before


async def test_an_ml_program_that_dies_between_the_two_pipes_is_noticed(sl):
    connecting = asyncio.create_task(sl.bridge.connect(SECONDS))
    reader = await asyncio.to_thread(os.open, sl.response, os.O_RDONLY)
    os.close(reader)
    with pytest.raises(MlError, match="before it opened a session"):
        await asyncio.wait_for(connecting, 5)


async def test_an_ml_program_that_opens_and_says_nothing_is_given_up(sl):
    connecting = asyncio.create_task(sl.bridge.connect(0.3))
    fds = await asyncio.to_thread(connect_raw, sl)
    with pytest.raises(MlError, match="no ML program"):
        await connecting
    for fd in fds:
        os.close(fd)


KILLED = """
import os, sys, time
incoming = os.open(sys.argv[2], os.O_RDONLY)
outgoing = os.open(sys.argv[1], os.O_WRONLY)
os.write(outgoing, bytes.fromhex(sys.argv[3]))
print("sent", flush=True)
os.read(incoming, 1)
"""


@pytest.mark.parametrize(
    ("cut", "code", "reason"),
    [(None, "ml-closed", "ended or was killed"), (30, "ml", "in the middle of a message: wanted")],
)
async def test_an_ml_program_killed_with_its_pipes_open_is_noticed_at_once(sl, cut, code, reason):
    hello = encode(m.Status(text="hello"))
    sent = hello + hello[: cut and 25] if cut else hello
    ml = await program("-c", KILLED, str(sl.request), str(sl.response), sent.hex())
    await sl.bridge.connect(SECONDS)
    await sl.receive(m.Status)
    waiting = asyncio.create_task(sl.bridge.receive())
    await ml.stdout.readline()
    ml.send_signal(signal.SIGKILL)
    with pytest.raises(MlError, match=reason) as caught:
        await asyncio.wait_for(waiting, 5)
    assert caught.value.code == code
    await ml.communicate()  # the kernel closes its two pipes in any order
    with pytest.raises(MlError, match="closed its pipe"):
        await sl.bridge.send(OK)


async def test_a_message_that_stops_half_way_is_given_up(sl, monkeypatch):
    monkeypatch.setattr(bridge_module, "STALL_SECONDS", 0.1)
    async with raw_ml(sl, encode(m.Status(text="hello"))[:25]):
        with pytest.raises(MlError, match=r"stopped in the middle .* wanted 7 bytes, got 3"):
            await sl.bridge.receive()


async def test_garbage_is_refused_and_the_ml_program_is_told(sl):
    async with raw_ml(sl, b"GET / HTTP/1.1\r\nHost: swarm\r\n\r\n") as (incoming, _):
        with pytest.raises(MlError, match="broke the protocol: not a message header"):
            await sl.bridge.receive()
        assert b"not a message header" in os.read(incoming, 1000)


@pytest.mark.parametrize(("version", "answered"), [(1, 1), (3, 2)])
async def test_another_api_version_is_refused_in_words_that_it_can_read(sl, version, answered):
    async with raw_ml(sl, foreign.frame(foreign.OPEN, b"\x08\x01", version)) as (incoming, _):
        with pytest.raises(MlError, match="Mismatch in the Swarm API version"):
            await sl.bridge.receive()
        raw = os.read(incoming, 1000)
    assert raw[:13] == foreign.frame(foreign.STATUS, b"x", answered)[:13]
    status = foreign.fields(raw[22:])
    assert status[1] == m.StatusCode.ERROR_IN_USER
    assert b"Expected version 2" in status[2]
    assert b"wheels 2.1, 2.2 and 2.3" in status[2]


async def test_a_pause_between_messages_is_no_error_and_cancelling_loses_nothing(sl, monkeypatch):
    monkeypatch.setattr(bridge_module, "STALL_SECONDS", 0.05)
    first, second = encode(m.Status(text="one")), encode(m.Status(text="two"))
    async with raw_ml(sl, first) as (_, outgoing):
        assert await sl.receive(m.Status) == m.Status(text="one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sl.bridge.receive(), 0.2)
        monkeypatch.setattr(bridge_module, "STALL_SECONDS", SECONDS)
        os.write(outgoing, second[:24])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sl.bridge.receive(), 0.1)
        os.write(outgoing, second[24:])
        assert await sl.receive(m.Status) == m.Status(text="two")


async def test_an_ml_program_that_stops_reading_is_given_up(sl, monkeypatch):
    monkeypatch.setattr(bridge_module, "STALL_SECONDS", 0.1)
    async with raw_ml(sl, b"x"):
        with pytest.raises(MlError, match="does not read its pipe"):
            for _ in range(10):
                await sl.bridge.send(m.Status(text="x" * 20_000))


async def test_large_messages_wait_for_room(sl):
    text = "x" * 500_000
    async with raw_ml(sl, b"x") as (incoming, _):
        sending = asyncio.create_task(sl.bridge.send(m.Status(text=text)))

        def read_all():
            data = b""
            while len(data) < 500_000:
                data += os.read(incoming, 65536)
            return data

        data = await asyncio.to_thread(read_all)
        await sending
    assert text.encode() in data


def test_the_foreign_client_uses_none_of_our_code():
    source = Path(foreign.__file__).read_text()
    assert "import swarmlearning" not in source
    assert "from swarmlearning" not in source
    assert "services" not in source


async def test_after_reopen_the_next_program_finds_the_same_pipes(tmp_path):
    request, response = tmp_path / "request", tmp_path / "response"
    bridge = Bridge(request, response, tmp_path / "handover")
    bridge.prepare()
    made = request.stat().st_ino, response.stat().st_ino

    def program(text):
        with response.open("rb"), request.open("wb") as pipe:
            pipe.write(text)

    try:
        first = asyncio.create_task(asyncio.to_thread(program, b"half a frame"))
        await bridge.connect(10)
        with pytest.raises(MlError):
            await asyncio.wait_for(bridge.receive(), 10)
        await first
        bridge.reopen()
        kill = encode(m.KillSession("s", m.Status()))
        second = asyncio.create_task(asyncio.to_thread(program, kill))
        await bridge.connect(10)
        assert await asyncio.wait_for(bridge.receive(), 10) == m.KillSession("s", m.Status())
        await second
        assert (request.stat().st_ino, response.stat().st_ino) == made
    finally:
        bridge.close()
    assert not request.exists()
