"""The robust merge methods against slow oracles written from their definitions, value by value."""

import math
import struct
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sl.core.merge import BLOCK_ITEMS, block_items, merge
from services.sl.core.method import InputError, Piece
from services.sl.core.methods import METHODS
from services.sl.core.normclip import clipped_weights
from services.sl.core.spread import PANEL, Spread, median_norm
from services.sl.core.weiszfeld import geometric_median
from swarmlearning.wire.tensors import DTYPES, Layout, arrange

ROBUST = ["coordmedian", "geomedian", "normclip"]
FLOATS = {"F16": "<e", "F32": "<f", "F64": "<d"}


def flat(dtype: str, *counts: int) -> Layout:
    return arrange((f"t{i}", dtype, (n,)) for i, n in enumerate(counts))


def merged(method, dtype, inputs, weightages=None, base=None, **options) -> np.ndarray:
    arrays = [np.array(values, DTYPES[dtype]) for values in inputs]
    out = np.zeros(len(arrays[0]), DTYPES[dtype])
    beneath = None if base is None else np.array(base, DTYPES[dtype]).data
    merge(
        method, flat(dtype, len(out)), [a.data for a in arrays],
        weightages or [1] * len(arrays), out.data, beneath, **options,
    )  # fmt: skip
    return out


# --- the coordinate-wise median: an exact oracle


def number(dtype: str, item: Any) -> Fraction:
    if dtype == "BF16":
        return Fraction(struct.unpack("<f", struct.pack("<I", item << 16))[0])
    return Fraction(bool(item) if dtype == "BOOL" else item)


def nearest(dtype: str, exact: Fraction) -> Any:
    """The item nearest to a number between two items, ties to even."""
    if dtype == "BF16":
        bits = struct.unpack("<I", struct.pack("<f", float(abs(exact))))[0] >> 16
        below, above = number(dtype, bits), number(dtype, bits + 1)
        middle = (below + above) / 2
        up = abs(exact) > middle or (abs(exact) == middle and bits % 2)
        return (bits + up) | (0x8000 if exact < 0 and bits + up else 0)
    if dtype in FLOATS:
        # a Fraction becomes a float64 in one rounding; a mean of two narrower items is exact there
        return struct.unpack(FLOATS[dtype], struct.pack(FLOATS[dtype], exact))[0] + 0.0
    return round(exact)


def median_oracle(dtype: str, items: list[Any], weightages: list[int]) -> Any:
    pairs = sorted((number(dtype, i), w) for i, w in zip(items, weightages, strict=True) if w)
    half, reached = Fraction(sum(w for _, w in pairs), 2), 0
    for place, (value, weight) in enumerate(pairs):
        reached += weight
        if reached == half:
            return nearest(dtype, (value + pairs[place + 1][0]) / 2)
        if reached > half:
            return nearest(dtype, value)
    raise AssertionError


def column(dtype: str) -> st.SearchStrategy[Any]:
    if dtype == "BOOL":
        return st.booleans()
    if dtype == "BF16":
        return st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80)
    if dtype in FLOATS:
        width = int(dtype[1:])
        return st.floats(width=width, allow_nan=False, allow_infinity=False)
    info = np.iinfo(DTYPES[dtype])
    return st.integers(int(info.min), int(info.max)) | st.integers(0, 3)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[str, list[list[Any]], list[int]]:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    peers, count = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    few = draw(st.lists(column(dtype), min_size=1, max_size=4))  # so that there are ties
    items = st.sampled_from(few) | column(dtype)
    inputs = [draw(st.lists(items, min_size=count, max_size=count)) for _ in range(peers)]
    equal = st.just([1] * peers)
    some = st.lists(st.integers(0, 100), min_size=peers, max_size=peers).filter(
        lambda ws: max(ws) > 0
    )
    return dtype, inputs, draw(equal | some)


@settings(max_examples=150, deadline=None)
@given(rounds())
def test_coordmedian_agrees_with_the_oracle_bit_for_bit(case):
    dtype, inputs, weightages = case
    active = [values for values, w in zip(inputs, weightages, strict=True) if w]
    if len(active) == 1:
        expected = list(active[0])
    else:
        expected = [median_oracle(dtype, list(v), weightages) for v in zip(*inputs, strict=True)]
    want = np.array(expected, DTYPES[dtype])
    assert merged("coordmedian", dtype, inputs, weightages).tobytes() == want.tobytes()


@pytest.mark.parametrize("peers", [2, 3, 4, 5, 8, 13, 16, 31, 64])
@pytest.mark.parametrize("dtype", ["F32", "I16"])
def test_coordmedian_with_equal_weights_is_numpys_median(peers, dtype):
    rng = np.random.default_rng(peers)
    rows = rng.integers(-9, 9, (peers, 500)).astype(DTYPES[dtype])
    expected = np.median(rows, axis=0)
    got = merged("coordmedian", dtype, rows)
    assert (got == (np.rint(expected) if dtype == "I16" else expected)).all()


@pytest.mark.parametrize(
    ("values", "weightages", "expected"),
    [
        ([1, 2, 10], [1, 1, 1], 2),
        ([1, 2, 10, 20], [1, 1, 1, 1], 6),
        ([1, 2, 10], [1, 1, 2], 6),  # 1, 2, 10, 10: exactly half lies up to 2
        ([1, 2, 10], [1, 1, 3], 10),
        ([1, 2, 10], [50, 100, 100], 2),
        ([3, 1, 2], [1, 1, 0], 2),
    ],
)
def test_coordmedian_by_hand(values, weightages, expected):
    got = merged("coordmedian", "F32", [[v] for v in values], weightages)
    assert got.tolist() == [expected]


def test_coordmedian_of_float64_at_the_limit():
    top = np.finfo(np.float64).max
    assert merged("coordmedian", "F64", [[top], [top]]).tolist() == [top]
    assert merged("coordmedian", "F32", [[3.4e38], [3.4e38]]).tolist() == [np.float32(3.4e38)]


def test_a_zero_is_plus_zero_whatever_the_processor_thinks_of_minus_zero():
    for dtype in FLOATS:
        got = merged("coordmedian", dtype, [[-0.0], [0.0], [-0.0]])
        assert not np.signbit(got).any()


# --- the geometric median


def distance_sum(points: np.ndarray, weights, at: np.ndarray) -> float:
    return sum(w * math.dist(p, at) for p, w in zip(points, weights, strict=True))


points_and_weights = st.integers(2, 7).flatmap(
    lambda n: st.tuples(
        st.integers(0, 2**32 - 1), st.just(n), st.lists(st.integers(1, 100), min_size=n, max_size=n)
    )
)


@settings(max_examples=100, deadline=None)
@given(points_and_weights, st.integers(1, 5), st.floats(1e-3, 1e3), st.booleans())
def test_geomedian_is_where_no_direction_leads_downhill(drawn, dimensions, size, with_base):
    """Optimality: the weighted unit vectors towards the inputs cancel out, or, at an input, sum to
    no more than its weight (Kuhn 1973)."""
    seed, peers, weights = drawn
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((peers, dimensions + 1)) * size + 3
    base = points.mean(axis=0) + size if with_base else None
    at = merged("geomedian", "F64", points, weights, base)
    apart = points - at
    lengths = np.linalg.norm(apart, axis=1)
    here = lengths < 1e-9 * size
    pull = (np.array(weights)[~here, None] * apart[~here] / lengths[~here, None]).sum(axis=0)
    slack = 0.02 * sum(weights)
    assert np.linalg.norm(pull) <= np.array(weights)[here].sum() + slack
    start = np.average(points, axis=0, weights=weights)
    best = distance_sum(points, weights, at)
    assert best <= distance_sum(points, weights, start) * (1 + 1e-9)
    for _ in range(20):
        near = at + rng.standard_normal(at.shape) * size * 0.05
        assert best <= distance_sum(points, weights, near) * (1 + 1e-6)


def test_geomedian_of_a_triangle_is_the_fermat_point():
    corners = [[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]]
    assert merged("geomedian", "F64", corners) == pytest.approx([0.5, math.sqrt(3) / 6], abs=1e-5)


def test_geomedian_of_a_wide_angle_is_its_corner():
    """An angle of more than 120 degrees: the median is the corner itself, to the bit."""
    assert merged("geomedian", "F32", [[0, 0.1], [-1, 0], [1, 0]]).tolist() == [0, np.float32(0.1)]


def test_geomedian_leaves_an_input_that_the_mean_hits_but_that_is_not_the_median():
    """Textbook Weiszfeld stops there for ever."""
    points = np.array([[0, 0], [3, 0], [-1, 0.5], [-1, -0.5], [-1, 0.1], [0, -0.1]], float)
    weights = [1, 1, 1, 1, 1, 1]
    assert points.mean(axis=0) == pytest.approx([0, 0])
    gram = points @ points.T
    at = np.array(geometric_median(gram, weights)) @ points
    grid = [(x, y) for x in np.arange(-1, 0.5, 0.01) for y in np.arange(-0.3, 0.3, 0.01)]
    best = min(distance_sum(points, weights, np.array(g)) for g in grid)
    assert distance_sum(points, weights, at) <= best + 1e-6


def test_geomedian_of_two_is_the_mean_or_the_heavier():
    assert merged("geomedian", "F32", [[0, 0], [2, 4]]).tolist() == [1, 2]
    assert merged("geomedian", "F32", [[0, 0], [2, 4]], [1, 2]).tolist() == [2, 4]


@pytest.mark.parametrize("with_base", [False, True], ids=["first round", "later"])
@pytest.mark.parametrize("far", [1e3, 1e15, 3e38])
def test_geomedian_keeps_its_digits_beside_an_input_that_is_far_out(far, with_base):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((5, 200)).astype(np.float32)
    rows[0] = far
    base = np.zeros(200) if with_base else None
    got = merged("geomedian", "F32", rows, base=base).astype(np.float64)
    apart = rows.astype(np.float64) - got
    pull = apart / np.sqrt((apart**2).sum(axis=1))[:, None]
    assert np.linalg.norm(pull.sum(axis=0)) < 1e-3


def test_geomedian_late_in_training_when_models_hardly_differ():
    rng = np.random.default_rng(1)
    base = rng.standard_normal(10_000) * 0.02
    rows = (base + rng.standard_normal((4, 10_000)) * 2e-6).astype(np.float32)
    got = merged("geomedian", "F32", rows, [1, 2, 3, 4], base).astype(np.float64)
    exact = rows.astype(np.float64)
    at = np.average(exact, axis=0, weights=[1, 2, 3, 4])
    for _ in range(40):
        closeness = [w / np.linalg.norm(x - at) for x, w in zip(exact, [1, 2, 3, 4], strict=True)]
        at = np.average(exact, axis=0, weights=closeness)
    spread = np.linalg.norm(exact[0] - exact[1])
    assert np.linalg.norm(got - at) < 1e-3 * spread


@pytest.mark.parametrize("method", ["geomedian", "normclip"])
def test_float64_beyond_what_distances_can_be_taken_of_is_refused(method):
    with pytest.raises(InputError, match="1e\\+200 is too large to measure distances") as caught:
        merged(method, "F64", [[1.0], [2.0], [1e200]])
    assert caught.value.index == 2


# --- clipped updates


def clip_oracle(rows, weights, base) -> np.ndarray:
    """In float64, from the definition."""
    rows = np.asarray(rows, np.float64)
    norms = [math.dist(row, base) for row in rows]
    ordered = sorted((n, w) for n, w in zip(norms, weights, strict=True) if n)
    bound, reached = 0.0, 0
    for norm, weight in ordered:
        bound, reached = norm, reached + weight
        if 2 * reached >= sum(w for _, w in ordered):
            break
    factors = [min(1.0, bound / n) if n else 1.0 for n in norms]
    steps = [w * f * (r - base) for w, f, r in zip(weights, factors, rows, strict=True)]
    return base + np.sum(steps, axis=0) / sum(weights)


@settings(max_examples=100, deadline=None)
@given(points_and_weights, st.booleans(), st.sampled_from(["F64", "F32"]))
def test_normclip_agrees_with_its_definition(drawn, with_base, dtype):
    seed, peers, weights = drawn
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((peers, 9)) * 10.0 ** rng.integers(-2, 3, (peers, 1)) + 1).astype(
        DTYPES[dtype]
    )
    rows[0] = rows[-1] if rng.random() < 0.2 else rows[0]
    base = rng.standard_normal(9).astype(DTYPES[dtype])
    if rng.random() < 0.3:
        rows[0] = base
    reference = base if with_base else merged("coordmedian", dtype, rows, weights)
    got = merged("normclip", dtype, rows, weights, base if with_base else None)
    want = clip_oracle(rows, weights, reference.astype(np.float64))
    assert got == pytest.approx(want, rel=1e-4, abs=1e-4)


def test_normclip_is_the_mean_to_the_bit_when_nobody_is_clipped():
    rng = np.random.default_rng(2)
    step = rng.standard_normal(1000)
    rows = np.array([step, -step, step[::-1], -step[::-1]]).astype(np.float32)
    got = merged("normclip", "F32", rows, [1, 2, 3, 4], np.zeros(1000))
    assert got.tobytes() == merged("mean", "F32", rows, [1, 2, 3, 4]).tobytes()


def test_normclip_is_not_frozen_by_peers_that_do_not_move():
    base = np.ones(8, np.float32)
    got = merged("normclip", "F32", [base, base, base, base + 4], base=base)
    assert got.tolist() == [2.0] * 8


def test_median_norm_takes_the_lower_one_and_leaves_out_zeros():
    assert median_norm([3.0, 1.0], [1, 1]) == 1.0
    assert median_norm([0.0, 0.0, 0.0, 5.0], [1, 1, 1, 1]) == 5.0
    assert median_norm([1.0, 2.0, 3.0], [1, 1, 5]) == 3.0
    assert median_norm([0.0], [1]) == 0.0


def test_what_clipping_takes_from_an_input_goes_to_the_base():
    assert clipped_weights([1.0, 2.0, 8.0], [2, 3, 2]) == [2.0, 3.0, 0.5, 1.5]
    assert clipped_weights([2.0, 2.0, 0.0], [2, 3, 2]) == [2.0, 3.0, 2.0]


# --- what all of them promise


@pytest.mark.parametrize("method", ROBUST)
@pytest.mark.parametrize("bad", [-10.0, 1e4, 1e30], ids=["flipped x10", "x1e4", "x1e30"])
@pytest.mark.parametrize("with_base", [False, True], ids=["first round", "later"])
def test_one_of_five_inputs_cannot_carry_the_model_away(method, bad, with_base):
    rng = np.random.default_rng(7)
    base = rng.standard_normal(3000).astype(np.float32)
    truth = rng.standard_normal(3000)
    rows = [(base + truth + rng.standard_normal(3000) * 0.5).astype(np.float32) for _ in range(5)]
    honest = np.mean(rows[1:], axis=0, dtype=np.float64)
    rows[0] = (base + bad * (rows[0] - base)).astype(np.float32)
    got = merged(method, "F32", rows, base=base if with_base else None)
    mean = merged("mean", "F32", rows)
    moved = np.linalg.norm(honest - base)
    assert np.linalg.norm(got.astype(np.float64) - honest) < 0.8 * moved
    assert np.linalg.norm(mean.astype(np.float64) - honest) > 1.5 * moved


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("with_base", [False, True], ids=["first round", "later"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_equal_models_and_one_alone_come_back_as_they_are(method, dtype, with_base):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2 if dtype == "BOOL" else 100, 300).astype(DTYPES[dtype])
    base = np.zeros(300, DTYPES[dtype]) if with_base else None
    assert merged(method, dtype, [values], [7], base).tobytes() == values.tobytes()
    assert merged(method, dtype, [values] * 5, [3, 1, 4, 1, 5], base).tobytes() == values.tobytes()


@pytest.mark.parametrize("method", ["geomedian", "normclip"])
def test_integers_take_the_median(method):
    layout = arrange(
        [("w", "F32", (2,)), ("n", "I64", ()), ("m", "BOOL", (1,)), ("e", "F32", (0,))]
    )
    sections = []
    for seed, counter in enumerate([10, 11, 10**15]):
        section = np.zeros(layout.data_size, np.uint8)
        for tensor in layout.tensors:
            view = section[tensor.begin : tensor.end].view(tensor.numpy)
            view[:] = {"w": seed, "n": counter, "m": seed > 0, "e": 0}[tensor.name]
        sections.append(section)
    out = np.zeros(layout.data_size, np.uint8)
    merge(method, layout, [s.data for s in sections], [1, 1, 1], out.data)
    found = {t.name: out[t.begin : t.end].view(t.numpy).tolist() for t in layout.tensors}
    assert found["n"] == [11]
    assert found["m"] == [True]
    assert found["w"] == [1.0, 1.0]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_model_without_parameters(method):
    assert merged(method, "I32", [[1], [2], [30]], [1, 2, 1]).tolist() in ([2], [9])


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("weights", [[1] * 5, [5, 4, 3, 2, 1]], ids=["equal", "weighted"])
@pytest.mark.parametrize("with_base", [False, True], ids=["first round", "later"])
def test_the_size_of_blocks_does_not_change_the_bytes(method, weights, with_base):
    rng = np.random.default_rng(3)
    layout = arrange(
        [("d", "F64", (9,)), ("w", "F32", (2 * BLOCK_ITEMS + 17,)), ("n", "I64", ()),
         ("h", "BF16", (PANEL + 5,)), ("g", "F16", (33,))]
    )  # fmt: skip

    def model(scale: float) -> np.ndarray:
        section = np.zeros(layout.data_size, np.uint8)
        for t in layout.tensors:
            values = rng.normal(0, scale, t.count).astype("<f4")
            if t.dtype == "BF16":
                values = (values.view("<u4") >> 16).astype("<u2")
            section[t.begin : t.end].view(t.numpy)[:] = values.astype(t.numpy)
        return section

    sections, base = [model(10.0**-i).data for i in range(5)], model(1.0).data
    results = set()
    for items in (PANEL, 2 * PANEL, BLOCK_ITEMS, 8 * BLOCK_ITEMS):
        out = bytearray(layout.data_size)
        merge(method, layout, sections, weights, out, base if with_base else None, items=items)
        results.add(bytes(out))
    assert len(results) == 1


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_not_finite_names_the_input_and_the_tensor(method, dtype, bad):
    layout = flat(dtype, 3, 4)
    arrays = [np.ones(7, DTYPES[dtype]) for _ in range(4)]
    arrays[2][5] = {False: 0x7F80, True: 0x7FC0}[math.isnan(bad)] if dtype == "BF16" else bad
    out = np.zeros(7, DTYPES[dtype])
    with pytest.raises(InputError, match="'t1' holds values that are not finite") as caught:
        merge(method, layout, [a.data for a in arrays], [1, 0, 1, 1], out.data)
    assert caught.value.index == 2


def test_blocks_shrink_with_the_number_of_inputs_and_stay_whole_panels():
    sizes = [block_items(n) for n in range(1, 200)]
    assert sizes == sorted(sizes, reverse=True)
    assert {size % PANEL for size in sizes} == {0}
    assert max(n * size for n, size in enumerate(sizes[:32], 1)) <= 8 * BLOCK_ITEMS
    assert block_items(1, ram_intensive=False) == PANEL


# --- distances


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([1e-30, 1e-3, 1.0, 1e20, 2e38]),
    st.sampled_from(["F32", "F64"]),
)  # fmt: skip
def test_inner_products_of_differences(seed, peers, size, dtype):
    rng = np.random.default_rng(seed)
    rows = (rng.uniform(-1, 1, (peers, 50)) * size).astype(DTYPES[dtype])
    base = (rng.uniform(-1, 1, 50) * size).astype(DTYPES[dtype])
    exact = [
        [Fraction(float(x)) - Fraction(float(b)) for x, b in zip(r, base, strict=True)]
        for r in rows
    ]
    whole, squares = Spread(pairs=True), Spread(pairs=False)
    for spread in (whole, squares):
        spread.add(Piece(dtype, list(rows), [1] * peers, base))
    for i, j in combinations(range(peers), 2):
        true = float(sum(x * y for x, y in zip(exact[i], exact[j], strict=True)))
        assert whole.products[i, j] == whole.products[j, i]
        assert whole.products[i, j] == pytest.approx(true, abs=size * size * 1e-4)
    norms = [math.sqrt(sum(x * x for x in row)) for row in exact]
    assert whole.norms() == pytest.approx(norms, rel=1e-5)
    assert whole.norms() == squares.norms()


def test_inner_products_do_not_depend_on_the_order_of_summation():
    """The rounded differences multiply and sum without rounding: Python's integers agree."""
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((3, PANEL), dtype=np.float32)
    spread = Spread(pairs=True)
    spread.add(Piece("F32", list(rows), [1, 1, 1], np.zeros(PANEL, np.float32)))
    scale = [2 ** (20 - math.frexp(float(abs(row).max()))[1]) for row in rows]
    whole = [
        [round(Fraction(float(x)) * s) for x in row] for row, s in zip(rows, scale, strict=True)
    ]
    for i in range(3):
        for j in range(3):
            total = sum(a * b for a, b in zip(whole[i], whole[j], strict=True))
            assert Fraction(float(spread.products[i, j])) == Fraction(total, scale[i] * scale[j])
