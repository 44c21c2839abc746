"""A merge's bytes do not depend on how the model is cut: nodes with less memory cut it smaller."""

import math

import numpy as np
import pytest

from services.sl.core.merge import BLOCK_ITEMS, merge
from services.sl.core.method import Piece
from services.sl.core.methods import METHODS
from services.sl.core.spread import PANEL, Spread
from swarmlearning.wire.tensors import DTYPES, arrange

COUNT = 3 * PANEL


def cut_in_both_ways(method, dtype, rows, weightages, base=None):
    layout = arrange([("w", dtype, (COUNT,))])
    sections = [np.asarray(row, DTYPES[dtype]).data for row in rows]
    beneath = None if base is None else np.asarray(base, DTYPES[dtype]).data
    results = []
    for items in (PANEL, BLOCK_ITEMS):
        out = np.zeros(COUNT, DTYPES[dtype])
        merge(method, layout, sections, weightages, out.data, beneath, items=items)
        results.append(out)
    return results


def test_a_mean_that_overflows_costs_its_neighbours_no_digits():
    rows = [np.full(COUNT, 1.1e-305), np.full(COUNT, 1.7e-306), np.full(COUNT, 1.3e-307)]
    for row in rows:
        row[0] = 1.7e308
    small, large = cut_in_both_ways("mean", "F64", rows, [3, 2, 1])
    assert small.tobytes() == large.tobytes()
    assert large[1] == (3 * 1.1e-305 + 2 * 1.7e-306 + 1.3e-307) / 6
    assert math.isclose(large[0], 1.7e308)


@pytest.mark.parametrize("dtype", ["F32", "F64"])
def test_a_median_that_overflows_costs_its_neighbours_no_digits(dtype):
    info = np.finfo(DTYPES[dtype])
    rows = [np.full(COUNT, info.smallest_subnormal, DTYPES[dtype]) for _ in range(2)]
    for row in rows:
        row[0] = info.max
    small, large = cut_in_both_ways("coordmedian", dtype, rows, [1, 1])
    assert small.tobytes() == large.tobytes()
    assert large[0] == info.max
    assert (large[1:] == info.smallest_subnormal).all()


def test_a_huge_item_does_not_change_how_other_panels_are_measured():
    rng = np.random.default_rng(5)
    rows = [rng.normal(1, 1e-3, COUNT).astype("<f4") for _ in range(3)]
    base = rng.normal(1, 1e-3, COUNT).astype("<f4") * np.float32(1e-3)
    rows[1][7] = 3e38
    whole, panels = (Spread(pairs=True) for _ in range(2))
    whole.add(Piece("F32", rows, [1, 1, 1], base))
    for start in range(0, COUNT, PANEL):
        panel = slice(start, start + PANEL)
        panels.add(Piece("F32", [row[panel] for row in rows], [1, 1, 1], base[panel]))
    assert whole.products.tobytes() == panels.products.tobytes()
    assert math.isclose(whole.norms()[1], 3e38, rel_tol=1e-4)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_bool_of_any_byte_is_true_and_comes_out_as_1(method):
    layout = arrange([("mask", "BOOL", (3,))])
    row = np.array([0, 1, 2], np.uint8)
    for count in (1, 3):
        out = bytearray(3)
        merge(method, layout, [row.data] * count, [1] * count, out)
        assert bytes(out) == b"\0\1\1"
