import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.nesting import is_too_deep


@pytest.mark.parametrize(
    "text",
    [b"[" * 500_000, b'{"a":' * 33, b'["]",' * 33, b'["\\"]",' * 33, b'"]]]]" ' + b"[" * 33],
)
def test_deep_text_is_found(text):
    assert is_too_deep(text)


@pytest.mark.parametrize("text", [b"", b"[]" * 1000, b'"' + b"[" * 100 + b'"', b"[" * 32, b"]" * 9])
def test_flat_text_passes(text):
    assert not is_too_deep(text)


@pytest.mark.parametrize(
    "text", [b'"\\"' * 300_000, b'"\\"' * 300_000 + b"\\", b'"' * 900_001, b'["' + b"\\" * 900_001]
)
def test_time_grows_with_the_length_only(text):
    """A pattern that gave up on a string would begin anew at each of its quotes: for hours."""
    assert not is_too_deep(text)


JSON = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def depth(value):
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.booleans())
def test_agrees_with_a_parser(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert is_too_deep(text, depth(value)) is False
    if depth(value):
        assert is_too_deep(text, depth(value) - 1) is True
