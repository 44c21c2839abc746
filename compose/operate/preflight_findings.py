"""What a check before a run found, and the table of it; pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Iterable, Mapping

from compose.operate.plain import line

OK, WARN, FAIL = "ok", "warn", "FAIL"
_ORDER = (OK, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """The verdict on one thing."""

    level: str
    """:data:`OK`, :data:`WARN` or :data:`FAIL`."""
    subject: str
    text: str
    do: str = ""
    """What to do about it; always there unless all is well."""

    def as_json(self) -> dict[str, str]:
        """As a JSON object."""
        return asdict(self)


def finding_of(value: Mapping[str, Any]) -> Finding:
    """From a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        found = Finding(*(str(value[k]) for k in ("level", "subject", "text", "do")))
    except (KeyError, TypeError) as exc:
        raise ValueError(f"no finding: {value!r}") from exc
    if found.level not in _ORDER:
        raise ValueError(f"no level: {found.level!r}")
    return found


def exit_code(findings: Iterable[Finding]) -> int:
    """1 when something fails, else 0."""
    return int(any(each.level == FAIL for each in findings))


def table(findings: list[Finding]) -> str:
    """A line for each, and one that says what to do; the last line counts."""
    width = max((len(each.subject) for each in findings), default=0)
    lines = []
    for each in findings:
        lines.append(f"{each.level:4}  {line(each.subject):{width}}  {line(each.text)}".rstrip())
        if each.level != OK and each.do:
            lines.append(f"{'':4}  {'':{width}}  do: {line(each.do)}")
    counts = {level: sum(each.level == level for each in findings) for level in _ORDER}
    lines.append("")
    lines.append(f"{counts[OK]} ok, {counts[WARN]} to look at, {counts[FAIL]} that would fail")
    return "\n".join(lines)
