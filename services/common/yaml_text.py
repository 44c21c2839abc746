"""YAML from outside, read safely, with the line that each value stands in.

A text can neither nest too deep nor grow by aliases. Differences from what PyYAML's ``safe_load``
gives, all of them our choice:

* tags (``!!python/...``, ``!!str``) and keys that occur twice are refused;
* keys are always the text that was written: ``NO: 1`` names ``NO``, not ``False``;
* dates, and numbers in base 60 such as ``12:30``, stay text.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.events import Event

from services.common.errors import ConfigError
from services.common.yaml_tree import LARGEST, Builder, Node, Path, Value

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A YAML text, parsed."""

    name: str
    """File name, or what else to call it in messages."""
    value: Value
    _root: Node

    def line_of(self, path: Path) -> int:
        """Return the line (from 1) of a value, or of what is nearest around it if it is missing."""
        node = self._root
        for part in path:
            if part not in node.parts:
                break
            node = node.parts[part]
        return node.line

    def error(self, path: Path, text: str) -> ConfigError:
        """Return an error that names file, line and field."""
        return ConfigError(self.place(path) + text)

    def place(self, path: Path) -> str:
        """Return ``file:line: field: ``, to begin a message with."""
        where = f"{self.name}:{self.line_of(path)}: "
        return f"{where}{dotted(path)}: " if path else where


def dotted(path: Path) -> str:
    """Return a path as people write it: ``Body.SharedContent[0].MType``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def decode(raw: bytes, name: str) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: it is too large, or not UTF-8.
    """
    if len(raw) > LARGEST:
        raise ConfigError(f"{name}: larger than {LARGEST} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{name}:{line}: this is not UTF-8 text; save the file as UTF-8") from exc


def load(text: str, name: str) -> Document:
    """Parse one YAML document.

    Args:
        text: the YAML.
        name: what to call it in messages, such as its file name.

    Raises:
        ConfigError: it is no YAML, or holds what is refused here; the message names the line.
    """
    if len(text.encode("utf-8", "replace")) > LARGEST:
        raise ConfigError(f"{name}: larger than {LARGEST} bytes")
    root = Builder(name).build(_events(text, name))
    return Document(name, root.value, root)


def _events(text: str, name: str) -> Iterator[Event]:
    try:
        yield from yaml.parse(text, Loader=_PARSER)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: not YAML: {exc.problem or exc.context}") from exc
    except (yaml.YAMLError, UnicodeError) as exc:
        raise ConfigError(f"{name}: holds characters that YAML does not allow") from exc
