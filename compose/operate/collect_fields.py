"""Fields, options and assignments with secrets in one line of text, YAML or a log; pure."""

from __future__ import annotations

import re

from compose.operate.collect_names import is_file_name, is_secret_name

_ASSIGNED = re.compile(
    r"(?P<before>^|[^A-Za-z0-9_])(?P<name>[A-Za-z_][A-Za-z0-9_.-]{0,200})"
    r"(?P<quote>\\*[\"']?)(?P<sign>\s{0,8}(?:[:=]|%3[AaDd])\s{0,40})"
)
"""A name and a colon or an equals sign; what follows is the value."""
_OPTION = re.compile(r"(?P<name>--?[A-Za-z][A-Za-z0-9-]{1,60})\s+(?=\S)")
_BLANK = re.compile(r"\s")
_VALUE = re.compile(r"\"[^\"]*\"?|'[^']*'?|\S+")
_AFTER_QUOTE = ("", " ", "\t", ",", ";", "}", "]", ")", "\r")
_QUOTED = re.compile(r"(\\*)([\"'])")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)? ?")
"""What `docker logs --timestamps` puts before each line."""
_LEADING = re.compile(r"^(?:\s|-\s|export\s|-e\s|ENV\s)*[\"']?-{0,2}$")


def redact_line(line: str, mark: str) -> tuple[str, int | None, int]:
    """A line without the values of fields that name secrets.

    Returns:
        The line; the indentation of a field whose value may go on in the lines below; how many
        values were removed.
    """
    if ":" not in line and "=" not in line and "-" not in line and "%" not in line:
        return line, None, 0
    done, at, times, block = "", 0, 0, None
    while True:
        found = _next(line, at)
        if found is None:
            return done + line[at:], block, times
        start, end = found
        if block is None and line[:start].rstrip().endswith(":"):
            block = _indentation(line)
        done += line[at:start] + (mark if end > start else "")
        times += end > start
        at = end


def remainder_is_block(line: str, indentation: int) -> bool:
    """Whether a line belongs to the value of a field in a line above."""
    content = _unstamped(line)
    if not content.strip():
        return True
    depth = len(content) - len(content.lstrip())
    return depth > indentation or (depth == indentation and content.lstrip().startswith("- "))


def _next(line: str, at: int) -> tuple[int, int] | None:
    """Start and end of the next value to remove, from ``at`` on."""
    best: tuple[int, int] | None = None
    for match in _ASSIGNED.finditer(line, at):
        name = match["name"].strip("-.")
        value_start = match.end()
        if not is_secret_name(name, variable=name.isupper()):
            continue
        value_end = _end(line, match, value_start)
        if is_file_name(name, line[value_start:value_end].strip("\"' ,")):
            continue
        best = value_start, value_end
        break
    for match in _OPTION.finditer(line, at, best[0] if best else len(line)):
        if is_secret_name(match["name"]):
            value = _VALUE.match(line, match.end())
            return match.end(), value.end() if value else len(line)
    return best


def _end(line: str, match: re.Match[str], start: int) -> int:
    """Where a value ends; the end of the line where that is not sure."""
    quoted = _QUOTED.match(line, start)
    if quoted:
        return _closing(line, quoted)
    before = line[: match.start("name")]
    if ":" in match["sign"] or line[start : start + 1] in ("{", "["):
        return len(line)
    if _LEADING.match(_unstamped(before)):
        return len(line)
    opened = before.rstrip("-")[-1:]
    if opened in ('"', "'"):
        end = line.find(opened, start)
        return len(line) if end < 0 else end
    blank = _BLANK.search(line, start)
    return blank.start() if blank else len(line)


def _closing(line: str, quoted: re.Match[str]) -> int:
    """After the quote that closes; escaped quotes of JSON in JSON have backslashes in front."""
    slashes, quote = len(quoted.group(1)), quoted.group(2)
    at = quoted.end()
    while True:
        at = line.find(quote, at)
        if at < 0:
            return len(line)
        before = len(line[:at]) - len(line[:at].rstrip("\\"))
        at += 1
        if before == slashes or (not slashes and before % 2 == 0):
            return at if line[at : at + 1] in _AFTER_QUOTE else len(line)


def _indentation(line: str) -> int:
    content = _unstamped(line)
    return len(content) - len(re.sub(r"^(?:\s|-\s)*", "", content))


def _unstamped(line: str) -> str:
    return _STAMP.sub("", line, count=1)
