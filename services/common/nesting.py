"""How deep JSON is nested, found without parsing it.

Python's JSON parser recurses in C, guarded by the recursion limit only, and py-evm raises that
limit to 100,000 for the whole process. So a request of 500,000 ``[`` would end an SN with a
segmentation fault; it has to be refused before anything parses it.
"""

import re

DEEPEST = 32
"""Levels that any text of ours stays far below."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")


def is_too_deep(text: bytes, deepest: int = DEEPEST) -> bool:
    """Whether JSON opens more than ``deepest`` arrays and objects inside each other.

    Text that is not JSON is judged up to its first mistake, where a parser stops anyway.
    """
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", text)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > deepest:
            return True
    return False
