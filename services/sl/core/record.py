"""Events, commands and the round machine itself as JSON values, and back: what a journal holds.

Every object is written under its own name (``{"_": "MlAsked", "seq": 1, ...}``), so that a new
event, command or field needs nothing here. Only the classes of the modules below can be read:
a journal is data, never a program. No weights occur in it, because none occur in an event.
"""

import dataclasses
import math
from enum import Enum
from typing import Any

from pydantic import BaseModel, ValidationError

from services.common import sn_api
from services.common.errors import ProtocolError
from services.sl.core import ending, events, giving_up, request
from services.sl.core import round as rounds

MODULES = (events, rounds, request, ending, giving_up, sn_api)
"""Where the classes of a journal's objects are found."""
KIND = "_"
"""Key of an object's class."""


def to_json(value: object) -> Any:  # noqa: ANN401 - whatever json.dumps takes
    """An event, a command, or anything that a round machine remembers, as a JSON value.

    Tuples become arrays; floats may be infinite or not a number.

    Raises:
        TypeError: it is of a class that a journal cannot hold; a bug of ours.
    """
    match value:
        case Enum():
            return {KIND: type(value).__name__, "value": value.value}
        case tuple():
            return [to_json(item) for item in value]
        case dict():
            return {KIND: "dict", "items": [[to_json(k), to_json(v)] for k, v in value.items()]}
        case BaseModel():
            return {KIND: type(value).__name__, **value.model_dump(mode="json")}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return _object(value)


def from_json(value: Any) -> Any:  # noqa: ANN401 - whatever json.loads gives
    """The reverse of :func:`to_json`.

    Raises:
        ProtocolError: no object of ours is written like this.
    """
    match value:
        case list():
            return tuple(from_json(item) for item in value)
        case float() if math.isnan(value):
            return math.nan  # always the same one, as within one process: NaN equals only itself
        case {"_": "dict", "items": list(items)}:
            return {from_json(key): from_json(item) for key, item in items}
        case dict():
            return _made(value)
        case _:
            return value


def _object(value: object) -> dict[str, Any]:
    kind = _class(type(value).__name__)
    if dataclasses.is_dataclass(kind):
        names = [each.name for each in dataclasses.fields(kind)]
        fields = {name: getattr(value, name) for name in names}
    else:
        fields = vars(value)
    return {KIND: kind.__name__, **{name: to_json(item) for name, item in fields.items()}}


def _made(value: dict[str, Any]) -> object:
    name = str(value.get(KIND))
    fields = {key: item for key, item in value.items() if key != KIND}
    try:
        kind = _class(name)
        if issubclass(kind, Enum):
            return kind(fields["value"])
        if issubclass(kind, BaseModel):
            return kind.model_validate(_same_nan(fields))
        values = {key: from_json(item) for key, item in fields.items()}
        if dataclasses.is_dataclass(kind):
            return kind(**values)
    except (ValidationError, ValueError, TypeError, KeyError) as exc:
        raise ProtocolError(f"this is no {name} of this version: {exc}") from exc
    made = object.__new__(kind)
    vars(made).update(values)
    return made


def _same_nan(value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case dict():
            return {key: _same_nan(item) for key, item in value.items()}
        case list():
            return [_same_nan(item) for item in value]
        case float() if math.isnan(value):
            return math.nan
        case _:
            return value


def _class(name: str) -> type:
    for module in MODULES:
        found = vars(module).get(name)
        if isinstance(found, type):
            return found
    raise TypeError(f"a journal knows no class {name}")
