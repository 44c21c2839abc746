import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sl.core.weights import MAX_NAME, MAX_TENSORS, Weights, dump, load
from swarmlearning.wire.tensors import DTYPES, WireError
from tests.foreign.schema import messages

HPE = messages("2.2")
arrays_of_any_kind = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=5,
)


def message(**arrays):
    """As HPE's client 2.2 fills it."""
    made = HPE["Weights"]()
    for name, array in arrays.items():
        entry = made.weights[name]
        entry.dtype = repr(array.dtype)
        entry.shape.extend(array.shape)
        entry.data = array.tobytes()
    return made


def raw(made):
    return memoryview(made.SerializeToString(deterministic=True))


def written(arrays, dtypes):
    size, pieces = dump(arrays, dtypes)
    whole = b"".join(pieces)
    assert len(whole) == size
    return HPE["Weights"].FromString(whole)


def same(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@given(arrays_of_any_kind)
def test_what_the_old_client_sends_is_read_bit_by_bit(arrays):
    found = load(raw(message(**arrays)))
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        same(found.arrays[name], array)
        assert found.dtypes[name] == repr(array.dtype)


@given(arrays_of_any_kind)
def test_protobuf_reads_what_we_write_and_0d_entries_are_floats(arrays):
    made = written(arrays, {name: repr(array.dtype) for name, array in arrays.items()})
    assert made.weights.keys() == arrays.keys()
    for name, array in arrays.items():
        entry = made.weights[name]
        kept = array.ndim or array.dtype.kind == "f"
        expected = array if kept else array.astype(np.float64)
        assert entry.dtype == repr(expected.dtype)
        assert tuple(entry.shape) == array.shape
        assert entry.data == expected.tobytes()


@pytest.mark.parametrize(
    ("sent", "array", "answered"),
    [
        ("dtype('float32')", np.ones(2, "f4"), "dtype('float32')"),
        ("float32", np.ones(2, "f4"), "float32"),
        ("dtype('<f4')", np.ones(2, "f4"), "dtype('<f4')"),
        ("dtype('>f4')", np.ones(2, "f4"), "dtype('float32')"),
        ("dtype('|b1')", np.ones(2, "?"), "dtype('|b1')"),
        ("dtype('int64')", np.array(7), "dtype('float64')"),
        ("int64", np.array(7), "float64"),
        ("", np.ones(2, "f2"), "dtype('float16')"),
    ],
    ids=["repr", "name", "code", "big endian", "bool", "0-d", "0-d by name", "unknown"],
)
def test_a_dtype_is_answered_in_the_words_of_its_sender(sent, array, answered):
    assert written({"w": array}, {"w": sent}).weights["w"].dtype == answered
    scope = {"__builtins__": {}, "np": np}
    assert np.dtype(eval("np." + answered, scope)).itemsize  # what the old client does with it


def test_big_endian_data_is_what_it_says():
    array = np.array([1.5, -2.0], ">f4")
    assert load(raw(message(w=array))).arrays["w"].tolist() == [1.5, -2.0]


def bad(dtype="dtype('float32')", shape=(2,), data=bytes(8)):
    made = HPE["Weights"]()
    made.weights["w"].dtype, made.weights["w"].data = dtype, data
    made.weights["w"].shape.extend(shape)
    return bytes(raw(made))


ENTRY = bytes(raw(message(w=np.zeros(2, "f4"))))
VALUE = b"\x0a\x10dtype('float32')"
REFUSED = {
    "code instead of a dtype": (bad("dtype('float32') and __import__('os')"), "are not numbers"),
    "a call": (bad("load('/etc/passwd')"), "are not numbers"),
    "objects": (bad("dtype('O')"), "are not numbers"),
    "text": (bad("dtype('<U2')"), "are not numbers"),
    "complex": (bad("dtype('complex64')"), "are not numbers"),
    "records": (bad("dtype([('a', '<f4')])"), "are not numbers"),
    "no dtype": (bad(""), "items of type '' are not"),
    "a long dtype": (bad("x" * 5000), "longer than"),
    "a dtype in two quotes": (bad("dtype('dtype('float32')')"), "are not numbers"),
    "too little data": (bad(data=bytes(7)), r"7 bytes are not float32\[2\]"),
    "too much data": (bad(data=bytes(9)), "9 bytes are not"),
    "no data": (bad(data=b""), "0 bytes are not"),
    "a huge shape": (bad(shape=(2**32 - 1,) * 8), "8 bytes are not"),
    "empty but huge": (bad(shape=(0, *(2**32 - 1,) * 8), data=b""), "cannot have the shape"),
    "many dimensions": (bad(shape=(1,) * 33, data=bytes(4)), "more than 32"),
    "a negative size": (
        b"\x0a\x24\x0a\x01w\x12\x1f" + VALUE + b"\x12\x0b\x02" + b"\xff" * 9 + b"\x01",
        "negative or a huge size",
    ),
    "a name twice": (ENTRY + ENTRY, "'w' comes twice"),
    "an unnamed one twice": (b"\x0a\x02\x12\x00" * 2, "items of type ''"),
    "no value": (b"\x0a\x03\x0a\x01w", "'w' has no value"),
    "a name that is a number": (b"\x0a\x02\x08\x01", "another type"),
    "a name that is not text": (b"\x0a\x03\x0a\x01\xff", "not UTF-8"),
    "an endless name": (b"\x0a\x84\x20\x0a\x81\x20" + b"n" * (MAX_NAME + 1), "longer than"),
    "an entry that is a number": (b"\x08\x01", "not a message"),
    "two values": (b"\x0a\x04\x12\x00\x12\x00", "twice"),
    "many fields": (b"\x0a\x80\x02" + b"\x78\x01" * 128, "too many fields"),
    "endless unknown fields": (b"\x10\x05" * (MAX_TENSORS + 1), "more than 100000 tensors"),
    "cut": (ENTRY[:-1], "claims"),
    "garbage": (b"\xff" * 30, "does not end"),
    "a lying size": (b"\x0a\xff\xff\xff\xff\x0f", "claims 4294967295 bytes, 0 are left"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_with_its_reason(data, reason):
    with pytest.raises(WireError, match=reason):
        load(memoryview(data))


def test_unknown_fields_and_unpacked_shapes_are_read():
    value = VALUE + b"\x10\x01\x10\x02" + b"\x1a\x08" + bytes(8) + b"\x7a\x01x"
    entry = b"\x0a\x01w" + b"\x12" + bytes([len(value)]) + value
    found = load(memoryview(b"\x0a" + bytes([len(entry)]) + entry + b"\x10\x05"))
    assert found.arrays["w"].shape == (1, 2)
    assert HPE["Weights"].FromString(b"\x0a" + bytes([len(entry)]) + entry).weights["w"].shape


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    try:
        found = load(memoryview(data))
    except WireError:
        return
    assert isinstance(found, Weights)


@given(arrays_of_any_kind, st.data())
def test_a_damaged_message_is_read_or_refused(arrays, data):
    whole = bytearray(raw(message(**arrays)))
    for _ in range(data.draw(st.integers(1, 3))):
        if whole:
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = load(memoryview(whole))
    except WireError:
        return
    assert sum(array.nbytes for array in found.arrays.values()) <= len(whole)
