"""Keras models, and `fit` beside a scripted SL. TensorFlow is imported by the first test."""

import asyncio
import importlib
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from swarmlearning._options import parse
from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import parse as parse_file
from swarmlearning.wire.tensors import read, view, write_header
from tests.component.sl.scripted_sl import SECONDS, prepared

pytestmark = pytest.mark.xdist_group("tensorflow")  # one worker imports it
log = logging.getLogger("test.tf")
keras = KerasModel = SwarmCallback = None


@pytest.fixture(scope="module", autouse=True)
def framework():
    """Import TensorFlow (seconds) when a test runs, not when pytest collects."""
    global keras, KerasModel, SwarmCallback
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        import keras

        from swarmlearning._keras_model import KerasModel
        from swarmlearning.tf import SwarmCallback


@pytest.fixture
def loopback(monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "True")


@pytest.fixture
async def sl(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_LOOPBACK", "false")
    async with prepared(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def adapter(model, **kwargs):
    return KerasModel(lambda: model, parse(1, 1, "c", kwargs, (), log), log)


def saved(model):
    keras_model = adapter(model)
    layout = keras_model.layout()
    buffer = bytearray(layout.file_size)
    write_header(buffer, layout)
    keras_model.save({t.name: view(buffer, layout, t) for t in layout.tensors})
    return buffer


def values(model):
    return [np.array(np.asarray(weight.value)) for weight in model.weights]


def same(left, right):
    return len(left) == len(right) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(left, right, strict=True)
    )


def scrambled(model):
    """Every weight another value, so that a copy cannot be equal by chance."""
    for number, weight in enumerate(model.weights, start=1):
        fill = np.arange(int(np.prod(weight.shape))).reshape(weight.shape) % 2 + number
        weight.assign(fill.astype(weight.dtype))
    return model


def small(*layers, compiled=True, **compile_arguments):
    keras.utils.set_random_seed(1)
    layers = layers or (keras.layers.Dense(3), keras.layers.BatchNormalization())
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    if compiled:
        model.compile("sgd", "mse", **compile_arguments)
    return model


def xy(samples=8):
    random = np.random.default_rng(0)
    return random.normal(size=(samples, 4)).astype("f4"), np.zeros((samples, 2), "f4")


def every_dtype():
    """Nested, custom and shared layers, unnamed weights, and all the dtypes that Keras has."""

    class Custom(keras.layers.Layer):
        def build(self, shape):
            self.first = self.add_weight(shape=(2,))
            self.second = self.add_weight(shape=(2,), trainable=False)
            for dtype in ("bool", "uint8", "int64", "bfloat16", "float16", "float64"):
                setattr(self, dtype, self.add_weight(shape=(3,), dtype=dtype, trainable=False))
            self.bf0 = self.add_weight(shape=(), dtype="bfloat16", trainable=False)
            self.counter = self.add_weight(shape=(), dtype="int32", trainable=False)
            self.empty = self.add_weight(shape=(0, 4))
            self.dropout = keras.layers.Dropout(0.5, seed=3)

        def call(self, x):
            return self.dropout(x) + self.first + self.second

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Custom()])
    shared, x = keras.layers.Dense(4), keras.Input((4,))
    outputs = keras.layers.BatchNormalization()(inner(shared(shared(x))))
    return keras.Model(x, outputs)


# --- weights in and out


def test_every_weight_of_every_dtype_survives_bit_by_bit():
    source, target = scrambled(every_dtype()), every_dtype()
    assert not same(values(source), values(target))
    places = list(target.weights)
    adapter(target).load(read(saved(source)))
    assert same(values(target), values(source))
    assert all(a is b for a, b in zip(places, target.weights, strict=True))
    kinds = {t.name: t.dtype for t in parse_file(saved(source)).tensors}
    assert len(kinds) == len(source.weights) == 2 + 2 + 11 + 4
    assert set(kinds.values()) == {"BOOL", "U8", "I32", "I64", "BF16", "F16", "F32", "F64"}


def test_names_are_places_whatever_the_process_built_before():
    first, second = every_dtype(), every_dtype()
    assert first.weights[0].path != second.weights[0].path
    assert saved(scrambled(first)) == saved(scrambled(second))
    names = {t.name for t in parse_file(saved(first)).tensors}
    assert {"0.kernel", "1.bias", "2.kernel", "4.variable", "5.variable"} <= names
    assert {"15.gamma", "16.beta", "17.moving_mean", "18.moving_variance"} <= names


def test_random_state_metrics_and_optimizer_are_not_exchanged():
    model = small(keras.layers.Dropout(0.5), metrics=["mae"])
    model.fit(*xy(), verbose=0)
    assert len(model.weights) == 2 < len(model.variables)
    assert len(parse_file(saved(model)).tensors) == 2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_dtype_policies_train_and_survive(policy):
    def model():
        keras.utils.set_random_seed(1)
        dense = [keras.layers.Dense(3, dtype=policy), keras.layers.BatchNormalization(dtype=policy)]
        return small(*dense)

    source, target = model(), model()
    source.fit(*xy(), verbose=0)
    adapter(target).load(read(saved(source)))
    assert same(values(target), values(source))
    wanted = {"bfloat16": "BF16", "float64": "F64"}.get(policy, "F32")
    assert wanted in {t.dtype for t in parse_file(saved(source)).tensors}


def test_a_loaded_model_shares_no_memory_with_the_file():
    model = small(keras.layers.Dense(64))
    buffer = saved(scrambled(model))
    before = values(model)
    aligned = np.zeros(len(buffer) + 64, "u1")
    offset = -aligned.ctypes.data % 64
    aligned[offset : offset + len(buffer)] = buffer
    adapter(model).load(read(memoryview(aligned[offset : offset + len(buffer)])))
    aligned[:] = 255
    assert same(values(model), before)


def test_a_normalization_layer_computes_with_the_merged_statistics():
    """Its statistics are constants in the compiled functions, until they are made anew."""

    def model(data):
        norm = keras.layers.Normalization()
        norm.adapt(data)
        return small(norm)

    x, y = xy()
    source, target = model(x * 3 + 1), model(x)
    for one in (source, target):
        one.evaluate(x, y, verbose=0)
        one.predict(x, verbose=0)
    old = target.predict(x, verbose=0)
    adapter(target).load(read(saved(source)))
    assert np.array_equal(target.predict(x, verbose=0), source.predict(x, verbose=0))
    assert target.evaluate(x, y, verbose=0) == source.evaluate(x, y, verbose=0)
    assert not np.array_equal(target.predict(x, verbose=0), old)
    compiled = target.predict_function
    adapter(target).load(read(saved(source)))
    assert target.predict_function is compiled  # nothing changed, so nothing is compiled


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda a: a.pop("1.bias"), r"missing \['1.bias'\], unexpected \[\]"),
        (lambda a: a.update(more=a["1.bias"]), r"missing \[\], unexpected \['more'\]"),
        (
            lambda a: a.update({"1.bias": a["1.bias"][:1]}),
            r"'1.bias' is float32\[1\], not float32\[3\]",
        ),
        (lambda a: a.update({"1.bias": a["1.bias"].astype("f8")}), r"is float64\[3\], not float32"),
    ],
    ids=["missing", "more", "shape", "dtype"],
)
def test_another_model_is_refused_before_anything_is_changed(change, error):
    model = small()
    before = values(model)
    arrays = {name: np.zeros_like(a) for name, a in read(saved(model)).items()}
    change(arrays)
    with pytest.raises(SwarmError, match=error):
        adapter(model).load(arrays)
    assert same(values(model), before)


def test_what_cannot_be_merged_is_named():
    class Complex(keras.layers.Layer):
        def build(self, shape):
            self.phase = self.add_weight(name="phase", shape=(1,), dtype="complex64")

        def call(self, x):
            return x

    with pytest.raises(SwarmError, match=r"/phase' has dtype complex64, which cannot be merged"):
        adapter(small(Complex())).layout()
    with pytest.raises(SwarmError, match=r"no weights yet: start it with a keras.Input"):
        adapter(keras.Sequential([keras.layers.Dense(2)])).layout()


def test_frozen_layers_stay_at_home_if_told_so():
    base = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )
    base.trainable = False
    lora = keras.layers.Dense(3)
    model = small(base, lora, keras.layers.BatchNormalization(scale=False))
    lora.enable_lora(1)
    ours = adapter(model, exchange="trainable")
    names = [tensor.name for tensor in ours.layout().tensors]
    kinds = ["bias", "lora_kernel_a", "lora_kernel_b", "beta", "moving_mean", "moving_variance"]
    assert [name.split(".")[1] for name in names] == [*kinds, "kernel", "bias"]
    assert {name: array.shape for name, array in read(saved(model)).items() if name in names} == {
        tensor.name: tensor.shape for tensor in ours.layout().tensors
    }
    before = values(base)
    ours.load({t.name: np.full(t.shape, 7, t.numpy) for t in ours.layout().tensors})
    assert same(values(base), before)
    assert sum(bool((value == 7).all()) for value in values(model)) == len(names)
    assert len(adapter(model).layout().tensors) == len(model.weights) > len(names)
    model.trainable = False
    with pytest.raises(SwarmError, match="no layer of the model is trainable: there is nothing to"):
        ours.layout()


def test_it_needs_keras_3(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ImportError, match=r"needs Keras 3, not 2\.15\.0: install TensorFlow 2.16"):
        importlib.reload(sys.modules["swarmlearning.tf"])


# --- evaluation


def weighted():
    x, y = xy()
    return x, y, np.arange(8.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: xy(),
        lambda: list(xy()),
        weighted,
        lambda: dataset().batch(4),  # of length 2: not a pair
        lambda: dataset().batch(3),  # of length 3
        lambda: batches(),
    ],
    ids=["tuple", "list", "with weights", "dataset of 2", "dataset of 3", "PyDataset of 2"],
)
def test_validation_data_of_each_kind(make):
    model, data = small(metrics=["mae"]), make()
    if isinstance(data, tuple | list):
        expected = model.evaluate(*xy(), sample_weight=[*data, None][2], verbose=0)
    else:
        expected = model.evaluate(*xy(), batch_size=3, verbose=0)
    found = adapter(model, adsValData=data).evaluate()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found == adapter(model, adsValData=data).evaluate()  # read once more


def dataset():
    import tensorflow

    return tensorflow.data.Dataset.from_tensor_slices(xy())


def batches():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return tuple(part[4 * index : 4 * index + 4] for part in xy())

    return Batches()


def test_no_data_no_metrics_and_one_whole_object():
    assert adapter(small()).evaluate() == (0.0, 0.0)
    loss, metric = adapter(small(), adsValData=xy()).evaluate()
    assert (loss > 0, metric) == (True, 0.0)

    class OwnLoss(keras.Model):
        def call(self, x):
            return x

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
            assert y is None
            return keras.ops.mean(x)

    model = OwnLoss()
    model.compile("sgd")
    assert adapter(model, adsValData=np.full((5, 1), 2.0)).evaluate() == (2.0, 0.0)


def test_the_batch_size_is_used_where_the_data_has_none(caplog):
    model, seen = small(), []
    model.evaluate = lambda **arguments: seen.append(arguments.get("batch_size")) or 1.0
    adapter(model, adsValData=xy(), adsValBatchSize="3").evaluate()
    adapter(model, adsValData=xy()[0], adsValBatchSize=4).evaluate()
    assert seen == [3, 4]
    caplog.set_level("INFO")
    adapter(model, adsValData=batches(), adsValBatchSize=3).evaluate()
    assert seen[2] is None
    assert caplog.messages == ["adsValBatchSize is ignored: adsValData gives batches itself"]


@pytest.mark.parametrize(
    ("make", "size", "error"),
    [
        (lambda: iter([xy()]), None, "adsValData is a list_iterator, which can be read only once"),
        (lambda: (xy() for _ in "ab"), None, "adsValData is a generator, which can be read only"),
        (lambda: dataset().batch(2).repeat(), None, "adsValData never ends: leave out repeat"),
        (lambda: xy(), 0, "adsValBatchSize has to be a positive integer, not 0"),
        (lambda: xy(), "x", "adsValBatchSize has to be a positive integer, not 'x'"),
    ],
    ids=["iterator", "generator", "endless", "size 0", "size x"],
)
def test_wrong_validation_data_is_said_early(make, size, error):
    with pytest.raises(SwarmError, match=error):
        adapter(small(), adsValData=make(), adsValBatchSize=size)


def test_a_model_that_is_not_compiled_cannot_be_evaluated():
    model = adapter(small(compiled=False), adsValData=xy())
    with pytest.raises(SwarmError, match=r"not compiled: call model.compile\(loss="):
        model.evaluate()


def test_evaluation_leaves_the_metrics_of_the_epoch_alone():
    model = small(metrics=["mae"])
    x, y = xy()
    model.train_on_batch(x, y)
    before = model.get_metrics_result()
    adapter(model, adsValData=(x * 100, y)).evaluate()
    assert model.get_metrics_result() == before


# --- the callback


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"ml_platform": "PYTORCH"}, "Invalid ml platform type: PYTORCH"),
        ({"mlPlatform": "PYTORCH"}, "Invalid ml platform type: PYTORCH"),
        ({"ml_platform": "TF"}, "tf and sess params are must for Tensorflow platform"),
        ({"ml_platform": "TF", "tf": 1, "sess": 1}, "ml_platform TF, training by TensorFlow 1"),
        ({"model": "x"}, "model must be a keras.Model of Keras 3, not str"),
        ({"minPeers": 0}, "minPeers have to be a positive integer"),
        ({"useAdaptiveSync": True}, "For adaptive sync, valid adsValData is mandatory"),
        ({"adsValData": iter(())}, "can be read only once"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_wrong_arguments_are_logged_once_and_raised(kwargs, error, loopback, caplog):
    caplog.set_level("ERROR")
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(1, kwargs.pop("minPeers", 1), logger=log, **kwargs)
    assert error in str(caught.value)
    assert caplog.messages == [str(caught.value)]


def test_loopback_touches_nothing_and_logs_as_documented(loopback, caplog):
    caplog.set_level("INFO")
    callback = SwarmCallback(128, 2, logger=log, ml_platform="KERAS", hfMode="full", totalEpochs=1)
    model, plain = small(), small()
    model.fit(*xy(), verbose=0, shuffle=False, callbacks=[callback])
    plain.fit(*xy(), verbose=0, shuffle=False)
    assert same(values(model), values(plain))
    stars = "*" * 52
    assert caplog.messages == [
        "SwarmCallbackBase logger is set",
        "hfMode is for Hugging Face models only, ignored",
        "***Swarm Callback Params: Inside SwarmCallbackBase at user side***",
        "syncFrequency = 128",
        "minPeers = 2",
        "trainingContract = defaultbb.cqdb.sml.hpe",
        "valBatchSize = None",
        "useAdaptiveSync = False",
        "checkinModelOnTrainEnd = CheckinModel.snapshot",
        "nodeWeightage = 1",
        "mergeMethod = SLMergeMethod.mean",
        stars,
        "***** Is Swarm callback in loopback mode: True *****",
        stars,
    ]


def test_the_default_logger_writes_hpes_format_to_stdout_once(loopback, capsys):
    for _ in range(2):
        SwarmCallback(128, 2, totalEpochs=1)
    lines = capsys.readouterr().out.splitlines()
    first = [line for line in lines if line.endswith("SwarmCallbackBase logger is set")]
    assert len(first) == 2
    assert first[0].split(" : ")[1:3] == ["SwarmCallback", "INFO"]
    logging.getLogger("SwarmCallback").handlers.clear()


def test_without_an_sl_it_says_what_is_missing(monkeypatch, caplog):
    monkeypatch.setenv("SWARM_LOOPBACK", "1")  # only `true` is
    monkeypatch.delenv("SL_REQUEST_CHANNEL", raising=False)
    with pytest.raises(SwarmError) as caught:
        SwarmCallback(1, 1, logger=log)
    assert str(caught.value).startswith(
        "Init Swarm call to SL container failed - SL_REQUEST_CHANNEL: bad environment variable"
    )
    assert caplog.messages[-1] == str(caught.value)


def test_hooks_without_a_model_or_from_another_thread_are_refused(loopback):
    callback = SwarmCallback(1, 1, logger=log)
    with pytest.raises(SwarmError, match=r"no model is set: use model.fit"):
        callback.on_train_begin()
    with pytest.raises(SwarmError, match=r"model must be a keras.Model of Keras 3, not int"):
        callback.set_model(3)
    callback.set_model(small())
    callback.on_train_begin()
    errors = []

    def elsewhere():
        try:
            callback.on_batch_end()
        except SwarmError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "give it a list, callbacks=[callback]" in errors[0]
    callback.on_batch_end()


# --- beside an SL


def fitting(model, samples=8, epochs=1, **kwargs):
    """A user's program: batches of 2."""
    callback = SwarmCallback(kwargs.pop("sync", 2), 1, logger=log, **kwargs)
    x, y = xy(samples)
    model.fit(x, y, batch_size=2, epochs=epochs, verbose=0, callbacks=[callback])
    return callback


async def beside(sl, program, *arguments, play=None, **kwargs):
    """Run a program on a thread, and the SL's end beside it."""

    async def other_end():
        terms = await sl.open()
        return terms, await (sl.play() if play is None else play())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(program, *arguments, **kwargs))
        played = tasks.create_task(other_end())
    return played.result()


async def test_fit_syncs_counts_and_closes_as_documented(sl, caplog):
    caplog.set_level("INFO")
    model = small(metrics=["mae"])
    batches_done = []
    counter = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batches_done.append(len(sl.models))
    )

    def program():
        callback = SwarmCallback(
            2,
            1,
            "contract-1",
            logger=log,
            nodeWeightage=7,
            totalEpochs=2,
            adsValData=xy(),
            adsValBatchSize=4,
            useAdaptiveSync=True,
            checkinModelOnTrainEnd="snapshot",
            mergeMethod="CoordMedian",
        )
        x, y = xy(16)
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback, counter])

    def change(arrays):
        arrays["0.kernel"] *= 0.5

    terms, closed = await beside(sl, program, play=lambda: sl.play(change))
    assert terms == m.SessionRequest(2, 1, True, "snapshot", 7, "contract-1", "coordmedian")
    # 8 batches; the first sync after train begin's comes after 3, then after each 2
    assert batches_done == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(sl.models) == 1 + 3 + 1
    assert (closed.sequence, closed.weightage) == (1, 7)
    assert all(answer.loss > 0 and answer.metric > 0 for answer in sl.losses)
    assert [answer.epochs for answer in sl.losses] == [0, 0, 1, 1, 2]
    assert {answer.total_epochs for answer in sl.losses} == {2}
    final = (sl.folder / "merged_weights.safetensors").read_bytes()
    assert bytes(saved(model)) == final
    starts = caplog.messages.index("***** Is Swarm callback in loopback mode: False *****") + 2
    sync = [
        "Starting Swarm merging round ...",
        "Calculated local loss using merged parameters = *",
        "Merge Done: RVInt [cur: 2 Nxt: 2]",
    ]
    assert [re.sub(r"= \d\S+", "= *", line) for line in caplog.messages[starts:]] == [
        *(sync * 4),
        "Finished local training !!!",
        "Swarm training may continue till trainings in min peers are done!",
        "Final merging starts at training end. Waiting for other peers to complete ...",
        "Calculated local loss using merged parameters = *",
        f"Final model digest: {digest_of(final)}",
        "All peers and Swarm training rounds finished. Final Swarm model was loaded.",
    ]


async def test_the_compiled_step_goes_on_from_the_merged_weights(sl):
    """All zero after each sync: what the SL gets next shows only the batches in between."""
    model = small(keras.layers.Dense(3, activation="relu"))

    def zero(arrays):
        for array in arrays.values():
            array[...] = 0

    await beside(sl, fitting, model, samples=12, play=lambda: sl.play(zero))
    handed = [read(sl.store.path(digest).read_bytes()) for digest in sl.models]
    assert handed[0]["0.kernel"].any()
    for later in handed[1:]:  # y is 0, so a model of zeros has no gradient
        assert not any(array.any() for array in later.values())
    assert not any(value.any() for value in values(model))


async def test_optimizer_state_and_batchnorm_go_through(sl):
    model = small()
    model.compile(keras.optimizers.Adam(), "mse")

    def change(arrays):
        arrays["4.moving_mean"][...] = 5

    moving = []

    def program():
        callback = SwarmCallback(2, 1, logger=log)
        seen = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: moving.append(values(model)[4][0])
        )
        x, y = xy(10)
        model.fit(x, y, batch_size=2, verbose=0, callbacks=[callback, seen])

    await beside(sl, program, play=lambda: sl.play(change))
    assert int(model.optimizer.iterations.numpy()) == 5
    assert moving[0] == pytest.approx(4.95, abs=0.05)  # merged, then one batch's momentum of 0.99
    assert [value == 5.0 for value in moving] == [False, False, True, False, True]  # merged
    assert values(model)[4].tolist() == [5.0] * 3


@pytest.mark.parametrize("over_at", ["train begin", "a batch"])
async def test_training_over_stops_fit_and_loads_the_last_merged_model(sl, caplog, over_at):
    caplog.set_level("INFO")
    model = small()

    async def play():
        request = await sl.take(m.SyncRequest)
        await sl.load(request)
        if over_at == "a batch":
            await sl.answer(request, 1)
            request = await sl.take(m.SyncRequest)
            await sl.load(request, lambda arrays: arrays["0.kernel"].fill(9))
        await sl.answer(request, 1, over=True)
        return await sl.receive(m.KillSession)

    _, kill = await beside(sl, fitting, model, samples=100, sync=1, play=play)
    assert kill.reason.text == "Swarm training is over before local training. Exit gracefully."
    assert caplog.messages.count("Swarm training is over. Stopping local training") == 1
    tail = caplog.messages[-5:]
    assert tail[0] == "Swarm training is over before local training. Exit gracefully."
    assert tail[1:3] == [
        "Loading the last merged swarm model",
        "Informing SL to shutdown gracefully",
    ]
    assert tail[4] == "All peers and Swarm training rounds finished. Final Swarm model was loaded."
    assert int(model.optimizer.iterations.numpy()) == (1 if over_at == "train begin" else 2)
    assert (values(model)[0] == 9).all() == (over_at == "a batch")


async def test_a_failing_evaluation_is_told_to_the_sl_and_ends_fit(sl):
    x, y = xy()

    async def play():
        request = await sl.take(m.SyncRequest)
        return await sl.load(request)

    running = asyncio.create_task(
        asyncio.to_thread(fitting, small(), adsValData=(x, y[:, :1].repeat(3, 1)))
    )
    await sl.open()
    answer = await play()
    assert answer.status.code is m.StatusCode.ERROR_IN_USER
    assert answer.status.text.startswith("Loss computation failed. ")
    assert answer.loss == -1
    with pytest.raises(SwarmError, match="Sync Swarm call to SL container failed - "):
        await asyncio.wait_for(running, SECONDS)


async def test_a_loop_of_ones_own_calls_the_hooks(sl):
    model = small()

    def program():
        callback = SwarmCallback(2, 1, logger=log)
        callback.set_model(model)
        callback.on_train_begin()
        for batch in range(5):
            model.train_on_batch(*xy())
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(0)
        callback.on_train_end()

    await beside(sl, program)
    assert len(sl.models) == 1 + 2 + 1  # after batches 3 and 5
    assert [answer.epochs for answer in sl.losses] == [0, 0, 0, 1]


async def test_several_fits_inside_a_with_are_one_training(sl):
    model = small()

    def program():
        with SwarmCallback(2, 1, logger=log, model=model) as callback:
            for _ in range(3):
                model.fit(*xy(), batch_size=4, verbose=0, callbacks=[callback])

    await beside(sl, program)
    assert len(sl.models) == 1 + 2 + 1  # of 6 batches: after 3 and 5
    assert [answer.epochs for answer in sl.losses] == [0, 1, 2, 3]


async def test_a_with_that_fails_leaves_the_sl(sl):
    def program():
        with SwarmCallback(2, 1, logger=log, model=small()):
            raise ZeroDivisionError

    async def play():
        request = await sl.take(m.SyncRequest)
        await sl.load(request)
        await sl.answer(request)

    running = asyncio.create_task(asyncio.to_thread(program))
    await sl.open()
    await play()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(running, SECONDS)
    with pytest.raises(Exception, match="ended or was killed"):
        await asyncio.wait_for(sl.bridge.receive(), SECONDS)


# --- beside other frameworks


TORCH_BACKEND = """
import sys
import numpy as np, keras
from swarmlearning.tf import SwarmCallback
from swarmlearning._keras_model import KerasModel
from swarmlearning._options import parse
from swarmlearning._weights import model_digest
assert keras.backend.backend() == "torch" and "tensorflow" not in sys.modules
def make():
    layers = [keras.layers.Dense(3, dtype="bfloat16"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model
a, b = make(), make()
x, y = np.ones((8, 4), "f4"), np.zeros((8, 2), "f4")
a.fit(x, y, verbose=0, callbacks=[SwarmCallback(1, 1)])
adapters = []
for model in (a, b):
    options = parse(1, 1, "c", {"adsValData": (x, y)}, (), None)
    adapters.append(KerasModel(lambda model=model: model, options, None))
arrays = {}
layout = adapters[0].layout()
for t in layout.tensors:
    arrays[t.name] = np.empty(t.shape, t.numpy)
adapters[0].save(arrays)
assert model_digest(adapters[0]) != model_digest(adapters[1])
adapters[1].load(arrays)
assert model_digest(adapters[0]) == model_digest(adapters[1])
assert adapters[0].evaluate() == adapters[1].evaluate() != (0, 0)
print("same")
"""


def test_keras_on_torch_works_without_tensorflow():
    environment = {**os.environ, "KERAS_BACKEND": "torch", "SWARM_LOOPBACK": "true"}
    done = subprocess.run(
        [sys.executable, "-c", TORCH_BACKEND],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("same\n")
