"""Builds a tree of a YAML text's values with their lines, and bounds what it may hold.

It is made of the parser's events, iteratively, so that nothing is constructed but text, numbers,
booleans, null, lists and mappings.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from yaml.resolver import Resolver

from services.common.errors import ConfigError

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = tuple[str | int, ...]
"""Keys and list positions (from 0) that lead to a value."""

LARGEST = 1024 * 1024
"""Bytes (UTF-8) of one text."""
DEEPEST = 32
"""Lists and mappings inside each other."""
MOST_VALUES = 100_000
"""Values and keys as they are written: about a second of work."""
_HEAVIEST = 2 * LARGEST
"""Characters and values of the whole tree with its aliases written out."""
_LONGEST_NUMBER = 40
"""Characters; a longer number is text. Python refuses to print integers of thousands of digits."""

_MERGE = "\0<<"
"""Stands for the plain key ``<<``; compared by identity."""
_BOOL = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_RESOLVER = Resolver()
_FLOAT = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass
class Node:
    """A value and where it stands."""

    value: Value
    line: int
    weight: int = 1
    """Of all that it holds."""
    parts: "dict[str | int, Node]" = field(default_factory=dict)
    merged: "list[Node]" = field(default_factory=list)
    """Mappings named by ``<<``; what the mapping says itself comes first."""
    key: str | None = None
    """While a mapping is read: the key whose value comes next."""
    anchor: str | None = None


class Builder:
    """Makes a tree of a parser's events."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._root: Node | None = None
        self._weight = 0
        self._values = 0

    def build(self, events: Iterator[Event]) -> Node:
        """Return the root; its value is None where the text holds nothing.

        Raises:
            ConfigError: something in it is refused; the message names the line.
        """
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise self._refused(line, "a second document begins here; one is allowed")
            elif isinstance(event, NodeEvent):
                self._take(event, line)
            elif isinstance(event, CollectionEndEvent):
                self._close()
        return self._root or Node(None, 1)

    def _take(self, event: NodeEvent, line: int) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._refused(line, f"more than {MOST_VALUES} values")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            top.key = self._key(event, top, line)
            return
        node = (
            self._alias(event, line) if isinstance(event, AliasEvent) else self._node(event, line)
        )
        if isinstance(event, SequenceStartEvent | MappingStartEvent):
            if len(self._stack) >= DEEPEST:
                raise self._refused(line, f"nested more than {DEEPEST} levels deep")
            self._weigh(1, line)
            self._stack.append(node)
            return
        self._weigh(node.weight, line)
        self._attach(node)

    def _node(self, event: NodeEvent, line: int) -> Node:
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self._refused(line, f"tags such as {tag[:40]} are not allowed; leave it out")
        if isinstance(event, SequenceStartEvent):
            return Node([], line, anchor=event.anchor)
        if isinstance(event, MappingStartEvent):
            return Node({}, line, anchor=event.anchor)
        assert isinstance(event, ScalarEvent)
        value = _scalar(event)
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            raise self._refused(line, "half a character (a surrogate) is not text")
        return Node(value, line, len(event.value) + 1, anchor=event.anchor)

    def _alias(self, event: AliasEvent, line: int) -> Node:
        name = event.anchor or ""
        known = self._anchors.get(name)
        if known is None:
            raise self._refused(line, f"*{name[:40]} refers to nothing complete above it")
        return Node(known.value, line, known.weight, known.parts)

    def _key(self, event: NodeEvent, mapping: Node, line: int) -> str:
        if not isinstance(event, ScalarEvent) or event.tag is not None:
            raise self._refused(line, "a key must be plain text")
        key = event.value
        self._weigh(len(key) + 1, line)
        mapping.weight += len(key) + 1
        if key == "<<" and event.implicit[0]:
            return _MERGE
        if key in mapping.parts:
            earlier = mapping.parts[key].line
            raise self._refused(line, f"the key {key[:60]!r} is in line {earlier} already")
        mapping.parts[key] = Node(None, line)
        return key

    def _attach(self, node: Node) -> None:
        if node.anchor is not None:
            self._anchors[node.anchor] = node
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.weight += node.weight
        if isinstance(top.value, list):
            top.parts[len(top.value)] = node
            top.value.append(node.value)
            return
        assert isinstance(top.value, dict)
        assert top.key is not None
        key, top.key = top.key, None
        if key is _MERGE:
            self._merge(top, node)
            return
        node.line = top.parts[key].line
        top.parts[key] = node
        top.value[key] = node.value

    def _merge(self, mapping: Node, node: Node) -> None:
        sources = list(node.parts.values()) if isinstance(node.value, list) else [node]
        if not all(isinstance(source.value, dict) for source in sources):
            raise self._refused(node.line, "<< takes in mappings only")
        mapping.merged.extend(sources)

    def _close(self) -> None:
        node = self._stack.pop()
        for source in node.merged:
            assert isinstance(node.value, dict)
            assert isinstance(source.value, dict)
            for key, value in source.value.items():
                if key not in node.value:
                    node.value[key] = value
                    node.parts[key] = source.parts[key]
        self._attach(node)

    def _weigh(self, more: int, line: int) -> None:
        self._weight += more
        if self._weight > _HEAVIEST:
            raise self._refused(line, "aliases make this too large; write less, or without them")

    def _refused(self, line: int, text: str) -> ConfigError:
        return ConfigError(f"{self._name}:{line}: {text}")


def _scalar(event: ScalarEvent) -> Value:
    text = event.value
    if not event.implicit[0] or len(text) > _LONGEST_NUMBER:
        return text
    tag = _tag_of(text)
    if tag == "null":
        return None
    if tag == "bool":
        return _BOOL[text.lower()]
    if tag in ("int", "float") and ":" not in text:
        return _number(text, tag)
    return text


def _tag_of(text: str) -> str:
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return str(tag).rpartition(":")[2]


def _number(text: str, tag: str) -> Value:
    plain = text.replace("_", "").lower()
    try:
        if tag == "float":
            return float(_FLOAT.get(plain, plain))
        digits = plain.lstrip("+-")
        return int(plain, 8 if digits.startswith("0") and digits[1:].isdigit() else 0)
    except ValueError:  # such as 0x_
        return text
