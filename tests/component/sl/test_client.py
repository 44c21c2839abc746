"""Our client against a real Bridge: as a program with PyTorch, and its session on a thread."""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import MlError
from services.sl.adapters.handover import FILES
from swarmlearning import _channel
from swarmlearning._options import parse
from swarmlearning._session import Session
from swarmlearning._weights import MERGED, TRAINED
from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, read
from swarmlearning.wire.tensors import parse as parse_file
from tests.component.sl.scripted_sl import OK, SECONDS, ScriptedSl, prepared

ROOT = Path(__file__).parents[3]
log = logging.getLogger("test.client")


@pytest.fixture
async def sl(tmp_path):
    async with prepared(tmp_path) as made:
        yield made


# --- a PyTorch program


async def pytorch(sl, batches, **arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.component.sl.ml_program",
        str(batches),
        json.dumps(arguments),
        cwd=ROOT,
        env={**os.environ, **sl.environment, "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output_of(ml):
    output, _ = await asyncio.wait_for(ml.communicate(), SECONDS)
    return output.decode()


async def test_a_pytorch_program_syncs_closes_and_ends_with_the_final_model(sl):
    ml = await pytorch(
        sl, 7, syncFrequency=2, nodeWeightage=7, validate=True, lossFunction="MSELoss"
    )
    terms = await sl.open()
    assert terms == m.SessionRequest(2, 1, False, "snapshot", 7, "defaultbb.cqdb.sml.hpe", "mean")

    def change(arrays):
        arrays["linear.weight"] *= 0.5
        arrays["norm.num_batches_tracked"] += 1000
        arrays["mask"][:] = [False, True]
        arrays["bf"][:] = 0x3FC0  # 1.5

    closed = await sl.play(change)
    output = await output_of(ml)
    assert ml.returncode == 0, output
    assert len(sl.models) == 1 + 3 + 1  # train begin, after batches 3, 5 and 7, close
    assert (closed.sequence, closed.weightage) == (1, 7)
    assert all(answer.loss > 0 for answer in sl.losses)
    assert [answer.epochs for answer in sl.losses] == [0, 0, 0, 0, 1]
    assert {answer.total_epochs for answer in sl.losses} == {1}
    for line in (
        "SwarmCallbackBase logger is set",
        "***** Is Swarm callback in loopback mode: False *****",
        f"{sl.folder / TRAINED}: waiting for weight files to be created",
        "Starting Swarm merging round ...",
        "Calculated local loss using merged parameters = ",
        "Merge Done: RVInt [cur: 2 Nxt: 2]",
        "Finished local training !!!",
        "Swarm training may continue till trainings in min peers are done!",
        "Final merging starts at training end. Waiting for other peers to complete ...",
        "SwarmCallback : INFO : All peers and Swarm training rounds finished. "
        "Final Swarm model was loaded.",
        "Writing trained weights to file:",
        "Recieved response from SL LossRequest(",
    ):
        assert line in output, line
    final = (sl.folder / MERGED).read_bytes()
    digests = [line.split()[-1] for line in output.splitlines() if "Final model digest: " in line]
    assert digests == [digest_of(final)]
    arrays, kinds = read(final), {t.name: t.dtype for t in parse_file(final).tensors}
    state = json.loads(next(li for li in output.splitlines() if li.startswith("STATE"))[6:])
    assert kinds["bf"] == "BF16"
    assert state["bf"] == ["torch.bfloat16", [1.5, 1.5]]
    assert state["mask"] == ["torch.bool", [0, 1]]
    assert state["f64"] == ["torch.float64", [1 / 3, 1e300]]
    assert arrays["big"] == 2**60 + 1
    assert (arrays["norm.num_batches_tracked"].dtype, arrays["big"].dtype) == ("i8", "i8")
    assert state["norm.num_batches_tracked"][1] == arrays["norm.num_batches_tracked"] > 1000
    assert np.array_equal(state["linear.weight"][1], arrays["linear.weight"])


async def test_a_pytorch_program_that_is_killed_is_noticed(sl):
    ml = await pytorch(sl, 10_000, syncFrequency=5000)
    await sl.open()
    request = await sl.take(m.SyncRequest)
    await sl.load(request)
    waiting = asyncio.create_task(sl.bridge.receive())
    ml.send_signal(signal.SIGKILL)
    with pytest.raises(MlError, match="ended or was killed"):
        await asyncio.wait_for(waiting, 5)
    await ml.wait()


async def test_ctrl_c_while_waiting_for_other_peers_ends_a_pytorch_program(sl):
    ml = await pytorch(sl, 1, syncFrequency=1)
    await sl.open()
    await sl.take(m.SyncRequest)
    ml.send_signal(signal.SIGINT)
    with pytest.raises(MlError):
        await asyncio.wait_for(sl.bridge.receive(), 10)
    output = await output_of(ml)
    assert "KeyboardInterrupt" in output
    assert ml.returncode == -signal.SIGINT


async def test_ctrl_c_while_waiting_for_the_pipes_ends_a_pytorch_program(tmp_path):
    sl = ScriptedSl(tmp_path)
    ml = await pytorch(sl, 1, syncFrequency=1)
    seen = 0
    while seen < 2:
        line = await asyncio.wait_for(ml.stdout.readline(), SECONDS)
        seen += line.strip().endswith(f"{sl.request}: waiting for pipes to be created".encode())
    ml.send_signal(signal.SIGINT)
    output = await output_of(ml)
    assert "KeyboardInterrupt" in output
    assert ml.returncode == -signal.SIGINT


# --- the session, with a model of plain arrays


class ArrayModel:
    """A model of arrays that counts how often it was evaluated."""

    def __init__(self, **arrays):
        self.arrays = arrays or {"w": np.arange(3.0), "n": np.array(5)}
        self.evaluated = 0
        self.failure = None

    def layout(self):
        return layout_of(self.arrays)

    def save(self, target):
        for name, array in self.arrays.items():
            target[name][...] = array

    def load(self, source):
        assert source.keys() == self.arrays.keys()
        self.arrays = {name: np.array(array) for name, array in source.items()}

    def evaluate(self):
        self.evaluated += 1
        if self.failure is not None:
            raise self.failure
        return 0.25, 0.75


def session_of(sl, model=None, **kwargs):
    options = parse(kwargs.pop("sync", 2), 1, "c", kwargs, (), log)
    return Session(options, model or ArrayModel(), log, sl.environment)


@pytest.fixture
async def opened(sl):
    """A session that is open, and the SL's end of it."""

    async def make(model=None, **kwargs):
        session = session_of(sl, model, **kwargs)
        await asyncio.gather(asyncio.to_thread(session.open), sl.open())
        return session

    return make


def doubled(arrays):
    arrays["w"] *= 2


async def test_syncs_and_the_close_are_numbered_apart(sl, opened):
    model = ArrayModel()
    session = await opened(model, sync=1)
    for number in (1, 2, 3):
        call = session.train_begin if number == 1 else session.batch_end
        ml = asyncio.create_task(asyncio.to_thread(call))
        request = await sl.take(m.SyncRequest)
        assert request == m.SyncRequest("s-1", number, 1, TRAINED)
        answer = await sl.load(request, doubled)
        assert answer == m.LossResponse("s-1", number, 1, OK, 0.25, 0.75, 0, 0)
        await sl.answer(request, interval=1)
        await ml
        if number == 1:
            session.batch_end()  # counts down to the next sync
    assert model.arrays["w"].tolist() == [0, 8, 16]
    ml = asyncio.create_task(asyncio.to_thread(session.train_end))
    request = await sl.take(m.CloseRequest)
    assert request == m.CloseRequest("s-1", 1, 1, TRAINED)
    for number in (1, 2):  # every merged model until the swarm is done
        await sl.load(request, doubled, number=number)
    await sl.answer(request)
    await ml
    assert model.evaluated == 5
    with pytest.raises(MlError) as caught:
        await sl.bridge.receive()
    assert caught.value.code == "ml-closed"


async def test_a_model_may_grow_and_shrink_and_its_file_stays_the_same_file(sl, opened):
    model = ArrayModel()
    session = await opened(model, sync=1)
    inodes, sizes = set(), set()
    for length in (3, 300_000, 10, 10):
        model.arrays = {"w": np.arange(float(length))}
        ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
        request = await sl.take(m.SyncRequest)
        await sl.load(request, doubled)
        await sl.answer(request)
        await ml
        assert model.arrays["w"].tolist() == np.arange(0.0, 2 * length, 2).tolist()
        inodes.add((sl.folder / TRAINED).stat().st_ino)
        sizes.add((sl.folder / TRAINED).stat().st_size)
    assert len(inodes) == 1
    assert len(sizes) == 3
    session.disconnect()


async def close(sl, session, over=False):
    ml = asyncio.create_task(asyncio.to_thread(session.train_end))
    request = await sl.take(m.CloseRequest)
    handed_over = read(sl.store.path(sl.models[-1]).read_bytes())["w"].tolist()
    await sl.load(request)
    await sl.answer(request, over=over)
    await ml
    return request, handed_over


@pytest.mark.parametrize(
    ("checkin", "weightage", "contributed"),
    [("snapshot", 9, [7, 7, 7]), ("active", 9, [0, 2, 4]), ("inactive", 0, [7, 7, 7])],
)
async def test_what_a_peer_contributes_at_the_end(sl, opened, checkin, weightage, contributed):
    model = ArrayModel()
    session = await opened(model, checkinModelOnTrainEnd=checkin, nodeWeightage=9)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    request = await sl.take(m.SyncRequest)
    await sl.load(request, doubled)
    await sl.answer(request)
    await ml
    model.arrays["w"][:] = 7  # trained on since the merge
    request, handed_over = await close(sl, session)
    assert request.weightage == weightage
    assert handed_over == contributed


async def test_an_active_peer_without_any_merge_contributes_its_own(sl, opened):
    session = await opened(checkinModelOnTrainEnd="active")
    _, handed_over = await close(sl, session)
    assert handed_over == [0, 1, 2]


async def test_a_training_without_user_merge_warns(sl, opened, caplog):
    session = await opened(sync=500)
    await close(sl, session)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["No user merge done during swarm training. syncFrequency=500 may be high."]


async def test_training_over_stops_syncing_and_ends_with_a_kill_message(sl, opened, caplog):
    caplog.set_level("INFO")
    model = ArrayModel()
    session = await opened(model, sync=1)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    request = await sl.take(m.SyncRequest)
    await sl.load(request, doubled)
    await sl.answer(request, interval=1, over=True)
    await ml
    assert session.over
    for _ in range(5):
        session.batch_end()
    model.arrays["w"][:] = 7
    await asyncio.to_thread(session.train_end)
    text = "Swarm training is over before local training. Exit gracefully."
    assert await sl.receive(m.KillSession) == m.KillSession("s-1", m.Status(text=text))
    assert model.arrays["w"].tolist() == [0, 2, 4]
    at = caplog.messages.index(text)
    assert caplog.messages[at + 1 : at + 3] == [
        "Loading the last merged swarm model",
        "Informing SL to shutdown gracefully",
    ]
    assert caplog.messages[-1] == (
        "All peers and Swarm training rounds finished. Final Swarm model was loaded."
    )


async def test_a_kill_message_that_nobody_takes_is_only_logged(sl, opened, caplog):
    caplog.set_level("INFO")
    session = await opened(sync=1)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    request = await sl.take(m.SyncRequest)
    await sl.load(request)
    await sl.answer(request, over=True)
    await ml
    sl.bridge.close()
    await asyncio.to_thread(session.train_end)
    assert any(text.startswith("Failed to inform SL. Reason - ") for text in caplog.messages)
    assert "Final Swarm model was loaded" in caplog.messages[-1]


async def test_a_peer_that_was_started_again_learns_how_many_epochs_it_had_done(sl, caplog):
    caplog.set_level("INFO")
    session = session_of(sl, totalEpochs=5)
    ml = asyncio.create_task(asyncio.to_thread(session.open))
    await sl.bridge.connect(SECONDS)
    await sl.receive(m.SessionRequest)
    await sl.bridge.send(m.SessionResponse(OK, "s-1", epochs_done=3))
    await ml
    assert session.resume_epoch == 3
    assert "This peer had reported 3 epochs before it was started again." in caplog.messages[-1]
    nothing = lambda: None  # noqa: E731
    # at first what is known already: it may be started again before it has said more
    for call, epochs in ((nothing, 3), (nothing, 0), (session.resume, 3), (session.epoch_end, 4)):
        call()
        ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
        request = await sl.take(m.SyncRequest)
        assert (await sl.load(request)).epochs == epochs
        await sl.answer(request)
        await ml
    session.disconnect()


async def test_adaptive_sync_is_asked_for_and_its_interval_obeyed(sl):
    session = session_of(sl, useAdaptiveSync=True, adsValData=[1], sync=5)
    _, terms = await asyncio.gather(asyncio.to_thread(session.open), sl.open())
    assert terms.adaptive
    for interval in (0, 3):
        ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
        request = await sl.take(m.SyncRequest)
        await sl.load(request)
        await sl.answer(request, interval=interval)
        await ml
    for _ in range(3):
        session.batch_end()
    ml = asyncio.create_task(asyncio.to_thread(session.batch_end))
    await sl.take(m.SyncRequest)
    sl.bridge.close()
    with pytest.raises(SwarmError):
        await ml


# --- errors


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (m.SessionResponse(m.Status(m.StatusCode.ERROR_IN_SL, "no such contract"), ""), "no such"),
        (m.Status(m.StatusCode.ERROR_IN_USER, "terms differ"), "SL error: terms differ"),
        (m.Status(text="fine"), "open-session: bad response: wanted SessionResponse, got <class"),
        (m.SyncResponse("s", 1, OK, 1, False), "bad response: wanted SessionResponse, got <class"),
        (m.SessionResponse(OK, ""), "gave no session ID"),
        (None, "wanted: 22 bytes, got 0 bytes: pipe closed?"),
    ],
)
async def test_a_session_that_is_refused_says_why(sl, answer, reason, caplog):
    session = session_of(sl)
    ml = asyncio.create_task(asyncio.to_thread(session.open))
    await sl.bridge.connect(SECONDS)
    await sl.receive(m.SessionRequest)
    if answer is None:
        sl.bridge.close()
    else:
        await sl.bridge.send(answer)
    with pytest.raises(SwarmError) as caught:
        await ml
    assert str(caught.value).startswith("Init Swarm call to SL container failed - ")
    assert reason in str(caught.value)
    assert caplog.messages[-1] == str(caught.value)


BROKEN = {
    "error": (m.SyncResponse("s-1", 1, m.Status(m.StatusCode.ERROR_IN_SL, "lost"), 1, False),
              "SL error: lost"),
    "sequence": (m.SyncResponse("s-1", 9, OK, 1, False),
                 "[Sync-1]: bad sync seq num: wanted 1, got 9"),
    "status": (m.Status(m.StatusCode.ERROR_IN_SL, "leader gone"), "SL error: leader gone"),
    "kind": (m.SessionResponse(OK, "s-1"),
             "[Sync-1]: bad response: wanted SyncResponse, got <class"),
    "ok status": (m.Status(), "[Sync-1]: bad response: wanted SyncResponse, got <class"),
    "loss sequence": (m.LossRequest("s-1", 4, 1, MERGED),
                      "[Sync-1]: bad sync seq num: wanted 1, got 4"),
    "session": (m.LossRequest("s-2", 1, 1, MERGED), "bad session id: wanted s-1, got s-2"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_answer_ends_the_sync_with_hpes_words(sl, opened, answer, reason, caplog):
    session = await opened()
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    await sl.take(m.SyncRequest)
    await sl.bridge.send(answer)
    with pytest.raises(SwarmError) as caught:
        await ml
    assert str(caught.value).startswith("Sync Swarm call to SL container failed - ")
    assert reason in str(caught.value)
    assert caplog.messages[-1] == str(caught.value)
    with pytest.raises(MlError):  # the SL sees that this program goes no further
        await sl.bridge.receive()


async def test_a_close_may_be_answered_as_a_sync_and_fails_by_its_own_name(sl, opened):
    session = await opened()
    ml = asyncio.create_task(asyncio.to_thread(session.train_end))
    await sl.take(m.CloseRequest)
    await sl.bridge.send(m.SyncResponse("s-1", 2, OK, 1, False))
    with pytest.raises(SwarmError) as caught:
        await ml
    assert str(caught.value) == (
        "End Swarm call to SL container failed - [Close-1]: bad sync seq num: wanted 1, got 2"
    )


@pytest.mark.parametrize(
    "name", ["../merged.safetensors", "/etc/passwd", "merged_weights.pkl", "missing.safetensors"]
)
async def test_only_a_plain_name_of_a_model_file_is_loaded(sl, opened, name):
    session = await opened()
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    await sl.take(m.SyncRequest)
    await sl.bridge.send(m.LossRequest("s-1", 1, 1, name))
    answer = await sl.receive(m.LossResponse)
    assert (answer.status.code, answer.loss) == (m.StatusCode.ERROR_IN_USER, -1)
    with pytest.raises(SwarmError, match="Sync Swarm call to SL container failed - "):
        await ml


@pytest.mark.parametrize("raw", [b"", b"garbage that is long enough"])
async def test_a_damaged_merged_model_is_refused(sl, opened, raw):
    model = ArrayModel()
    session = await opened(model)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    await sl.take(m.SyncRequest)
    (sl.folder / MERGED).write_bytes(raw)
    await sl.bridge.send(m.LossRequest("s-1", 1, 1, MERGED))
    assert (await sl.receive(m.LossResponse)).loss == -1
    with pytest.raises(SwarmError, match=r"left the file empty|is damaged"):
        await ml
    assert model.arrays["w"].tolist() == [0, 1, 2]


async def test_an_evaluation_that_fails_is_told_to_the_sl_and_raised(sl, opened, capsys):
    model = ArrayModel()
    model.failure = ZeroDivisionError("user's own mistake")
    session = await opened(model)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    request = await sl.take(m.SyncRequest)
    answer = await sl.load(request)
    text = "Loss computation failed. user's own mistake"
    assert answer.status == m.Status(m.StatusCode.ERROR_IN_USER, text)
    assert answer.loss == -1
    with pytest.raises(SwarmError, match="failed - user's own mistake") as caught:
        await ml
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("failure", [AssertionError(), KeyError("labels")], ids=repr)
async def test_an_error_without_a_telling_text_is_named_by_its_kind(sl, opened, failure):
    model = ArrayModel()
    model.failure = failure
    session = await opened(model)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    answer = await sl.load(await sl.take(m.SyncRequest))
    assert answer.status.text == f"Loss computation failed. {failure!r}"
    with pytest.raises(SwarmError) as caught:
        await ml
    assert str(caught.value) == f"Sync Swarm call to SL container failed - {failure!r}"


async def test_a_parameter_that_cannot_be_exchanged_is_named_before_anything_is_sent(sl, opened):
    session = await opened(ArrayModel(phase=np.zeros(1, complex)))
    with pytest.raises(SwarmError, match="tensor 'phase' has items of type complex128"):
        await asyncio.to_thread(session.train_begin)
    with pytest.raises(MlError):
        await sl.bridge.receive()


async def test_a_finished_session_cannot_be_used_again(sl, opened):
    session = await opened()
    await close(sl, session)
    with pytest.raises(SwarmError, match="session with the SL has ended"):
        session.train_begin()


# --- finding the SL


class Clock:
    """Sleeps take no time; ``events`` happen when that many seconds have passed."""

    def __init__(self, **events):
        self.seconds, self.events = 0.0, {float(k[1:]): v for k, v in events.items()}

    def sleep(self, seconds):
        self.seconds = round(self.seconds + seconds, 6)
        for due in [due for due in self.events if due <= self.seconds]:
            self.events.pop(due)()


def test_a_line_each_second_until_the_pipes_are_there(tmp_path, capsys):
    request, response = tmp_path / "request", tmp_path / "response"
    clock = Clock(_3=lambda: os.mkfifo(request), _5=lambda: os.mkfifo(response))
    _channel.Channel(request, response, clock.sleep).wait_for_pipes()
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert (
        lines
        == [f"{request}: waiting for pipes to be created"] * 3
        + [f"{response}: waiting for pipes to be created"] * 2
    )
    assert 5 <= clock.seconds < 6


def test_something_that_is_no_pipe_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(_channel.ChannelError, match="file: cannot create pipe"):
        _channel.Channel(tmp_path / "file", tmp_path / "file").wait_for_pipes()


def test_a_weight_file_is_looked_for_twice(tmp_path, capsys):
    path, clock = tmp_path / "weights", Clock()
    with pytest.raises(_channel.ChannelError, match="weights: cannot create file"):
        _channel.wait_for_file(path, clock.sleep)
    assert clock.seconds == 1
    assert capsys.readouterr().out.strip().endswith("waiting for weight files to be created")
    _channel.wait_for_file(path, Clock(_1=path.touch).sleep)


def test_a_line_each_second_until_the_sl_opens_its_pipes(tmp_path, capsys):
    request, response = tmp_path / "request", tmp_path / "response"
    os.mkfifo(request)
    os.mkfifo(response)
    held = []
    clock = Clock(_3=lambda: held.append(os.open(request, os.O_RDONLY | os.O_NONBLOCK)))
    channel = _channel.Channel(request, response, clock.sleep)
    channel.open()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"{request}: waiting for the SL to open the pipe"
    ] * 3
    channel.close()
    os.close(held[0])


def test_pipes_that_an_sl_replaces_meanwhile_are_opened_anew(tmp_path):
    sl = ScriptedSl(tmp_path)
    sl.folder.mkdir()
    os.mkfifo(sl.request)
    os.mkfifo(sl.response)
    loop_open = {}

    def start():
        sl.bridge.prepare()
        loop_open["in"] = os.open(sl.request, os.O_RDONLY | os.O_NONBLOCK)

    channel = _channel.Channel(sl.request, sl.response, Clock(_1=start).sleep)
    channel.open()
    out = os.open(sl.response, os.O_WRONLY | os.O_NONBLOCK)  # ENXIO if nobody reads this one
    channel.close()
    os.close(out)
    os.close(loop_open["in"])
    sl.bridge.close()


def test_a_pipe_that_may_not_be_opened_is_an_error(tmp_path, monkeypatch):
    def refuse(path, _):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(_channel.ChannelError, match=r"cannot open pipe\. Permission denied"):
        _channel.Channel(tmp_path / "a", tmp_path / "b").open()


async def test_a_line_each_minute_while_the_sl_works(sl, opened, monkeypatch, caplog):
    caplog.set_level("INFO")
    session = await opened()
    monkeypatch.setattr(_channel, "PATIENCE_SECONDS", 0.02)
    said, loop = asyncio.Event(), asyncio.get_running_loop()

    def heard(record):
        if "[Sync-1]: waiting for the SL for" in record.getMessage():
            loop.call_soon_threadsafe(said.set)
        return True

    log.addFilter(heard)
    ml = asyncio.create_task(asyncio.to_thread(session.train_begin))
    request = await sl.take(m.SyncRequest)
    await asyncio.wait_for(said.wait(), SECONDS)
    log.removeFilter(heard)
    await sl.load(request)
    await sl.answer(request)
    await ml
    session.disconnect()


async def test_a_forked_data_loader_does_not_keep_the_pipe_open(sl, opened):
    session = await opened()
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    session.disconnect()
    with pytest.raises(MlError, match="ended or was killed"):
        await asyncio.wait_for(sl.bridge.receive(), 5)
    os.close(write_end)
    os.close(read_end)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_both_ends_mean_the_same_files():
    assert {TRAINED, MERGED} <= set(FILES)
