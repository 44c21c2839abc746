"""HELP, and completion; both from the table of commands."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from services.swci.core.arguments import NotThisError, Source
from services.swci.core.grammar import words_of
from services.swci.core.reply import Layout, Reply, failure, printable, success
from services.swci.core.table import COMMANDS, Entry, Form, Part

INDENT = "    "


def help_reply(topic: str) -> Reply:
    """HELP: all commands; HELP command: its syntax and what it does.

    A topic may be the beginning of several commands: ``HELP CREATE``.
    """
    asked = " ".join(topic.upper().split()).removesuffix("()")
    if not asked:
        names = [entry.name for entry in COMMANDS]
        return success(*names, data=names)
    found = [entry for entry in COMMANDS if entry.name == asked] or [
        entry for entry in COMMANDS if entry.name.startswith(asked + " ")
    ]
    if not found:
        near = get_close_matches(asked[:60], [entry.name for entry in COMMANDS], n=1)
        hint = f"did you mean HELP {near[0]}? " if near else ""
        return failure(f'no command "{printable(asked[:60])}": {hint}HELP lists all commands')
    lines = [line for entry in found for line in _topic(entry)]
    data = [{"command": e.name, "syntax": _syntax(e), "about": " ".join(e.about)} for e in found]
    return success(*lines, data=data, layout=Layout.AS_IS)


def _topic(entry: Entry) -> list[str]:
    return [*(INDENT + syntax for syntax in _syntax(entry)), *entry.about]


def _syntax(entry: Entry) -> list[str]:
    return [str(form) for form in entry.forms if not form.legacy]


def wanted(before: str) -> tuple[set[str], set[Source]]:
    """What may come next after ``before``, a line that ends behind a blank (or is empty).

    Returns:
        Keywords and other fixed words; kinds of names.
    """
    typed = [word.text for word in words_of(before)]
    fixed: set[str] = set()
    sources: set[Source] = set()
    for form in (form for entry in COMMANDS for form in entry.forms if not form.legacy):
        for part in _next_parts(form, typed):
            if part.argument is None:
                fixed.add(part.word)
            else:
                fixed.update(part.argument.words)
                sources.update([part.argument.source] if part.argument.source else [])
    if [word.upper() for word in typed[:1]] == ["HELP"]:
        begun = " ".join(word.upper() for word in typed[1:])
        fixed = {rest for entry in COMMANDS if (rest := _after(entry.name, begun))}
    return fixed, sources


def _after(name: str, begun: str) -> str:
    """The word of a command's name that follows on ``begun``; empty if none does."""
    words, first = name.split(), begun.split()
    return words[len(first)] if words[: len(first)] == first and len(words) > len(first) else ""


def _next_parts(form: Form, typed: list[str]) -> Iterable[Part]:
    """The part behind ``typed``, and those that may follow if it is left out."""
    at = 0
    for word in typed:
        if at >= len(form.parts):
            return []
        part = form.parts[at]
        if part.argument is not None and part.argument.rest:
            return [part]
        if not _fits(part, word):
            return []
        at += 1
    behind = []
    for part in form.parts[at:]:
        behind.append(part)
        if not part.optional:
            break
    return behind


def _fits(part: Part, word: str) -> bool:
    if part.argument is None:
        return word.upper() == part.word
    try:
        part.argument.read(word)
    except NotThisError:
        return False
    return True


def complete(text: str, names: Mapping[Source, Iterable[str]]) -> list[str]:
    """Words that the last word of ``text`` may become, sorted.

    Keywords follow the case of what is typed; names must begin as typed.

    Args:
        text: the line up to the cursor.
        names: what is known to exist.
    """
    cut = max(text.rfind(" "), text.rfind("\t")) + 1
    begun = text[cut:]
    fixed, sources = wanted(text[:cut])
    lower = begun.islower() or (not begun and text.strip().islower())
    keywords = [word.lower() if lower else word for word in fixed if word.startswith(begun.upper())]
    known = [
        name
        for source in sources
        for name in names.get(source, ())
        if name.startswith(begun) and name == printable(name)
    ]
    return sorted(set(keywords)) + sorted(set(known))
