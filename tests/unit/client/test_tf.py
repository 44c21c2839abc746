"""Keras models in and out, and evaluated."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swarmlearning.errors import SwarmError
from swarmlearning.wire.tensors import parse as parse_file
from swarmlearning.wire.tensors import read
from tests.unit.client.keras_models import adapter, load, same, saved, scrambled, small, values, xy

pytestmark = pytest.mark.xdist_group("tensorflow")  # one worker imports it
keras = None


@pytest.fixture(scope="module", autouse=True)
def framework():
    global keras
    keras = load()


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
    names = sorted(
        (tensor.name for tensor in ours.layout().tensors), key=lambda name: int(name.split(".")[0])
    )
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
    monkeypatch.delitem(sys.modules, "swarmlearning.tf", raising=False)
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ImportError, match=r"needs Keras 3, not 2\.15\.0: install TensorFlow 2.16"):
        importlib.import_module("swarmlearning.tf")


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
