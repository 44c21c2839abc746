"""Whole sessions of clients written from compat/01 alone, over real FIFOs with the real SL side."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.errors import MlError
from services.common.sn_api import PeerState
from services.sl.adapters.handover import ingest
from swarmlearning.wire.tensors import layout_of, write_into
from tests.component.sl.foreign_sl import SECONDS, Sl, digits, running
from tests.foreign import schema
from tests.foreign.client import SwarmError
from tests.foreign.hpe23 import Client23


@pytest.fixture
async def sl(tmp_path):
    made = Sl(tmp_path)
    made.bridge.prepare()
    yield made
    await made.end()


both = pytest.mark.parametrize("api", ["2.2", "2.3"])


# --- sessions


@both
async def test_a_training_from_first_sync_to_final_model(sl, api):
    model = digits()

    def program():
        client = sl.client(api, model, checkin="inactive", weightage=7)
        client.on_train_begin()
        for batch in range(6):
            model.train(batch)
            client.on_batch_end()
        client.on_train_end()
        client.disconnect()
        return client

    ml = running(program)
    terms = await sl.open()
    assert (terms.sync_interval, terms.weightage, terms.checkin_state) == (2, 7, "inactive")
    served = [await sl.round() for _ in range(3)]

    def change(arrays):
        arrays["linear.weight"] *= 2
        arrays["scale"][:] = [1 / 3, 1 / 7, 1 / 11]
        arrays["seen"][:] = [2**53 + 1, -5]
        arrays["norm.num_batches_tracked"][...] = 6
        arrays["mask"][:] = [False, True, True]

    served.append(await sl.round(change))
    training, inactive = PeerState.TRAINING, PeerState.INACTIVE
    assert served == [(1, 7, training), (2, 7, training), (3, 7, training), (1, 0, inactive)]
    client = await ml
    assert sl.slept == ([1, 1] if api == "2.3" else [])
    found, own = client.merged, model.tensors
    assert found.keys() == own.keys()
    for name, array in found.items():
        assert type(array) is np.ndarray
        assert array.shape == own[name].shape
        assert array.dtype == (own[name].dtype if array.ndim else np.float64)
    assert found["scale"].tolist() == [1 / 3, 1 / 7, 1 / 11]
    assert found["seen"].tolist() == [2**53 + 1, -5]
    assert own["norm.num_batches_tracked"] == 6
    assert own["norm.num_batches_tracked"].dtype == np.int64
    assert own["mask"].tolist() == [False, True, True]
    with pytest.raises(MlError) as caught:
        await sl.next()
    assert caught.value.code == "ml-closed"


class TorchModel:
    """What HPE's PyTorch client does with a model."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        self.net.register_buffer("wide", torch.tensor([1 / 3, 2.0], dtype=torch.float64))
        self.net.register_buffer("mask", torch.tensor([True, False]))
        self.net.register_buffer("flag", torch.tensor(True))
        self.net.register_buffer("zero", torch.tensor(0, dtype=torch.int32))
        self.net.register_buffer("fine", torch.tensor(0.1, dtype=torch.float16))

    def state(self):
        return {name: tensor.numpy() for name, tensor in self.net.state_dict().items()}

    def load(self, merged):
        tensors = {name: torch.Tensor(np.array(merged[name])) for name in self.net.state_dict()}
        self.net.load_state_dict(tensors, strict=False)

    def evaluate(self):
        return 0.0, 0.0


@both
async def test_a_torch_model_with_batchnorm_loads_what_comes_back(sl, api):
    model = TorchModel()
    model.net(torch.ones(4, 3))
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}

    def program():
        client = sl.client(api, model)
        client.on_train_begin()
        client.on_train_end()
        client.disconnect()

    ml = running(program)
    await sl.open()
    await sl.round(lambda arrays: arrays["1.num_batches_tracked"].__iadd__(5))
    await sl.round(lambda arrays: arrays["flag"].__ixor__(True))
    await ml
    after = model.net.state_dict()
    assert after.pop("1.num_batches_tracked") == 6
    assert after.pop("flag").item() is False
    assert after.pop("wide").tolist() == [np.float32(1 / 3), 2.0]
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


@both
async def test_a_swarm_that_ends_first_gives_the_final_model_and_takes_the_kill(sl, api):
    model = digits()

    def program():
        client = sl.client(api, model)
        client.on_train_begin()
        for batch in range(20):
            model.train(batch)
            client.on_batch_end()
        client.on_train_end()
        assert client.over
        assert client.syncs == 2
        return client

    ml = running(program)
    await sl.open()
    await sl.round()
    await sl.round(lambda arrays: arrays["linear.bias"].__iadd__(1), over=True)
    assert await sl.next() is None  # the session was ended by the ML program
    client = await ml
    assert model.tensors["linear.bias"].tobytes() == client.merged["linear.bias"].tobytes()
    client.disconnect()


@both
async def test_an_answer_without_anything_new_still_follows_a_loss_request(sl, api):
    model = digits()

    def program():
        client = sl.client(api, model)
        for _ in range(2):
            client.sync()  # it asserts that a loss request came
        client.on_train_end()
        client.disconnect()

    ml = running(program)
    await sl.open()
    await sl.next()
    await sl.ml.answer_sync(0, training_over=False)  # not even a merged model yet
    _, own, _, _ = await sl.next()
    final = sl.merged(own, lambda arrays: arrays["linear.bias"].__iadd__(1))
    await sl.ml.install(final)
    await sl.ml.install(final)
    await sl.ml.answer_sync(5, training_over=False)
    model.tensors["linear.bias"][:] = -1
    await sl.next()
    await sl.ml.answer_close()
    await ml
    assert model.tensors["linear.bias"].tolist() == [1.0] * 10


@both
async def test_the_ml_program_may_come_first(tmp_path, api, capsys):
    sl = Sl(tmp_path)
    waits, made = threading.Event(), threading.Event()

    def sleep(_):
        waits.set()
        assert made.wait(SECONDS)

    sl.sleep = sleep
    ml = running(lambda: sl.client(api, digits()).disconnect())
    await asyncio.to_thread(waits.wait, SECONDS)
    sl.bridge.prepare()
    made.set()
    await sl.open()
    await ml
    assert f"{sl.request}: waiting for pipes to be created" in capsys.readouterr().out
    await sl.end()


# --- failures, and what the user reads


@both
async def test_a_failing_loss_ends_the_session_with_its_words(sl, api):
    model = digits()
    model.evaluate = lambda: 1 / 0

    def program():
        client = sl.client(api, model)
        with pytest.raises(SwarmError, match="Sync Swarm call to SL container failed - division"):
            client.on_train_begin()
        client.disconnect()

    ml = running(program)
    await sl.open()
    with pytest.raises(MlError, match=r"Loss computation failed\. division by zero"):
        await sl.round()
    await ml


@both
@pytest.mark.parametrize("when", ["Init", "Sync", "End"])
async def test_what_the_sl_says_reaches_the_user(sl, api, when):
    def program():
        with pytest.raises(SwarmError) as caught:
            client = sl.client(api, digits())
            client.on_train_begin()
            client.on_train_end()
        return str(caught.value)

    ml = running(program)
    if when == "Init":
        await sl.bridge.connect(SECONDS)
        await sl.ml.open()
    else:
        await sl.open()
        if when == "End":
            await sl.round()
        await sl.next()
    await sl.ml.fail("the swarm is full")
    text = await ml
    assert text == f"{when} Swarm call to SL container failed - SL error: the swarm is full"


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"sync": 0}, "syncFrequency 0 is not a positive integer"),
        ({"weightage": 101}, "nodeWeightage 101: it must be from 1 to 100"),
        ({"checkin": "Snapshot"}, "checkinModelOnTrainEnd 'Snapshot' is not one of inactive"),
    ],
    ids=["interval", "weightage", "check-in"],
)
async def test_terms_that_cannot_be_are_refused_at_once(sl, terms, words):
    def program():
        with pytest.raises(SwarmError, match=f"Init .* SL error: {words}"):
            sl.client("2.3", digits(), **terms)

    ml = running(program)
    await sl.bridge.connect(SECONDS)
    with pytest.raises(MlError, match=words):
        await sl.ml.open()
    await ml


async def test_a_program_that_begins_with_something_else_is_told(sl):
    class Impatient(Client23):
        def send(self, kind, message):
            super().send(schema.KILL, self.make("KillSessionRequest", sessionID="x"))

    def program():
        with pytest.raises(SwarmError, match="began with KillSession, not a session"):
            Impatient(digits(), 1, 1, folder=sl.folder, environment=sl.environment, sleep=sl.sleep)

    ml = running(program)
    await sl.bridge.connect(SECONDS)
    with pytest.raises(MlError, match="began with KillSession"):
        await sl.ml.open()
    await ml


# --- the same model, however it comes


async def test_all_clients_make_the_same_file_of_the_same_model(tmp_path):
    digests = set()
    for api in ("2.2", "2.3"):
        sl = Sl(tmp_path / api)
        sl.bridge.prepare()

        def program(sl=sl, api=api):
            client = sl.client(api, digits())
            client.on_train_begin()
            client.disconnect()

        ml = running(program)
        await sl.open()
        _, model, _, _ = await sl.next()
        digests.add(model.digest)
        await sl.ml.install(model)
        await sl.ml.answer_sync(1, training_over=False)
        await ml
        await sl.end()
    arrays = digits().tensors
    layout = layout_of(arrays)
    raw = bytearray(layout.file_size)
    write_into(raw, arrays, layout)
    (sl.folder / "trained_weights.safetensors").write_bytes(raw)
    digests.add(ingest(sl.folder, "trained_weights.safetensors", sl.store)[0])
    assert len(digests) == 1


def test_the_clients_use_none_of_our_code():
    for name in ("client", "hpe22", "hpe23", "model", "schema", "train"):
        source = Path(schema.__file__).with_name(f"{name}.py").read_text()
        assert "import swarmlearning" not in source
        assert "from swarmlearning" not in source
        assert "services" not in source
