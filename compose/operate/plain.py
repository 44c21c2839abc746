"""Texts of others without what a terminal would obey; pure.

Names, logs and answers of other machines go to an administrator's terminal. Escape sequences in
them could hide lines, set its title or clipboard, or turn a text around.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, the cursor, erasing
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\\\|\x9c)"  # titles...
    "|\x1b[ -/]*[0-~]"
)
_END = re.compile("\r+\n|\r")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def plain(text: str) -> str:
    """A text in which every character is seen; of control characters newlines and tabs stay.

    Args:
        text: by whomever.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _END.sub("\n", _SEQUENCE.sub("", text))
    return _INVISIBLE.sub("", text)


def line(text: str) -> str:
    """The same in one line."""
    return " ".join(plain(text).split())
