"""Weights inside messages, as HPE's clients 2.1 and 2.2 send them, over real FIFOs."""

import asyncio
import errno
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import LayoutError, MlError, ProtocolError, StorageError
from services.sl.adapters import bridge as bridge_module
from tests.component.sl.foreign_sl import MIB, SECONDS, Sl, digits, running
from tests.foreign import schema
from tests.foreign.client import API_VERSION, SwarmError
from tests.foreign.hpe22 import Client22


@pytest.fixture
async def sl(tmp_path):
    made = Sl(tmp_path)
    made.bridge.prepare()
    yield made
    await made.end()


class Large:
    """A model of a few MiB, so that its messages go to the disk."""

    def __init__(self, size=3 * MIB):
        self.tensors = {"w": np.arange(size // 4, dtype=np.float32), "n": np.array(3)}

    def state(self):
        return self.tensors

    def load(self, merged):
        self.tensors = {name: np.array(array) for name, array in merged.items()}

    def evaluate(self):
        return 0.0, 0.0


async def test_a_large_model_goes_both_ways_and_leaves_nothing_open(sl):
    model = Large(20 * MIB)

    def program():
        client = sl.client("2.2", model)
        client.on_train_begin()
        client.on_train_end()
        client.disconnect()

    ml = running(program)
    await sl.open()
    for answer in (lambda: sl.ml.answer_sync(1, training_over=False), sl.ml.answer_close):
        _, own, _, _ = await sl.next()
        await sl.ml.install(sl.merged(own, lambda arrays: arrays["w"].__iadd__(1)))
        maps = Path("/proc/self/maps").read_text()
        assert f"{sl.folder}/" not in maps  # the message's pages are free again
        await answer()
    await ml
    assert model.tensors["w"][:3].tolist() == [2, 3, 4]
    assert model.tensors["w"].size == 5 * MIB
    await sl.end()
    assert not [path for path in sl.folder.iterdir() if "weights" not in path.name]


async def refused(sl, model, words, kind):
    """A 2.2 client's sync is refused: with which error, and that the client read why."""

    def program():
        client = sl.client("2.2", model)
        with pytest.raises(SwarmError, match=f"Sync Swarm call .* SL error: .*{words}"):
            client.on_train_begin()
        client.disconnect()

    ml = running(program)
    await sl.open()
    with pytest.raises(kind, match=words) as caught:
        await sl.next()
    if not isinstance(caught.value, MlError):  # as the daemon does
        await sl.ml.fail(str(caught.value))
    await ml


async def test_a_message_over_the_limit_is_read_to_its_end_and_refused(tmp_path):
    sl = Sl(tmp_path, 2 * MIB)
    sl.bridge.prepare()
    await refused(sl, Large(), "SL_MAX_MESSAGE_MB allows 2097152", MlError)
    await sl.end()


async def test_a_full_disk_is_said_after_the_whole_message(sl, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    await refused(sl, Large(), "the disk is full", StorageError)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([np.nan]), "'w' holds values"),
        (np.array([1, 2], complex), "are not numbers"),
        (np.array(["a"]), "are not numbers"),
    ],
    ids=["nan", "complex", "text"],
)
async def test_weights_that_cannot_be_merged_are_refused_with_the_reason(sl, array, words):
    model = Large()
    model.tensors = {"w": array}
    await refused(sl, model, words, LayoutError)


async def test_no_weights_at_all_is_refused(sl):
    model = Large()
    model.tensors = {}
    await refused(sl, model, "neither a file name nor weights", LayoutError)


async def test_a_second_session_in_one_is_refused(sl):
    def program():
        client = sl.client("2.3", digits())
        client.send(schema.OPEN, client.make("SessionRequest", syncInterval=1, minPeers=1))
        with pytest.raises(RuntimeError, match=r"SL error: .*SessionRequest, which has no place"):
            client.expect("SessionResponse", "open-session")
        client.disconnect()

    ml = running(program)
    await sl.open()
    with pytest.raises(ProtocolError, match="no place here") as caught:
        await sl.next()
    assert not isinstance(caught.value, MlError)  # so the daemon tells the ML program
    await sl.ml.fail(str(caught.value))
    await ml


async def test_a_weightage_that_cannot_be_is_refused(sl):
    def program():
        client = sl.client("2.3", digits())
        client.weightage = -1
        with pytest.raises(SwarmError, match=r"SL error: .* node weightage -1"):
            client.on_train_begin()

    ml = running(program)
    await sl.open()
    with pytest.raises(ProtocolError, match="node weightage -1") as caught:
        await sl.next()
    await sl.ml.fail(str(caught.value))
    await ml


class Broken(Client22):
    """Announces four GiB and sends half a MiB."""

    def exchange(self, *_):
        header = self.header(API_VERSION, schema.SYNC, 2**32 - 1)
        self.outgoing.write(header.SerializeToString(deterministic=True))
        self.outgoing.write(b"\x0a\x01x\x2a\xf0\xff\xff\xff\x0f" + bytes(MIB // 2))
        self.outgoing.flush()
        self.read(1)


async def test_half_a_message_is_given_up_and_its_claim_costs_nothing(sl, monkeypatch):
    monkeypatch.setattr(bridge_module, "STALL_SECONDS", 0.2)

    def program():
        client = Broken(digits(), 1, 1, environment=sl.environment)
        with pytest.raises(SwarmError, match="pipe closed"):
            client.on_train_begin()
        client.disconnect()

    ml = running(program)
    await sl.open()
    with pytest.raises(MlError, match="in the middle of a message: wanted 4294967295 bytes, got 5"):
        await sl.next()
    await sl.end()
    await ml


async def test_a_message_that_was_broken_off_is_not_followed_by_another(sl):
    model = Large(20 * MIB)
    stopped = threading.Event()

    class Slow(Client22):
        def receive(self):
            if self.session:
                assert stopped.wait(SECONDS)
            return super().receive()

    def program():
        client = Slow(model, 1, 1, environment=sl.environment)
        with pytest.raises(SwarmError, match="pipe closed"):
            client.on_train_begin()
        client.disconnect()

    ml = running(program)
    await sl.open()
    _, own, _, _ = await sl.next()
    installing = asyncio.create_task(sl.ml.install(own))
    while not sl.bridge._sending:
        await asyncio.sleep(0.01)
    installing.cancel()
    with pytest.raises(MlError, match="broken off"):
        await sl.ml.fail("the SL node was stopped")
    await sl.end()
    stopped.set()
    await ml
