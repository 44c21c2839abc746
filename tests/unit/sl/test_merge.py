"""The merge against a slow oracle written from the documented arithmetic, value by value."""

import math
import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import ConfigError, LayoutError
from services.sl.core import merge as merging
from services.sl.core.merge import (
    InputError,
    blocks,
    check_finite,
    merge,
    our_form,
    require_same_layout,
)
from swarmlearning.wire.tensors import DTYPES, Layout, Tensor, arrange

FLOATS = {"F16": "<e", "F32": "<f", "F64": "<d"}
INTEGERS = ["U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"]


def flat(dtype: str, *counts: int) -> Layout:
    return arrange((f"t{i}", dtype, (n,)) for i, n in enumerate(counts))


def merged(dtype: str, inputs: list[list[Any]], weightages: list[int]) -> np.ndarray:
    count = len(inputs[0])
    out = np.zeros(count, DTYPES[dtype])
    arrays = [np.array(values, DTYPES[dtype]) for values in inputs]
    merge("mean", flat(dtype, count), [a.data for a in arrays], weightages, out.data)
    return out


# --- the oracle


def oracle(dtype: str, values: list[Any], weightages: list[int]) -> Any:
    pairs = [(v, w) for v, w in zip(values, weightages, strict=True) if w]
    divisor = math.gcd(*(w for _, w in pairs))
    pairs = [(v, w // divisor) for v, w in pairs]
    total = sum(w for _, w in pairs)
    if dtype in INTEGERS or dtype == "BOOL":
        return round(Fraction(sum(int(v) * w for v, w in pairs), total))
    mean = None
    for value, weight in pairs:
        x = bf16_value(value) if dtype == "BF16" else float(value)
        mean = x * weight if mean is None else mean + x * weight
    assert mean is not None
    mean /= total
    return (
        bf16_bits(mean)
        if dtype == "BF16"
        else struct.unpack(FLOATS[dtype], struct.pack(FLOATS[dtype], mean))[0]
    )


def bf16_value(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def bf16_bits(value: float) -> int:
    """Nearest bfloat16 of the nearest float32, ties to even, by comparing exact distances."""
    single = struct.unpack("<f", struct.pack("<f", value))[0]
    low = struct.unpack("<I", struct.pack("<f", single))[0] >> 16
    below, above = (Fraction(abs(bf16_value(b))) for b in (low, low + 1))
    exact = Fraction(abs(single))
    if exact - below == above - exact:
        return low if low % 2 == 0 else low + 1
    return low if exact - below < above - exact else low + 1


def column(dtype: str) -> st.SearchStrategy[Any]:
    if dtype == "BOOL":
        return st.booleans()
    if dtype in INTEGERS:
        info = np.iinfo(DTYPES[dtype])
        return st.integers(int(info.min), int(info.max))
    if dtype == "BF16":
        return st.integers(0, 0xFFFF).filter(
            lambda bits: bits & 0x7F80 != 0x7F80 and bits & 0x7FFF < 0x7F7F
        )
    width = {"F16": 16, "F32": 32, "F64": 64}[dtype]
    limit = {16: 60000.0, 32: 2.0**127, 64: 1e290}[width]
    return st.floats(-limit, limit, width=width)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[str, list[list[Any]], list[int]]:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    peers, count = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    inputs = [draw(st.lists(column(dtype), min_size=count, max_size=count)) for _ in range(peers)]
    weightages = draw(st.lists(st.integers(0, 100), min_size=peers, max_size=peers).filter(any))
    return dtype, inputs, weightages


@settings(max_examples=300, deadline=None)
@given(rounds())
def test_agrees_with_the_oracle_bit_for_bit(case):
    dtype, inputs, weightages = case
    expected = [oracle(dtype, list(values), weightages) for values in zip(*inputs, strict=True)]
    want = np.array(expected, DTYPES[dtype])
    assert merged(dtype, inputs, weightages).tobytes() == want.tobytes()


# --- identities


@settings(max_examples=100, deadline=None)
@given(rounds(), st.integers(2, 9))
def test_only_the_ratios_of_weightages_count(case, factor):
    dtype, inputs, weightages = case
    scaled = [w * factor for w in weightages]
    assert merged(dtype, inputs, scaled).tobytes() == merged(dtype, inputs, weightages).tobytes()


@settings(max_examples=100, deadline=None)
@given(rounds())
def test_one_model_alone_comes_back_as_it_is(case):
    dtype, inputs, _ = case
    assert merged(dtype, inputs[:1], [7]).tobytes() == np.array(inputs[0], DTYPES[dtype]).tobytes()


def test_equal_models_come_back_as_they_are():
    model = np.random.default_rng(0).standard_normal(1000).astype(np.float32).tolist()
    again = merged("F32", [model] * 5, [3, 1, 4, 1, 5])
    assert again.tolist() == model


def test_weightage_zero_has_no_part_even_when_it_is_not_finite():
    out = merged("F32", [[1.0], [math.nan], [3.0]], [1, 0, 1])
    assert out.tolist() == [2.0]


@pytest.mark.parametrize("weightages", [[0, 0], [1, -1]])
def test_weightages_that_are_a_bug(weightages):
    with pytest.raises(ValueError, match="weightages"):
        merged("F32", [[1.0], [2.0]], weightages)


def test_order_is_the_callers_and_decides_the_last_bit():
    """1e16 + 1 - 1e16 depends on the order; each order must give its own result every time."""
    inputs = [[1e16], [1.0], [-1e16]]
    assert merged("F64", inputs, [1, 1, 1]).tolist() == [0.0]
    assert merged("F64", [inputs[0], inputs[2], inputs[1]], [1, 1, 1]).tolist() == [1 / 3]


def test_inputs_are_not_modified():
    model = np.arange(10, dtype=np.float32)
    kept = model.copy()
    model.flags.writeable = False
    out = np.zeros(10, np.float32)
    merge("mean", flat("F32", 10), [model.data, model.data], [1, 2], out.data)
    assert (model == kept).all()


# --- rounding and range


@pytest.mark.parametrize(
    ("inputs", "weightages", "expected"),
    [
        ([1, 2], [1, 1], 2),  # 1.5 -> 2
        ([2, 3], [1, 1], 2),  # 2.5 -> 2
        ([-1, -2], [1, 1], -2),
        ([-2, -3], [1, 1], -2),
        ([0, 10], [3, 1], 2),  # 2.5 -> 2
        ([2**63 - 1, 2**63 - 1], [99, 100], 2**63 - 1),
        ([-(2**63), -(2**63)], [99, 100], -(2**63)),
        ([2**63 - 1, -(2**63)], [1, 1], 0),  # -0.5 -> 0
        ([2**53 + 1, 2**53 + 1], [1, 1], 2**53 + 1),  # beyond float64
    ],
)
def test_integers_are_exact_and_round_half_to_even(inputs, weightages, expected):
    assert merged("I64", [[value] for value in inputs], weightages).tolist() == [expected]


def test_unsigned_64_bit_to_its_limit():
    top = 2**64 - 1
    assert merged("U64", [[top], [top], [top]], [100, 100, 99]).tolist() == [top]


def test_a_bool_that_is_neither_0_nor_1_counts_as_true():
    odd = np.array([2, 0], np.uint8).view(np.bool_)
    out = np.zeros(2, np.bool_)
    merge("mean", flat("BOOL", 2), [odd.data] * 3, [1, 1, 1], out.data)
    assert out.view(np.uint8).tolist() == [1, 0]


@pytest.mark.parametrize("value", [1.7976931348623157e308, -1.7976931348623157e308])
def test_float64_near_its_limit_does_not_overflow(value):
    out = merged("F64", [[value]] * 3, [100, 99, 98])
    assert np.isfinite(out).all()
    assert out.tolist() == pytest.approx([value], rel=1e-15)


def test_float64_overflow_of_one_item_leaves_the_others_alone():
    out = merged("F64", [[1.7e308, 0.1, 0.0], [1.7e308, 0.3, 5e-324]], [1, 1])
    assert out[0] == pytest.approx(1.7e308)
    assert out[1] == pytest.approx(0.2)


@pytest.mark.parametrize(("dtype", "top"), [("F16", 65504.0), ("F32", 3.4028234663852886e38)])
def test_narrow_floats_at_their_limit_stay_finite(dtype, top):
    assert merged(dtype, [[top]] * 7, [100, 99, 98, 97, 96, 95, 1]).tolist() == [top]


def test_bfloat16_at_its_limit_stays_finite():
    assert merged("BF16", [[0x7F7F]] * 3, [1, 2, 4]).tolist() == [0x7F7F]


# --- not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["F16", "F32", "F64"])
def test_not_finite_names_the_input_and_the_tensor(dtype, bad):
    layout = flat(dtype, 3, 4)
    arrays = [np.ones(7, DTYPES[dtype]) for _ in range(4)]
    arrays[2][5] = bad
    out = np.zeros(7, DTYPES[dtype])
    with pytest.raises(InputError, match="'t1' holds values that are not finite") as caught:
        merge("mean", layout, [a.data for a in arrays], [1, 0, 1, 1], out.data)
    assert caught.value.index == 2


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0])
def test_not_finite_bfloat16(bits):
    arrays = [np.array([0x3F80, value], "<u2") for value in (0x3F80, bits)]
    out = np.zeros(2, "<u2")
    with pytest.raises(InputError) as caught:
        merge("mean", flat("BF16", 2), [a.data for a in arrays], [1, 1], out.data)
    assert caught.value.index == 1
    with pytest.raises(LayoutError, match="'t0'"):
        check_finite(flat("BF16", 2), arrays[1].data)
    check_finite(flat("BF16", 2), arrays[0].data)


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(InputError) as caught:
        merged("F32", [[math.inf], [-math.inf]], [1, 1])
    assert caught.value.index == 0


def test_check_finite_finds_the_last_item_of_a_large_tensor():
    count = merging.BLOCK_ITEMS + 5
    layout = arrange(
        [("first", "F32", (count,)), ("counter", "I64", ()), ("last", "F32", (count,))]
    )
    data = np.zeros(layout.data_size, np.uint8)
    check_finite(layout, data.data)
    data[-4:].view("<f4")[0] = math.nan
    with pytest.raises(LayoutError, match="'last'"):
        check_finite(layout, data.data)


# --- blocks and layouts


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 5), max_size=3)),
        max_size=8,
    ),
    st.integers(1, 40),
)
def test_blocks_cover_the_data_section_once(tensors, items):
    layout = arrange((f"t{i}", d, tuple(shape)) for i, (d, shape) in enumerate(tensors))
    at = 0
    for block in blocks(layout, items):
        assert block.begin == at
        assert 0 < block.count <= items
        at = block.end
    assert at == layout.data_size


def test_mixed_dtypes_over_many_blocks_equal_tensor_by_tensor():
    rng = np.random.default_rng(3)
    count = 2 * merging.BLOCK_ITEMS + 17
    layout = arrange(
        [("w", "F32", (count,)), ("n", "I64", ()), ("b", "F32", (3, 5)), ("e", "F32", (0,)),
         ("m", "BOOL", (7,)), ("h", "F16", (9,))]
    )  # fmt: skip
    sections = []
    for _ in range(3):
        section = np.zeros(layout.data_size, np.uint8)
        for t in layout.tensors:
            values = rng.integers(0, 2, t.count) if t.dtype == "BOOL" else rng.normal(0, 9, t.count)
            section[t.begin : t.end] = np.frombuffer(values.astype(t.numpy).tobytes(), np.uint8)
        sections.append(section)
    out = np.zeros(layout.data_size, np.uint8)
    merge("mean", layout, [s.data for s in sections], [1, 2, 3], out.data)
    for t in layout.tensors:
        rows = [s[t.begin : t.end].view(t.numpy).tolist() for s in sections]
        assert out[t.begin : t.end].tobytes() == merged(t.dtype, rows, [1, 2, 3]).tobytes(), t.name


BASE = [("a.weight", "F32", (2, 3)), ("b", "I64", ())]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            [("a.weight", "F32", (3, 2)), ("b", "I64", ())],
            r"'a.weight' is F32\[3, 2\], expected F32\[2, 3\]",
        ),
        ([("a.weight", "F16", (2, 3)), ("b", "I64", ())], r"is F16\[2, 3\], expected F32"),
        ([("a.weight", "F32", (2, 3))], r"'b' \(I64\[\]\) is missing"),
        ([*BASE, ("c", "F32", (1,))], r"'c' \(F32\[1\]\) is not expected"),
    ],
)
def test_layout_mismatch_names_the_odd_one_and_the_difference(other, message):
    good, odd = arrange(BASE), arrange(other)
    with pytest.raises(InputError, match=message) as caught:
        require_same_layout([odd, good, good])
    assert caught.value.index == 0
    assert require_same_layout([good, good]) == good


def test_layout_in_another_order():
    one = arrange([("a", "F32", (2,)), ("b", "F32", (2,))])
    other = Layout((Tensor("b", "F32", (2,), 0, 8), Tensor("a", "F32", (2,), 8, 16)), 100)
    with pytest.raises(InputError, match="'b' comes where 'a' is expected") as caught:
        require_same_layout([one, other])
    assert caught.value.index == 1


def test_the_agreed_layout_wins_over_the_majority():
    agreed, wrong = arrange(BASE), arrange(BASE[:1])
    with pytest.raises(InputError) as caught:
        require_same_layout([wrong, wrong, agreed], agreed)
    assert caught.value.index == 0


def test_our_form_refuses_a_file_in_foreign_order():
    foreign = Layout((Tensor("a", "U8", (4,), 0, 4), Tensor("b", "F32", (1,), 4, 8)), 100)
    with pytest.raises(LayoutError, match="order"):
        our_form(foreign)
    ours = arrange(BASE)
    moved = Layout(ours.tensors, ours.data_offset + 8)
    assert our_form(moved).data_offset == ours.data_offset


def test_unknown_method_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'median'; known: .*mean"):
        merge("median", flat("F32", 1), [b"\0\0\0\0"], [1], bytearray(4))
