"""Keras models for tests, which import TensorFlow (seconds) when they run, not when collected."""

import logging

import numpy as np
import pytest

from swarmlearning._options import parse
from swarmlearning.wire.tensors import view, write_header

log = logging.getLogger("test.tf")
keras = None


def load():
    """Import Keras, unless that is done."""
    global keras
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        import keras
    return keras


def adapter(model, **kwargs):
    from swarmlearning._keras_model import KerasModel

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
