"""From a line of text to a command, or to a sentence that says what was expected.

Keywords count in any case, names as they are written. Blanks and tabs separate words; a word in
double quotes may hold blanks (ours). A line whose first character is ``#`` is a comment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from services.swci.core.arguments import NotThisError, Value
from services.swci.core.commands import Command
from services.swci.core.reply import printable
from services.swci.core.table import COMMANDS, Entry, Form, Part

LONGEST_LINE = 4096
"""Characters of a line; longer ones are refused."""
END = "the end of the line"
_SHOWN = 60
"""Characters of a wrong word that an error repeats."""
_NAMES = [entry.name for entry in COMMANDS]
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WORD = re.compile(r'"([^"]*)"(?=[ \t]|$)|[^ \t]+')


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a line, and where it starts."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """The line is no command; why, for a person."""

    why: str


@dataclass(frozen=True, slots=True)
class _Miss:
    """Where the parser had to give up one form, and what it would have liked."""

    at: int
    expected: str


def parse(line: str) -> Command | Wrong | None:
    """Read one line; None for a comment or a blank line."""
    text = line.rstrip(" \t\r\n")
    if not text.strip(" \t") or text.lstrip(" \t").startswith("#"):
        return None
    if len(text) > LONGEST_LINE:
        return Wrong(f"the line has {len(text)} characters, at most {LONGEST_LINE} are allowed")
    if found := _FORBIDDEN.search(text):
        return Wrong(f"the line holds the control character {found[0]!a}: remove it")
    words = words_of(text)
    misses: list[tuple[Entry, _Miss]] = []
    for entry in COMMANDS:
        for form in entry.forms:
            result = _match(form, text, words)
            if not isinstance(result, _Miss):
                return result
            misses.append((entry, result))
    return Wrong(_explain(words, misses))


def words_of(text: str) -> list[Word]:
    """The words of a line; quotes around one are taken off."""
    return [
        Word(found[0] if found[1] is None else found[1], found.start())
        for found in _WORD.finditer(text)
    ]


def _match(form: Form, text: str, words: list[Word]) -> Command | _Miss:
    """Read the words by one form."""
    farthest = _Miss(-1, "")
    for parts in _spellings(form.parts):
        values: dict[str, Value] = {}
        miss = _read(parts, text, words, values)
        if miss is None:
            return form.make(**values)
        if miss.at > farthest.at:
            farthest = miss
        elif miss.at == farthest.at and miss.expected not in (farthest.expected, END):
            farthest = _Miss(miss.at, f"{farthest.expected} or {miss.expected}")
    return farthest


def _spellings(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    """The form with all its optional arguments, then with fewer; the last ones go first."""
    yield parts
    for number in reversed([i for i, part in enumerate(parts) if part.optional]):
        parts = parts[:number] + parts[number + 1 :]
        yield parts


def _read(
    parts: tuple[Part, ...], text: str, words: list[Word], values: dict[str, Value]
) -> _Miss | None:
    """Fill ``values``, or say where the words and the parts differ first."""
    for at, part in enumerate(parts):
        if at >= len(words):
            return _Miss(at, str(part))
        if part.argument is None:
            if words[at].text.upper() != part.word:
                return _Miss(at, part.word)
            continue
        try:
            if part.argument.rest:
                values[part.word] = part.argument.read(_rest(text, words, at))
                return None
            values[part.word] = part.argument.read(words[at].text)
        except NotThisError as exc:
            return _Miss(at, f"{part} ({exc})")
    return _Miss(len(parts), END) if len(words) > len(parts) else None


def _rest(text: str, words: list[Word], at: int) -> str:
    """The line from the blank after word ``at - 1`` on, without that blank."""
    return text[words[at - 1].start :].removeprefix(_raw(text, words[at - 1]))[1:]


def _raw(text: str, word: Word) -> str:
    found = _WORD.match(text, word.start)
    return found[0] if found else ""


def _explain(words: list[Word], misses: list[tuple[Entry, _Miss]]) -> str:
    """One sentence about a line that no form fits."""
    at = max(miss.at for _, miss in misses)
    best = [(entry, miss) for entry, miss in misses if miss.at == at]
    begins = " ".join(word.text.upper() for word in words[:at])
    if at == 0 or not any(entry.name.split()[0] == words[0].text.upper() for entry, _ in best):
        return f"unknown command {_quoted(words[0].text)}: {_closest(words, _NAMES)}"
    expected = " or ".join(dict.fromkeys(miss.expected for _, miss in best))
    got = f"not {_quoted(words[at].text)}" if at < len(words) else "but the line ends"
    names = list(dict.fromkeys(entry.name for entry, _ in best))
    if len(names) > 1:
        hint = _closest(words, names) if at < len(words) else "HELP lists all commands"
        return f"after {_quoted(begins)} expected {expected}, {got}: {hint}"
    shown = " ".join(word.text.upper() for word in words[: min(at, len(names[0].split()))])
    where = f"{names[0]}: expected" if shown == names[0] else f"after {_quoted(begins)} expected"
    return f"{where} {expected}, {got}. HELP {names[0]} shows its syntax"


def _closest(words: list[Word], names: list[str]) -> str:
    """Which command of ``names`` may have been meant."""
    for count in (4, 3, 2, 1):
        typed = " ".join(word.text.upper()[:_SHOWN] for word in words[:count])
        if near := get_close_matches(typed, names, n=1, cutoff=0.7):
            return f"did you mean {near[0]}? HELP lists all commands"
    return "HELP lists all commands"


def _quoted(text: str) -> str:
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f'"{printable(short)}"'
