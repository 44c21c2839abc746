"""How deep JSON is nested, found without parsing it.

Python's JSON parser recurses in C, guarded by the recursion limit only, and py-evm raises that
limit to 100,000 for the whole process. So a request of 500,000 ``[`` would end an SN with a
segmentation fault; it has to be refused before anything parses it.
"""

import re

DEEPEST = 32
"""Levels that any text of ours stays far below."""

_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*(?:"|\\?\Z)|[][{}]', re.DOTALL)
"""A string, or what is left of one that never ends, or a bracket. Once begun, a string always
matches, so that no text is looked at twice."""


def is_too_deep(text: bytes, deepest: int = DEEPEST) -> bool:
    """Whether JSON opens more than ``deepest`` arrays and objects inside each other.

    Text that is not JSON is judged up to its first mistake, where a parser stops anyway.
    """
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in _OPENING:
            depth += 1
        elif token[0] in _CLOSING:
            depth -= 1
        if depth > deepest:
            return True
    return False
