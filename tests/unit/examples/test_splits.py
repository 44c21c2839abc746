"""Who holds which cases: as the examples say, and nobody anybody else's."""

import importlib.util
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from compose.plan import REPOSITORY


def load(example):
    path = REPOSITORY / "examples" / example / "data.py"
    spec = importlib.util.spec_from_file_location(f"data_of_{example.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def cancer():
    return load("breast-cancer")


def assert_apart(parts, total):
    everybody = np.concatenate(parts)
    assert len(everybody) == len(set(everybody.tolist())) == total


def test_digits_two_digits_each(digits):
    target = load_digits().target
    organisations, test = digits.split(target)
    assert [len(images) for images in organisations] == [288] * 5
    for node, images in enumerate(organisations, start=1):
        held, counts = np.unique(target[images], return_counts=True)
        assert tuple(held) == digits.classes_of(node)
        assert counts.tolist() == [144, 144]
    assert set(target[test].tolist()) == set(range(10))
    assert_apart([*organisations, test], 1797)


def test_digits_of_four(digits):
    target = load_digits().target
    parts, test = digits.split(target, organisations=4)
    assert [digits.classes_of(node, 4) for node in (1, 2, 3, 4)] == [
        (0, 1, 2), (3, 4, 5), (6, 7), (8, 9),
    ]  # fmt: skip
    assert [len(images) for images in parts] == [432, 432, 288, 288]
    assert test.tolist() == digits.split(target)[1].tolist()
    assert_apart([*parts, test], 1797)


@pytest.mark.parametrize(
    ("name", "number"), [("user-3", 3), ("n12", 12), ("4", 4), ("user", None), ("", None)]
)
def test_number_of_an_organisation(digits, name, number):
    assert digits.number_of(name) == number


def test_digits_split_is_fixed(digits):
    target = load_digits().target
    assert digits.split(target)[1].tolist() == digits.split(target)[1].tolist()
    assert digits.split(target)[1].tolist() != digits.split(target, seed=1)[1].tolist()


def test_digits_all_together(digits):
    (images, labels), (_, test_labels) = digits.load(0)
    assert images.shape == (1440, 64)
    assert images.dtype == np.float32
    assert len(labels) == 1440
    assert len(test_labels) == 357


def test_breast_cancer_mixes(cancer):
    malignant = 1 - load_breast_cancer().target
    nodes, test = cancer.split(malignant)
    assert [len(cases) for cases in nodes] == [100, 100, 100]
    assert [int(malignant[cases].sum()) for cases in nodes] == [50, 1, 70]
    assert (len(test), int(malignant[test].sum())) == (171, 64)
    assert_apart([*nodes, test], 471)


def test_breast_cancer_moments_merge_exactly(cancer):
    """The mean of the nodes' moments are the moments of all cases, because all have 100."""
    parts = [cancer.load(node)[0][0] for node in (1, 2, 3)]
    merged = [np.mean([(part**power).mean(0) for part in parts], axis=0) for power in (1, 2)]
    everything = cancer.load(0)[0][0]
    np.testing.assert_allclose(merged[0], everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        np.sqrt(merged[1] - merged[0] ** 2), everything.std(0), rtol=1e-9
    )  # fmt: skip
