"""Finds the merge methods that an operator names in ``SL_MERGE_METHODS``."""

import importlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from services.common.errors import ConfigError
from services.sl.core.method import MethodError
from services.sl.core.methods import METHODS, Factory, OwnMethod

_NAME = re.compile(r"x-[a-z0-9_-]{1,29}")
_PLACE = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def load_methods(setting: str) -> Mapping[str, Factory]:
    """Our merge methods and those of ``SL_MERGE_METHODS``; imports their modules.

    Args:
        setting: ``x-name=module:Class, ...``; may be empty.

    Raises:
        ConfigError: an entry is malformed, its module cannot be imported, or what it names cannot
            be called without arguments and give something that can be called.
    """
    methods = dict(METHODS)
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        name, equals, place = (part.strip() for part in entry.partition("="))
        if not equals or _PLACE.fullmatch(place) is None:
            raise _problem(entry, "must be of the form x-name=module:Class")
        if _NAME.fullmatch(name) is None:
            raise _problem(
                entry,
                "the name must be x- and up to 29 lower-case letters, digits, '-' or '_': only "
                "such names are never ours",
            )
        if name in methods:
            raise _problem(entry, f"there is already a method {name}")
        factory = partial(OwnMethod, name, _found(entry, place))
        try:
            factory()
        except MethodError as exc:
            raise _problem(entry, str(exc)) from exc
        methods[name] = factory
    return methods


def _found(entry: str, place: str) -> Callable[[], Any]:
    module_name, _, path = place.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as exc:
        raise _problem(
            entry,
            f"cannot import {module_name} ({type(exc).__name__}: {exc}); is its folder in "
            f"PYTHONPATH?",
        ) from exc
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as exc:
            raise _problem(entry, f"{module_name} has no {path}") from exc
    if not callable(found):
        raise _problem(entry, f"{place} is not a class or function")
    return found  # type: ignore[no-any-return]


def _problem(entry: str, what: str) -> ConfigError:
    return ConfigError(f"SL_MERGE_METHODS: {entry!r}: {what}")
