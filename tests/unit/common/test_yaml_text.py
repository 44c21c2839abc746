import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.common.yaml_text import decode, dotted, load


def value(text):
    return load(text, "x.yaml").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# only a comment", None),
        ("a: ~\nb: null\nc:\n", {"a": None, "b": None, "c": None}),
        ("[True, yes, Off, 'no']", [True, True, False, "no"]),
        ("[1, -2, 0x1F, 017, 0b11, 1_000]", [1, -2, 31, 15, 3, 1000]),
        ("[1.5, 1.0e+3, -.inf, 1e3]", [1.5, 1000.0, -math.inf, "1e3"]),
        ("[12:30, 2021-01-02, 0x_, 1:30.5]", ["12:30", "2021-01-02", "0x_", "1:30.5"]),
        ("NO: a\n1: b\n~: c", {"NO": "a", "1": "b", "~": "c"}),
        ('[A : "user1", B: \'n1\', "C": 2, ]', [{"A": "user1"}, {"B": "n1"}, {"C": 2}]),
        ("- ' '\n- >\n  a\n  b\n- |\n  a\n  b\n", [" ", "a b\n", "a\nb\n"]),
        ("---\na: 1\n...\n", {"a": 1}),
        ("\ufeffa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: &x {b: 1}\nd: {<<: [*x, {e: 2}]}", {"a": {"b": 1}, "d": {"b": 1, "e": 2}}),
        ("'<<': 1", {"<<": 1}),
        ("a: &a {b: 1}\nc: {'<<': 2, <<: *a}", {"a": {"b": 1}, "c": {"<<": 2, "b": 1}}),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 'x\n", 3, "not YAML"),
        ("a:\n\t- b", 2, "not YAML"),
        ("a: 1\na: 2", 2, "'a' is in line 1 already"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("\na: !!python/object/apply:os.system [x]", 2, "tags such as tag:yaml.org,2002:python"),
        ("!!str a", 1, "tags"),
        ("a: !mine x", 1, "tags"),
        ("!!str a: b", 1, "a key must be plain text"),
        ("? [a]\n: b", 1, "a key must be plain text"),
        ("? *a\n: b", 1, "a key must be plain text"),
        ("a: *b", 1, "*b refers to nothing complete"),
        ("a: 1\nb: &b [*b]", 2, "*b refers to nothing complete"),
        ("a: {<<: [1]}", 1, "<< takes in mappings only"),
        ("a:\n " + "[" * 40 + "]" * 40, 2, "nested more than 32 levels deep"),
        ("[" * 500_000, 1, "nested more than 32 levels deep"),
        ("{a: " * 200_000, 1, "nested more than 32 levels deep"),
        ("".join(f"{'- ' * n}a\n" for n in range(1, 9)) + "- " * 9000 + "a", 9, "levels deep"),
    ],
    ids=range(17),
)
def test_refusals_name_the_line(text, line, words):
    with pytest.raises(ConfigError) as caught:
        value(text)
    assert str(caught.value).startswith(f"x.yaml:{line}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["a: \x00", "\ud800", "a\x07b"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ConfigError, match=r"x\.yaml: holds characters that YAML does not allow"):
        value(text)


def test_half_a_character_is_refused():
    with pytest.raises(ConfigError, match=r"x\.yaml:1: "):
        value('"\\ud800"')


LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
LONG = "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 1000 + "]"
MERGES = "a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\n" + "".join(
    f"b{n}: {{<<: *a0}}\n" for n in range(2000)
)  # fmt: skip


@pytest.mark.parametrize("text", [LAUGHS, LONG, MERGES], ids=["laughs", "long", "merges"])
def test_aliases_cannot_make_it_grow(text):
    with pytest.raises(ConfigError, match="aliases make this too large"):
        value(text)


def test_size_is_limited():
    fits = "# " + "x" * (1024 * 1024 - 2)
    assert value(fits) is None
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        value(fits + "x")
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        value("é" * 600_000)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        decode(b"x" * (1024 * 1024 + 1), "x.yaml")


def test_values_are_limited():
    assert len(value("[" + "a," * 99_999 + "]")) == 99_999
    with pytest.raises(ConfigError, match=r"x\.yaml:100000: more than 100000 values"):
        value("- a\n" * 262_000)


@pytest.mark.parametrize(
    "text", ["a: " + "x " * 500_000, "- a\n" * 99_000, "# x\n" * 262_000], ids=range(3)
)
def test_the_largest_texts_take_seconds_at_most(text):
    begun = time.process_time()
    value(text)
    assert time.process_time() - begun < 10


def test_lines_of_values():
    document = load(
        "\na:\n  - b: 1\n\n  - c: >\n      x\n      y\n  - d\nm: &m {e: 1}\nn: *m\n", "f"
    )
    lines = {
        (): 2,
        ("a",): 2,
        ("a", 0, "b"): 3,
        ("a", 1, "c"): 5,
        ("a", 2): 8,
        ("n",): 10,
        ("a", 1, "missing", 3): 5,
        ("nothing",): 2,
    }
    assert {path: document.line_of(path) for path in lines} == lines


def test_an_error_names_file_line_and_field():
    document = load("a:\n- b: 1\n", "f.yaml")
    assert document.place(("a", 0, "b")) == "f.yaml:2: a[0].b: "
    assert document.place(()) == "f.yaml:1: "
    assert dotted((0, "a")) == "[0].a"


def test_what_is_not_utf8_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"x\.yaml:2: this is not UTF-8"):
        decode("a: 1\nb: \xe9".encode("latin-1"), "x.yaml")
    assert decode("\ufeffa: é".encode(), "x.yaml") == "a: é"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_same_as_safe_load(data):
    assert value(yaml.safe_dump(data)) == data


@given(st.text(alphabet=" \n-:[]{}&*!|>'\"#%@`,?a1~<\t", max_size=60))
def test_any_text_is_parsed_or_refused(text):
    try:
        document = load(text, "x")
    except ConfigError:
        return
    assert document.line_of(()) >= 1
