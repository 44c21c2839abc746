"""Five peers learn digits in this process; one sends its update sign-flipped, ten times as large.

The expectation of FAULTS.md: ``mean`` is lost, the robust methods are not, and without an attack
``normclip`` is as good as ``mean``. A logistic regression, so that it takes seconds.
"""

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits

from services.sl.core.merge import merge
from swarmlearning.wire.tensors import arrange

LAYOUT = arrange([("w", "F32", (64, 10)), ("b", "F32", (10,))])
PEERS, ROUNDS, STEPS, RATE = 5, 25, 20, 0.5


@cache
def digits():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = (images[order] / 16).astype(np.float32), labels[order]
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


def trained(model, images, labels):
    """Some steps of gradient descent."""
    model = model.copy()
    weights, bias = model[:640].reshape(64, 10), model[640:]
    target = np.eye(10, dtype=np.float32)[labels]
    for _ in range(STEPS):
        scores = images @ weights + bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (odds / odds.sum(axis=1, keepdims=True) - target) / len(labels)
        weights -= RATE * images.T @ error
        bias -= RATE * error.sum(axis=0)
    return model


@cache
def accuracy(method, *, attacked):
    images, labels, test_images, test_labels = digits()
    random = np.random.default_rng(1)
    starts = [random.normal(0, 0.01, 650).astype(np.float32) for _ in range(PEERS)]
    model = None
    for _ in range(ROUNDS + 1):
        sent = [
            start if model is None else trained(model, images[k::PEERS], labels[k::PEERS])
            for k, start in enumerate(starts)
        ]
        if attacked and model is not None:
            sent[2] = model - 10 * (sent[2] - model)
        merged = np.empty(650, np.float32)
        base = None if model is None else model.data
        merge(method, LAYOUT, [m.data for m in sent], [1] * PEERS, merged.data, base)
        model = merged
    scores = test_images @ model[:640].reshape(64, 10) + model[640:]
    return float((scores.argmax(axis=1) == test_labels).mean())


def test_one_of_five_spoils_the_mean():
    assert accuracy("mean", attacked=True) < 0.3


@pytest.mark.parametrize("method", ["coordmedian", "geomedian", "normclip"])
def test_one_of_five_does_not_spoil_a_robust_method(method):
    assert accuracy(method, attacked=True) >= 0.93


@pytest.mark.parametrize("method", ["coordmedian", "geomedian", "normclip"])
def test_without_an_attack_the_robust_methods_are_as_good(method):
    assert accuracy(method, attacked=False) >= accuracy("mean", attacked=False) - 0.01
