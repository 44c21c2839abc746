"""JSON that means the same to Python and to Go.

Go matches the names of fields without regard to case and takes the last of two; Python keeps them
apart. So a name may occur once, in whatever case. What is passed on is written anew (`dumps`).
"""

import json
from typing import Any, NoReturn

from compose.socket_proxy.refusal import Refused, malformed
from services.common.nesting import is_too_deep

Json = Any
"""A JSON value; nobody knows what it is before a check of `fields.py` has looked."""


def loads(text: bytes | str, where: str) -> Json:
    """Parse it.

    Args:
        text: UTF-8 where it is bytes.
        where: what it is, for the refusal.

    Raises:
        Refused: it is not JSON, names something twice, or holds text that is not Unicode.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        if is_too_deep(decoded.encode("utf-8")):
            raise malformed(f"{where} is nested too deep")
        value = json.loads(decoded, object_pairs_hook=_once, parse_constant=_no_constant)
        dumps(value).encode("utf-8")  # fails where half of a surrogate pair is hidden in an escape
    except Refused:
        raise
    except ValueError as error:
        raise malformed(f"{where} is no JSON") from error
    return value


def dumps(value: Json) -> str:
    """Write it, each name once and exactly as it was checked."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = {name.casefold() for name, _ in pairs}
    if len(names) != len(pairs):
        raise Refused("a name occurs twice in the JSON")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise malformed(f"{name} in JSON")
