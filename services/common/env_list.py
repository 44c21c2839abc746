"""Environment lists of tasks and profiles: ``- NAME: value``, block or flow form."""

from services.common.yaml_tree import Value

Env = tuple[tuple[str, str], ...]
"""Names and values, in the order of the file; each name once, with its last value."""


def env_of(value: Value) -> Env:
    """Return the variables of a list that the schema has accepted; nothing is an empty list."""
    assert value is None or isinstance(value, list)
    env: dict[str, str] = {}
    for item in value or []:
        assert isinstance(item, dict)
        env |= {name: text_of(each) for name, each in item.items()}
    return tuple(env.items())


def text_of(value: Value) -> str:
    """Return a value as HPE's Python code would print it: ``True``, ``2``; nothing is empty text.

    Programs compare with the exact text ``True`` (``compat/04`` 1.4).
    """
    assert not isinstance(value, list | dict)
    return "" if value is None else str(value)
