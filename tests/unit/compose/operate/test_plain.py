"""Texts of others cannot do anything to the terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.operate.plain import line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]52;c;cm0gLXJmIH4=\x1b\\x", "x"),
        ("\x1bPdcs\x1b\\x", "x"),
        ("a\x1b[2K\x1b[1Ab", "ab"),
        ("\x9b2Jx", "x"),
        ("\x1bcx", "x"),
        ("ok\rFAIL", "ok\nFAIL"),
        ("a\r\nb", "a\nb"),
        ("a\x08b\x7f\x00c", "abc"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("\x1b]never ends\nnext", "never ends\nnext"),
        ("Zürich\t東京 ✓\n", "Zürich\t東京 ✓\n"),
    ],
)
def test_what_a_terminal_would_obey_is_gone(text: str, shown: str):
    assert plain(text) == shown


@given(st.text())
def test_nothing_is_left_and_nothing_new_arises(text: str):
    out = plain(text)
    assert not any((each < " " and each not in "\n\t") or "\x7f" <= each < "\xa0" for each in out)
    assert "\n" not in line(text)
