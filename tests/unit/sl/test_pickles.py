import io
import pickle
import pickletools
import struct
from collections import OrderedDict

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sl.core.pickles import PickleError, dump, load
from swarmlearning.wire.tensors import DTYPES
from tests.component.sl.foreign_client import OldNumpy, integer, model, pickled, text

arrays_of_any_kind = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=5,
)


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@given(arrays_of_any_kind, st.sampled_from([3, 4, 5]))
def test_what_python_pickles_is_read_bit_by_bit(arrays, protocol):
    same(load(pickle.dumps(arrays, protocol)), arrays)


@given(arrays_of_any_kind)
def test_what_we_write_numpy_1_reads_and_0d_entries_are_floats(arrays):
    raw = b"".join(dump(arrays))
    found = OldNumpy(io.BytesIO(raw)).load()
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert type(found[name]) is np.ndarray
        assert found[name].shape == array.shape
        if array.ndim:
            assert found[name].tobytes() == array.tobytes()
        else:
            assert found[name].dtype.kind == "f"
            assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()


def test_globals_we_write_are_exactly_those_of_numpy_1():
    raw = b"".join(dump(model()))
    names = {arg for op, arg, _ in pickletools.genops(raw) if op.name in ("GLOBAL", "STACK_GLOBAL")}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def test_what_numpy_1_pickles_is_read():
    same(load(pickled(model())), model())


def test_other_memory_orders_containers_and_scalars_are_read():
    array = np.arange(24.0).reshape(2, 3, 4)
    arrays = {"f": np.asfortranarray(array), "t": array.transpose(1, 0, 2), "s": array[:, ::2]}
    for protocol in (3, 4, 5):
        found = load(pickle.dumps(OrderedDict(arrays), protocol))
        for name, expected in arrays.items():
            assert np.array_equal(found[name], expected)
    scalar = load(pickle.dumps({"x": np.float32(3)}))["x"]
    assert (scalar.shape, scalar.dtype, scalar) == ((), np.float32, 3)
    assert load(pickle.dumps({"b": np.arange(3, dtype=">i4")}))["b"].tolist() == [0, 1, 2]


def test_reading_does_not_copy_data():
    raw = bytearray(pickle.dumps({"x": np.zeros(1000)}, 5))
    array = load(raw)["x"]
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))


class Calls:
    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


def array_of(shape, dtype=b"f4", data=b"", how=b"C"):
    """A pickled dict with one array in numpy 1's protocol 5 form, with any lie in it."""
    made = text("numpy") + text("dtype") + b"\x93" + text(dtype.decode()) + b"\x89\x88\x87R"
    sizes = b"(" + b"".join(map(integer, shape)) + b"t"
    return (
        b"\x80\x05}(" + text("x") + text("numpy.core.numeric") + text("_frombuffer") + b"\x93("
        b"\x96" + struct.pack("<Q", len(data)) + data + made + sizes + text(how.decode()) + b"tRu."
    )


def test_the_array_builder_of_these_tests_is_right():
    assert load(array_of((2,), data=bytes(8)))["x"].tolist() == [0, 0]


BOMBS = {
    "calls a function": pickle.dumps({"x": Calls(print, "hello")}),
    "calls os.system": b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R.",
    "calls eval": b"\x80\x04c__builtin__\neval\n\x8c\x011\x85R.",
    "calls through a nested name": b"\x80\x04\x8c\x05numpy\x8c\x0bos.system\x93\x8c\x01x\x85R.",
    "loads an object array": pickle.dumps({"x": np.array([None])}),
    "loads a record array": pickle.dumps({"x": np.zeros(1, [("a", "f4")])}),
    "loads text": pickle.dumps({"x": np.array(["text"])}),
    "loads complex numbers": pickle.dumps({"x": np.zeros(1, complex)}),
    "loads long doubles": pickle.dumps({"x": np.zeros(1, np.longdouble)}),
    "is a list": pickle.dumps([np.zeros(1)]),
    "holds a list": pickle.dumps({"x": [1.0, 2.0]}),
    "holds a number": pickle.dumps({"x": 1}),
    "holds None": pickle.dumps({"x": None}),
    "has a number as key": pickle.dumps({1: np.zeros(1)}),
    "has a tuple as key": pickle.dumps({(1,): np.zeros(1)}),
    "has a masked array": pickle.dumps({"x": np.ma.zeros(1)}),
    "has a subclass": pickle.dumps({"x": np.zeros((1, 1)).view(np.matrix)}),
    "builds an unfilled array": b"\x80\x04}\x8c\x01xcnumpy\nndarray\nJ\0\0\0\x40\x85Rs.",
    "leaves an array empty": (
        b"\x80\x04}\x8c\x01xcnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85C\x01b\x87Rs."
    ),
    "claims a large shape": array_of((2**30, 2**10), data=bytes(8)),
    "claims a shape whose product overflows": array_of((2**31 - 1,) * 8, data=bytes(8)),
    "claims zero times too much": array_of((0,) + (2**31 - 1,) * 8),
    "claims a negative size": array_of((-1, -2), data=bytes(8)),
    "claims 33 dimensions": array_of((1,) * 33, data=bytes(4)),
    "claims huge items": array_of((1,), b"V2000000000", bytes(4)),
    "claims objects": array_of((1,), b"O8", bytes(8)),
    "claims an order of its own": array_of((2,), data=bytes(8), how=b"Q"),
    "announces exabytes": b"\x80\x05}\x8c\x01x\x96" + struct.pack("<Q", 2**62) + b"data",
    "announces a long text": b"\x80\x05}X\xff\xff\xff\x7fabc",
    "uses a huge memo index": b"\x80\x04}r\xff\xff\xff\x7fj\xfe\xff\xff\x7f.",
    "doubles a tuple 60 times as a key": (b"\x80\x04}K\x01" + b"q\x00h\x00\x86" * 60 + b"Ns."),
    "doubles a tuple 60 times as a name": (
        b"\x80\x04K\x01" + b"q\x00h\x00\x86" * 60 + b"\x94\x8c\x01x\x93."
    ),
    "doubles a tuple 60 times as a dtype": (
        b"\x80\x04cnumpy\ndtype\nK\x01" + b"q\x00h\x00\x86" * 60 + b"\x89\x88\x87R."
    ),
    "permutes axes that it has not": (
        pickle.dumps({"x": np.zeros((2, 3, 4)).transpose(1, 0, 2)}, 5).replace(
            b"K\x01K\x00K\x02\x87", b"K\x01K\x01K\x02\x87"
        )
    ),
    "uses persistent ids": b"\x80\x04\x8c\x01xQ.",
    "uses the extension registry": b"\x80\x04\x82\x01.",
    "uses NEWOBJ": b"\x80\x04cnumpy\nndarray\n)\x81.",
    "sets attributes of a dict": b"\x80\x04}}b.",
    "is protocol 0": pickle.dumps({"x": 1.0}, 0),
    "has a newer protocol": b"\x80\x06}.",
    "pops an empty stack": b"\x80\x04s.",
    "pops through a mark": b"\x80\x04(s.",
    "has no mark": b"\x80\x04t.",
    "adds half an item": b"\x80\x04}(\x8c\x01xu.",
    "adds items to text": b"\x80\x04\x8c\x01x(u.",
    "never ends": b"\x80\x04}",
    "ends early": b"\x80\x04.",
    "goes on after its end": pickle.dumps({}) + b"x",
    "is empty": b"",
    "is no pickle": b"hello world",
    "has a text that is not UTF-8": b"\x80\x04\x8c\x02\xff\xff.",
    "has a number of 1000 bits": b"\x80\x04\x8a\x7d" + bytes(125) + b".",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.timeout(10)
def test_everything_else_is_refused(bomb, capfd):
    with pytest.raises(PickleError) as caught:
        load(bomb)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr().out == ""


def test_one_array_under_thousands_of_names_is_refused():
    array = np.zeros(100_000)
    with pytest.raises(PickleError, match="far larger"):
        load(pickle.dumps({str(n): array for n in range(1000)}))


def test_texts_encoded_again_and_again_are_refused():
    raw = b"\x80\x02c_codecs\nencode\nq\x01X\x10\x27\x00\x00" + b"x" * 10_000
    raw += b"q\x02X\x06\x00\x00\x00latin1\x86q\x02"
    with pytest.raises(PickleError, match="more bytes than it has"):
        load(raw + (b"h\x01h\x02R") * 1000 + b".")


@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_damaged_pickle_is_refused_or_read_but_does_no_harm(noise, at):
    raw = bytearray(pickled({"a": np.zeros(3, "f4"), "b": np.array(1)}))
    raw[at : at + len(noise)] = noise
    try:
        found = load(raw)
    except PickleError:
        return
    assert all(array.dtype.kind in "biuf" for array in found.values())
