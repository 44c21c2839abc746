"""Takes secrets out of texts and JSON values before they go into an archive; pure.

What goes: PEM blocks, whole or torn; values of fields, options and variables whose names speak of
secrets; credentials in URLs; cookies and Authorization headers; the license server's setup code;
base64 that looks like a key; and whatever the caller has told (:meth:`Redactor.learn`), wherever it
stands. In doubt it removes too much. Digests and addresses (hexadecimal) and file names stay.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import urllib.parse
from collections import Counter
from typing import Callable, Iterable, Iterator, Mapping, Match

from compose.operate.collect_fields import redact_line, remainder_is_block
from compose.operate.collect_names import blobs, is_file_name, is_secret_name
from compose.operate.collect_rules import MARK, RULES
from compose.operate.plain import plain

_PAIR = 2
"""Name and value, as a list."""
SHORTEST_KNOWN = 6
"""Characters that a secret must have to be looked for everywhere; shorter ones are in any word."""
_COMMON = frozenset(["true", "false", "none", "null", "required", "optional", "disabled"])
LONGEST_PEM = 30_000
_PEM = re.compile(
    rf"-----BEGIN ([A-Z0-9 ]{{1,40}})-----.{{0,{LONGEST_PEM}}}?-----END \1-----", re.DOTALL
)
_WRITTEN = re.compile(r"\\+(?:u001b|x1b|033|e)\[[0-?]*[ -/]*[@-~]", re.IGNORECASE)
"""An escape sequence as JSON and programs write it."""
_PEM_EDGE = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")


class Redactor:
    """Removes secrets, and counts what it removed by kind.

    Args:
        secrets: values that must not appear anywhere.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.removed: Counter[str] = Counter()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Look for a value everywhere from now on, its base64 included."""
        secret = secret.strip()
        if len(secret) < SHORTEST_KNOWN or secret == MARK:
            return
        self._known |= {secret, *_escaped(secret), *_encoded(secret)}
        self._pattern = None

    def learn_key(self, pem: str) -> None:
        """Look for a private key's content everywhere: each line of it, whole and in base64."""
        lines = [line.strip() for line in pem.splitlines() if line and not line.startswith("-")]
        for line in [*lines, "".join(lines)]:
            if len(line) >= SHORTEST_KNOWN * 2:
                self.learn(line)
        self.learn(base64.b64encode(pem.encode()).decode().rstrip("="))
        with contextlib.suppress(ValueError):
            self.learn(base64.b64decode("".join(lines)).hex())

    def learn_environment(self, variables: Iterable[str]) -> None:
        """Look everywhere for the values of suspicious variables ``NAME=VALUE``."""
        for variable in variables:
            name, _, value = variable.partition("=")
            hides = is_secret_name(name, variable=True) and not is_file_name(name, value)
            if hides and value.lower() not in _COMMON:
                self.learn(value)

    def leaks(self, content: bytes) -> bool:
        """Whether something that was told is in here all the same."""
        text = content.decode("utf-8", "surrogateescape")
        return any(secret in text for secret in self._known)

    def text(self, text: str) -> str:
        """A text without its secrets, and without colours, among which some would hide."""
        text = _WRITTEN.sub("", plain(text))
        text = self._count("PEM block", _PEM, r"<removed: \1>", text)
        text = self._torn(text)
        text = self._known_values(text)
        for rule in RULES:
            text = self._count(rule.kind, rule.pattern, rule.instead, text)
        return self._blobs(self._fields(text))

    def json(self, value: object, name: str = "") -> object:
        """A JSON value without its secrets.

        Args:
            value: as parsed.
            name: of the field that holds it.
        """
        if isinstance(value, dict):
            named = _named(value)
            return {
                self.text(key): self._field(named if key.lower() == "value" else key, each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return self._list(value, name)
        return self.text(value) if isinstance(value, str) else value

    def environment(self, variable: str) -> str:
        """One variable ``NAME=VALUE``."""
        name, equals, value = variable.partition("=")
        if not is_secret_name(name, variable=True) or is_file_name(name, value) or not value:
            return f"{name}{equals}{self.text(value)}"
        self.removed["variable"] += 1
        return f"{name}={MARK}"

    # --- parts

    def _field(self, key: str, value: object) -> object:
        hides = value not in (None, "", [], {}) and not isinstance(value, bool)
        secret = is_secret_name(key, variable=key.isupper())
        if hides and secret and not is_file_name(key, str(value)):
            self.removed["field"] += 1
            return MARK
        return self.json(value, key)

    def _list(self, values: list[object], name: str) -> list[object]:
        if name.lower() in ("env", "environment"):
            return [self.environment(v) if isinstance(v, str) else self.json(v) for v in values]
        cleaned: list[object] = []
        before = ""  # an option such as --password, or the name of a pair
        for each in values:
            if not isinstance(each, str):
                cleaned.append(self.json(each))
            elif before and is_secret_name(before):
                self.removed["option"] += 1
                cleaned.append(MARK)
            else:
                cleaned.append(self._after(before, each))
            before = each if isinstance(each, str) and self._names(each, values) else ""
        return cleaned

    def _names(self, word: str, words: list[object]) -> bool:
        """Whether a word may name the one that follows it."""
        return (word.startswith("-") and "=" not in word) or len(words) == _PAIR

    def _after(self, option: str, word: str) -> str:
        """A word, which may be the option's value, as ``NAME:PASSWORD`` is that of ``--user``."""
        both, start = self.text(f"{option} {word}"), f"{option} "
        return both[len(start) :] if option and both.startswith(start) else self.text(word)

    def _count(
        self, kind: str, pattern: re.Pattern[str], by: str | Callable[[Match[str]], str], text: str
    ) -> str:
        before = text.count("<removed")
        text = pattern.sub(by, text)
        times = text.count("<removed") - before
        if times > 0:
            self.removed[kind] += times
        return text

    def _torn(self, text: str) -> str:
        """Remove blocks of which only the beginning or the end is here."""
        for edge in reversed(list(_PEM_EDGE.finditer(text))):
            self.removed["PEM block, torn"] += 1
            start, end = edge.span()
            if edge[1] == "BEGIN":
                end = _key_lines_after(text, end)
            else:
                start = _key_lines_before(text, start)
            text = f"{text[:start]}<removed: {edge[2]}>{text[end:]}"
        return text

    def _known_values(self, text: str) -> str:
        if not self._known:
            return text
        if self._pattern is None:
            longest_first = sorted(self._known, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(re.escape(value) for value in longest_first))
        return self._count("known value", self._pattern, MARK, text)

    def _fields(self, text: str) -> str:
        lines: list[str] = []
        inside: int | None = None  # indentation of a field whose value goes on below it
        for line in text.split("\n"):
            if inside is not None:
                if remainder_is_block(line, inside):
                    continue
                inside = None
            cleaned, inside, times = redact_line(line, MARK)
            if times:
                self.removed["field"] += times
            lines.append(cleaned)
        return "\n".join(lines)

    def _blobs(self, text: str) -> str:
        for start, end in reversed(blobs(text)):
            self.removed["base64"] += 1
            text = f"{text[:start]}{MARK}{text[end:]}"
        return text


def _named(value: Mapping[str, object]) -> str:
    """The name where a value has ``name`` and ``value``, as headers and variables do."""
    found = next((value[key] for key in value if key.lower() in ("name", "key")), "")
    return found if isinstance(found, str) and found else "value"


def _escaped(secret: str) -> set[str]:
    """How JSON and URLs write it."""
    return {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1],
            urllib.parse.quote(secret, safe="")}  # fmt: skip


def _encoded(secret: str) -> Iterator[str]:
    """Base64 of it, also as part of something longer, whose beginning shifts it."""
    content = secret.encode("utf-8", "surrogateescape")
    for shift, cut in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(shift) + content).decode().rstrip("=")
        sure = encoded[cut:] if (shift + len(content)) % 3 == 0 else encoded[cut:-1]
        if len(sure) >= SHORTEST_KNOWN + 2:
            yield sure
            yield sure.replace("+", "-").replace("/", "_")


_KEY_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_BREAKS = frozenset("\\ \t\r\n")
_LINE = 65
"""Characters of a line of a PEM block, and its end."""


def _key_lines_after(text: str, at: int) -> int:
    """Where the base64 that follows ``at`` ends: at the first word that cannot be a line of it."""
    limit = min(len(text), at + LONGEST_PEM)
    while at < limit:
        begin = at
        while begin < limit and text[begin] in _BREAKS:
            begin += 1 + (text[begin] == "\\")
        stop = begin
        while stop < limit and text[stop] in _KEY_LETTERS:
            stop += 1
        if stop - begin < _LINE // 2 and text[stop : stop + 1] not in ("", "\n", '"', "'", "\\"):
            return at
        if stop == begin:
            return at
        at = stop
    return at


def _key_lines_before(text: str, at: int) -> int:
    """Where the base64 before ``at`` begins."""
    limit = max(0, at - LONGEST_PEM)
    first = True
    while at > limit:
        stop = at
        while stop > limit and (text[stop - 1] in _BREAKS or text[stop - 2 : stop] in _ENDS):
            stop -= 2 if text[stop - 2 : stop] in _ENDS else 1
        begin = stop
        while begin > limit and text[begin - 1] in _KEY_LETTERS:
            begin -= 1
        if stop == begin or (not first and stop - begin < _LINE // 2):
            return at
        first, at = False, begin
    return at


_ENDS = ("\\n", "\\r")
