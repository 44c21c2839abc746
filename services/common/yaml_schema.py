"""Checks a YAML document with a JSON Schema, and says in plain words what is wrong, and where."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from itertools import islice
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from services.common.errors import ConfigError
from services.common.yaml_text import Document
from services.common.yaml_tree import Path, Value

MOST_PROBLEMS = 20
"""That one message lists."""
_MOST_FOUND = 100
_LONGEST_SHOWN = 60

_KINDS = {
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a value."""

    path: Path
    text: str
    unknown_key: bool = False
    """Whether it is only a key that nobody reads."""


def load(package: str, file: str) -> Draft202012Validator:
    """Read a schema that is a file of one of our packages."""
    schema = json.loads(resources.files(package).joinpath(file).read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def definition(schema: Draft202012Validator, name: str, key: str | None) -> Draft202012Validator:
    """Return one of a schema's ``$defs`` as a schema, for a document or for one key of it."""
    assert isinstance(schema.schema, Mapping)
    part: dict[str, object] = {"$ref": f"#/$defs/{name}"}
    if key is not None:
        part = {"properties": {key: part}}
    return Draft202012Validator({**part, "$defs": schema.schema["$defs"]})


def check(document: Document, schema: Draft202012Validator) -> list[Problem]:
    """Return what is wrong with a document.

    Returns:
        All if it is little; else some hundred unknown keys and some hundred other problems.
    """
    wrong: dict[Problem, None] = {}
    unknown: dict[Problem, None] = {}
    for error in schema.iter_errors(document.value):
        for problem in _problems(error):
            if not problem.unknown_key:
                wrong[problem] = None
            elif len(unknown) < _MOST_FOUND:
                unknown[problem] = None
        if len(wrong) >= _MOST_FOUND:
            break
    return [*wrong, *unknown]


def told(document: Document, problems: Sequence[Problem]) -> list[str]:
    """Return one line for each problem: ``file:line: field: what is wrong``."""
    return [document.place(problem.path) + problem.text for problem in problems]


def refuse(document: Document, problems: Sequence[Problem]) -> None:
    """Raise an error that lists the problems, where there are any.

    Raises:
        ConfigError: one line for each of the first problems.
    """
    ordered = sorted(problems, key=lambda problem: document.line_of(problem.path))
    lines = told(document, ordered[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"... and {len(problems) - MOST_PROBLEMS} more")
    if lines:
        raise ConfigError("\n".join(lines))


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean X?`` where a known word is close to this one, else nothing."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower()[:80], by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _problems(error: ValidationError) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    keyword, wanted, value, schema = (
        cast("Any", part)
        for part in (error.validator, error.validator_value, error.instance, error.schema)
    )
    say = _SAY.get(keyword)
    if keyword == "required":
        for key in wanted:
            if key not in value:
                yield Problem((*path, key), "missing; " + _expected_of(schema, key))
    elif keyword == "additionalProperties":
        known = list(schema["properties"])
        for key in islice((key for key in value if key not in known), MOST_PROBLEMS):
            text = "nobody knows this key" + suggestion(key, known)
            yield Problem((*path, key), text, unknown_key=True)
    elif say is not None:
        yield Problem(path, say(value, wanted))
    else:
        yield Problem(path, f"{shown(value)} does not fit; {_expected(schema)}")


def _expected_of(schema: Any, key: str) -> str:  # noqa: ANN401 - a JSON Schema
    return _expected(schema.get("properties", {}).get(key, {}))


def _expected(schema: Any) -> str:  # noqa: ANN401 - a JSON Schema
    if "enum" in schema:
        return "expected one of " + _listed(schema["enum"])
    if "description" in schema:
        return f"expected: {schema['description']}"
    return f"expected {_kinds(schema['type'])}" if "type" in schema else "it must be given"


def _kinds(wanted: str | list[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    return " or ".join(_KINDS[name] for name in names)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values if value is not None)


def _wrong_type(value: Value, wanted: str | list[str]) -> str:
    expected = f"expected {_kinds(wanted)}"
    if value is None:
        return f"nothing is given; {expected}"
    kind = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else ""
    if kind == "a mapping" and "string" in wanted:
        return f"is a mapping; {expected}: put text that holds ': ' in quotes"
    if kind:
        return f"is {kind}; {expected}"
    if "string" in wanted and not isinstance(value, str):
        return f"{shown(value)} is not text; put it in quotes"
    return f"{shown(value)} is not {_kinds(wanted)}"


_SAY: dict[str, Callable[[Any, Any], str]] = {
    "type": _wrong_type,
    "enum": lambda value, allowed: f"{shown(value)} is not one of {_listed(allowed)}",
    "minLength": lambda value, least: (
        f"{shown(value)} is too short; at least {least} characters" if value else "is empty"
    ),
    "maxLength": lambda value, most: f"has {len(value)} characters; at most {most} are allowed",
    "minItems": lambda value, least: f"has {len(value)} items; at least {least} needed",
    "maxItems": lambda value, most: f"has {len(value)} items; at most {most} are allowed",
    "minimum": lambda value, least: f"{shown(value)} is less than {least}",
    "maximum": lambda value, most: f"{shown(value)} is more than {most}",
}
