"""How deep JSON is nested, found without parsing it.

Parsing it could overflow the stack: Python's parser recurses in C, guarded only by a recursion
limit that the user's program may have raised.
"""

import re

_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*(?:"|\\?\Z)|[][{}]', re.DOTALL)
"""A string, or what is left of one that never ends, or a bracket."""


def is_too_deep(text: bytes, deepest: int) -> bool:
    """Whether JSON opens more than ``deepest`` arrays and objects inside each other."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > deepest:
            return True
    return False
