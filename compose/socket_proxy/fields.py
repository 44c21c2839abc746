"""Checks of JSON values: each takes a value and gives back what may be passed on.

A field that is not known is refused unless it holds its type's zero (``0``, ``""``, ``false``,
``null``, ``[]``, ``{}``), as the docker command sends for everything that was not asked for. Zeros
of unknown fields are left out, not passed on: an empty ``MaskedPaths`` would unmask /proc.
"""

import re
from collections.abc import Callable, Mapping

from compose.socket_proxy.refusal import Refused
from compose.socket_proxy.strict_json import Json

Check = Callable[[Json, str], Json]
"""(value, where it stands) -> the value to pass on; raises `Refused`."""

LONGEST_TEXT = 32 << 10
MOST_ENTRIES = 1000


def text(pattern: str = r"[^\x00]*") -> Check:
    """A string that matches as a whole."""
    compiled = re.compile(pattern, re.DOTALL)

    def check(value: Json, where: str) -> Json:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not compiled.fullmatch(value):
            raise Refused(f"{where} = {shown(value)} is not allowed")
        return value

    return check


def integer(least: int, most: int) -> Check:
    """A whole number."""

    def check(value: Json, where: str) -> Json:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Refused(f"{where} = {shown(value)} is not allowed")
        return value

    return check


def flag(value: Json, where: str) -> Json:
    """A truth value."""
    if not isinstance(value, bool):
        raise Refused(f"{where} = {shown(value)} is not allowed")
    return value


def items(check: Check) -> Check:
    """A list of such."""

    def check_all(value: Json, where: str) -> Json:
        if not isinstance(value, list) or len(value) > MOST_ENTRIES:
            raise Refused(f"{where} must be a list")
        return [check(item, f"{where}[{index}]") for index, item in enumerate(value)]

    return check_all


def mapping(name: str, check: Check) -> Check:
    """An object whose names match a pattern and whose values are such."""
    check_name = text(name)

    def check_all(value: Json, where: str) -> Json:
        if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
            raise Refused(f"{where} must be an object")
        return {
            check_name(key, where): check(item, f"{where}.{key}") for key, item in value.items()
        }

    return check_all


def record(known: Mapping[str, Check]) -> Check:
    """An object with these fields and no others."""

    def check_all(value: Json, where: str) -> Json:
        if not isinstance(value, dict):
            raise Refused(f"{where} must be an object")
        passed = {}
        for name, item in value.items():
            path = f"{where}.{name}" if where else name
            if name not in known:
                if not _is_zero(item):
                    raise Refused(f"{path} is not allowed")
            elif item is not None:
                passed[name] = known[name](item, path)
        return passed

    return check_all


def empty(value: Json, where: str) -> Json:
    """Nothing."""
    if not _is_zero(value):
        raise Refused(f"{where} is not allowed")
    return {}


def _is_zero(value: Json) -> bool:
    return value is None or value in (0, "", [], {})


def shown(value: Json) -> str:
    """A value in a refusal: bounded, one line."""
    return ascii(value)[:80]
