"""Merge methods of users: found by name, refused with a reason, never able to harm in silence."""

import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from services.common.errors import ConfigError
from services.sl.adapters.own_methods import load_methods
from services.sl.core.items import FLOATS
from services.sl.core.merge import merge
from services.sl.core.method import MethodError, Piece
from services.sl.core.methods import METHODS, method_named
from swarmlearning.wire.tensors import DTYPES, arrange

LAYOUT = arrange([("w", "F32", (4,)), ("n", "I64", ())])
MODULE = """
    import numpy as np
    from services.sl.core.method import InputError

    class Largest:
        '''The items of the input with the largest weightage.'''
        def __call__(self, piece, out):
            out[:] = piece.rows[int(np.argmax(piece.weights))]

    class HalfWay:
        '''Half the way from the base to the input that changed most; looks at all first.'''
        uses_base = True

        def __init__(self):
            self.moved = 0

        def survey(self, piece):
            self.moved = self.moved + np.array([np.abs(r - piece.base).sum() for r in piece.rows])

        def __call__(self, piece, out):
            out[:] = (piece.base + piece.rows[int(self.moved.argmax())]) / 2

    class NotANumber:
        def __call__(self, piece, out):
            out[:] = np.nan if out.dtype.kind == "f" else 0

    class Broken:
        def __call__(self, piece, out):
            raise KeyError("gone")

    class Scribbler:
        def __call__(self, piece, out):
            piece.rows[0][:] = 0

    class Returns:
        def __call__(self, piece, out):
            return piece.rows[0]

    class Forgets:
        def __call__(self, piece, out):
            out[:-1] = 1

    class Blames:
        def __call__(self, piece, out):
            raise InputError(7, "the seventh is bad")

    class NeedsArguments:
        def __init__(self, depth): ...

    class MakesNothing: ...

    VALUE = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "hospital_merging.py").write_text(dedent(MODULE))
    (tmp_path / "hospital_broken.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "hospital_merging"
    sys.modules.pop("hospital_merging", None)


def merged(methods, name, models=((1, 2, 3, 4, 5), (5, 6, 7, 8, 9)), weightages=(1, 2), base=None):
    def section(values):
        whole = np.zeros(LAYOUT.data_size, np.uint8)
        for tensor in LAYOUT.tensors:
            part = values[4] if tensor.name == "n" else values[:4]
            whole[tensor.begin : tensor.end].view(tensor.numpy)[:] = part
        whole.flags.writeable = False
        return whole.data

    out = bytearray(LAYOUT.data_size)
    beneath = None if base is None else section(base)
    merge(name, LAYOUT, [section(m) for m in models], weightages, out, beneath, methods=methods)
    found = {t.name: np.frombuffer(out, t.numpy, t.count, t.begin).tolist() for t in LAYOUT.tensors}
    return found["w"], found["n"]


def test_a_method_of_the_users_merges(module):
    methods = load_methods(f" x-largest = {module}:Largest ,x-half={module}:HalfWay,")
    assert merged(methods, "x-largest") == ([5, 6, 7, 8], [9])
    assert merged(methods, "x-half", base=(1, 2, 3, 4, 1)) == ([3, 4, 5, 6], [5])
    assert merged(methods, "mean", weightages=(1, 1)) == ([3, 4, 5, 6], [7])


def test_without_the_setting_there_are_ours():
    assert load_methods("") == METHODS


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("x-a", "must be of the form x-name=module:Class"),
        ("x-a=hospital_merging", "must be of the form x-name=module:Class"),
        ("x-a=/tmp/evil.py:f", "must be of the form x-name=module:Class"),
        ("mine=hospital_merging:Largest", "the name must be x- and up to 29"),
        ("mean=hospital_merging:Largest", "the name must be x- and up to 29"),
        ("X-A=hospital_merging:Largest", "the name must be x- and up to 29"),
        (f"x-{'a' * 30}=hospital_merging:Largest", "the name must be x- and up to 29"),
        (
            "x-a=hospital_merging:Largest,x-a=hospital_merging:HalfWay",
            "there is already a method x-a",
        ),
        ("x-a=no_such_module:F", "cannot import no_such_module"),
        ("x-a=hospital_broken:F", "cannot import hospital_broken (ModuleNotFoundError"),
        ("x-a=hospital_merging:Missing", "hospital_merging has no Missing"),
        ("x-a=hospital_merging:VALUE", "hospital_merging:VALUE is not a class or function"),
        ("x-a=hospital_merging:NeedsArguments", "missing 1 required positional argument"),
        ("x-a=hospital_merging:MakesNothing", "what it makes cannot be called"),
    ],
)
@pytest.mark.usefixtures("module")
def test_a_bad_setting_is_refused_with_the_entry_and_the_reason(setting, words):
    with pytest.raises(ConfigError) as caught:
        load_methods(setting)
    assert str(caught.value).startswith("SL_MERGE_METHODS: '")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotANumber", "merge method x-a gave values that are not finite"),
        ("Broken", "merge method x-a failed: KeyError: 'gone'"),
        ("Returns", r"merge method x-a returned a ndarray: it must write .* \(out\[:\] = "),
        ("Forgets", "merge method x-a gave values that are not finite, or left some unwritten"),
        ("Blames", "merge method x-a blames input 7 of 2"),
        ("Scribbler", "merge method x-a failed: ValueError: assignment destination is read-only"),
    ],
)
def test_what_a_method_does_wrong_is_said_with_its_name(module, name, words):
    methods = load_methods(f"x-a={module}:{name}")
    with pytest.raises(MethodError, match=words):
        merged(methods, "x-a")


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64", "I64", "BOOL"])
def test_what_a_method_leaves_unwritten_is_not_what_was_there_before(module, dtype):
    method = load_methods(f"x-a={module}:Forgets")["x-a"]()
    out = np.ones(4, DTYPES[dtype])
    piece = Piece(dtype, [np.zeros(4, DTYPES[dtype])] * 2, [1, 1])
    if dtype in FLOATS:
        with pytest.raises(MethodError, match="left some unwritten"):
            method(piece, out)
    else:
        method(piece, out)
        assert out.tolist() == [1, 1, 1, 0]


def test_a_method_that_this_sl_lacks_is_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"'x-mine'; known: .*mean.*SL_MERGE_METHODS of each SL"):
        method_named("x-mine")


def test_the_example_of_the_documentation_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "merging.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "documented_merging.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    methods = load_methods("x-trimmed=documented_merging:Trimmed")
    models = [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1), (2, 2, 2, 2, 2), (3, 3, 3, 3, 3), (99, 0, 0, 0, 99)]
    assert merged(methods, "x-trimmed", models, [1] * 5) == ([2, 1, 1, 1], [2])
