import json

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from swarmlearning.wire.tensors import (
    ALIGNMENT,
    DTYPES,
    WireError,
    arrange,
    layout_of,
    parse,
    read,
    write_into,
)

NUMPY_DTYPES = [dtype for name, dtype in DTYPES.items() if name != "BF16"]


def stored(arrays, bfloat16=()):
    layout = layout_of(arrays, bfloat16)
    buffer = bytearray(layout.file_size)
    write_into(buffer, arrays, layout)
    return bytes(buffer)


def by_hand(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


arrays_of_any_kind = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
        lambda name: name != "__metadata__"
    ),
    st.sampled_from(NUMPY_DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
    ),
    max_size=6,
)


@given(arrays_of_any_kind)
def test_everything_survives_bit_by_bit(arrays):
    back = read(stored(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


@given(arrays_of_any_kind)
def test_the_safetensors_library_reads_what_we_write(arrays):
    theirs = safetensors.numpy.load(stored(arrays))
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (theirs[name].dtype, theirs[name].shape) == (array.dtype, array.shape)
        assert theirs[name].tobytes() == array.tobytes()


@given(arrays_of_any_kind)
def test_we_read_what_the_safetensors_library_writes(arrays):
    theirs = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    ours = read(safetensors.numpy.save(theirs, metadata={"format": "pt"}))
    assert ours.keys() == arrays.keys()
    for name, array in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
        assert ours[name].tobytes() == array.tobytes()


@given(arrays_of_any_kind)
def test_tensors_are_aligned_contiguous_and_parsed_as_arranged(arrays):
    layout = layout_of(arrays)
    assert layout.data_offset % ALIGNMENT == 0
    at = 0
    for tensor in layout.tensors:
        assert tensor.begin == at
        assert tensor.begin % tensor.numpy.itemsize == 0
        at = tensor.end
    assert at == layout.data_size
    again = parse(stored(arrays))
    assert again == layout
    assert again.data_offset == layout.data_offset


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(data):
    try:
        layout = parse(data)
    except WireError:
        return
    assert layout.file_size == len(data)


@given(arrays_of_any_kind, st.data())
def test_a_shorter_or_longer_file_is_refused(arrays, data):
    whole = stored(arrays)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        parse(whole[:cut])
    with pytest.raises(WireError):
        parse(whole + b"\0")


def test_the_same_tensors_give_the_same_bytes():
    arrays = {"b": np.ones(3, "f4"), "a": np.zeros((), "i8")}
    assert stored(arrays) == stored({"b": np.ones(3, ">f4"), "a": np.zeros((), ">i8")})


def test_order_is_by_width_then_dtype_then_name_however_the_tensors_are_listed():
    arrays = {"z": np.ones(1, "f4"), "b": np.ones(3, "?"), "a": np.ones(1, "f4"), "n": np.array(6)}
    arrays["c"] = np.ones(2, "i4")
    assert [tensor.name for tensor in layout_of(arrays).tensors] == ["n", "a", "z", "c", "b"]
    assert stored(dict(reversed(arrays.items()))) == stored(arrays)


def test_strided_and_transposed_arrays_are_stored_by_value():
    square = np.arange(12.0).reshape(3, 4)
    back = read(stored({"t": square.T, "s": square[:, ::2]}))
    assert np.array_equal(back["t"], square.T)
    assert np.array_equal(back["s"], square[:, ::2])


def test_reading_shares_memory_and_0d_stays_0d():
    layout = layout_of({"n": np.array(6), "w": np.zeros(4, "f4")})
    buffer = bytearray(layout.file_size)
    write_into(buffer, {"n": np.array(6), "w": np.zeros(4, "f4")}, layout)
    arrays = read(buffer)
    assert arrays["n"].shape == ()
    assert arrays["n"].dtype == np.int64
    arrays["w"][1] = 7
    assert read(buffer)["w"][1] == 7


def test_bfloat16_travels_as_bit_patterns_with_its_name():
    bits = np.array([0x3F80, 0x7F80], "u2")
    whole = stored({"x": bits, "y": bits}, bfloat16={"x"})
    assert {t.name: t.dtype for t in parse(whole).tensors} == {"x": "BF16", "y": "U16"}
    assert read(whole)["x"].tobytes() == bits.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.array(["text"]),
        np.array([1j]),
        np.array([b"x"]),
        np.zeros(2, np.longdouble),
        np.zeros(1, "M8[s]"),
        np.zeros(1, [("a", "f4")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_items_without_a_place_are_refused_by_name(array):
    with pytest.raises(WireError, match=r"tensor 'layer\.weight' has items of type"):
        layout_of({"layer.weight": array})


def test_bfloat16_must_come_as_uint16():
    with pytest.raises(WireError, match="uint16 bit patterns"):
        layout_of({"x": np.zeros(2, "f4")}, bfloat16={"x"})


@pytest.mark.parametrize("other", [np.zeros(3, "f4"), np.zeros(2, "f8"), np.zeros((2, 1), "f4")])
def test_writing_another_shape_or_dtype_is_refused(other):
    layout = layout_of({"x": np.zeros(2, "f4")})
    with pytest.raises(WireError, match="tensor 'x'"):
        write_into(bytearray(layout.file_size), {"x": other}, layout)


def test_arrange_refuses_what_could_not_be_read_back():
    with pytest.raises(WireError, match=r"'w': shape \[0, 1073741824, 1073741824\] is too large"):
        arrange([("w", "U8", (0, 2**30, 2**30))])
    with pytest.raises(WireError, match=r"5000 tensors .* at most 16777216 are read"):
        arrange((f"{i:04}" * 1000, "F32", (1,)) for i in range(5000))


def test_arrange_refuses_what_a_header_cannot_hold():
    for bad in (
        [("x", "F8", (1,))],
        [("x", "F32", (1,)), ("x", "F32", (1,))],
        [("__metadata__", "F32", (1,))],
        [("\ud800", "F32", (1,))],
        [("x", "F32", (1,) * 33)],
    ):
        with pytest.raises(WireError):
            arrange(bad)


LIES = {
    "empty file": b"",
    "short length": b"\1\0\0",
    "length beyond the file": by_hand({}, length=50),
    "length of exabytes": by_hand({}, length=2**63),
    "not JSON": by_hand(b"{nope"),
    "not UTF-8": by_hand(b'{"\xff": 1}'),
    "lone surrogate": by_hand(b'{"\\ud800":' + json.dumps(entry()).encode() + b"}", bytes(4)),
    "a list": by_hand([]),
    "deep": by_hand(b"[" * 100_000),
    "huge number": by_hand(b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}"),
    "entry is no object": by_hand({"x": 3}),
    "offsets missing": by_hand({"x": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "extra key": by_hand({"x": {**entry(), "more": 1}}, bytes(4)),
    "unknown dtype": by_hand({"x": entry("C64")}, bytes(4)),
    "dtype is no text": by_hand({"x": {**entry(), "dtype": ["F32"]}}, bytes(4)),
    "negative size": by_hand({"x": entry(shape=(-1, -1))}, bytes(4)),
    "float size": by_hand({"x": entry(shape=(1.0,))}, bytes(4)),
    "true as size": by_hand({"x": entry(shape=(True,))}, bytes(4)),
    "33 dimensions": by_hand({"x": entry(shape=(1,) * 33)}, bytes(4)),
    "three offsets": by_hand({"x": entry(offsets=(0, 4, 8))}, bytes(4)),
    "reversed offsets": by_hand({"x": entry(offsets=(4, 0))}, bytes(4)),
    "negative offset": by_hand({"x": entry(offsets=(-4, 0))}, bytes(4)),
    "shape larger than its bytes": by_hand({"x": entry(shape=(2,))}, bytes(4)),
    "terabytes in four bytes": by_hand({"x": entry(shape=(2**40,))}, bytes(4)),
    "product that overflows": by_hand({"x": entry(shape=(2**62, 2**62))}, bytes(4)),
    "zero times overflow": by_hand({"x": entry(shape=(0, 2**62, 4), offsets=(0, 0))}),
    "beyond the data": by_hand({"x": entry()}, bytes(3)),
    "data left over": by_hand({"x": entry()}, bytes(5)),
    "hole at the start": by_hand({"x": entry(offsets=(4, 8))}, bytes(8)),
    "hole between": by_hand({"x": entry(), "y": entry(offsets=(8, 12))}, bytes(12)),
    "overlap": by_hand({"x": entry(), "y": entry(offsets=(2, 6))}, bytes(6)),
    "the same place twice": by_hand({"x": entry(), "y": entry()}, bytes(4)),
    "a name twice": by_hand(
        b'{"x":' + json.dumps(entry()).encode() + b',"x":' + json.dumps(entry()).encode() + b"}",
        bytes(4),
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_lying_headers_are_refused(lie):
    with pytest.raises(WireError):
        parse(lie)
