"""Reads the fields of a mapping that a schema has accepted already; nothing is as if missing."""

from collections.abc import Mapping

from services.common.yaml_tree import Value


class Fields:
    """A mapping's fields, by type. A type that the schema would have refused is a bug."""

    def __init__(self, value: Value) -> None:
        assert value is None or isinstance(value, dict)
        self.value: Mapping[str, Value] = value or {}

    def text(self, key: str) -> str:
        """Return a required text."""
        value = self.value[key]
        assert isinstance(value, str)
        return value

    def optional(self, key: str) -> str | None:
        """Return a text, or None."""
        value = self.value.get(key)
        assert value is None or isinstance(value, str)
        return value

    def number(self, key: str) -> int | None:
        """Return a whole number, or None."""
        value = self.value.get(key)
        assert value is None or isinstance(value, int | float)
        return None if value is None else int(value)

    def listed(self, key: str) -> list[Value]:
        """Return a list; empty where nothing is given."""
        value = self.value.get(key)
        assert value is None or isinstance(value, list)
        return value or []

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list's items as texts."""
        return tuple(str(item) for item in self.listed(key))

    def inner(self, key: str) -> "Fields":
        """Return the fields of a mapping inside; none where nothing is given."""
        return Fields(self.value.get(key))
