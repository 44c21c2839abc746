"""``python -m services.sl.replay FILE...``: give journals to new round machines, and compare.

The round machine is pure, so the same events must lead to the same commands, on any machine and at
any time. Where they do not, either the code changed since the journal was written, or something
other than an event decided: a bug. Exit code 0: all the same; 1: a difference, which is shown; 2: a
file cannot be read; 4: it is no journal of this version.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.errors import ConfigError, ProtocolError, SwarmError
from services.sl.adapters.journal import FORMAT, words_of
from services.sl.core.record import from_json, to_json
from services.sl.core.round import Training


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a machine did something else than its journal says."""

    path: Path
    line: int
    """From 1."""
    event: dict[str, Any]
    written: dict[str, Any]
    """``commands``, or the ``error``."""
    replayed: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: the replay differs\n"
            f"  event:    {json.dumps(self.event)}\n"
            f"  written:  {json.dumps(self.written)}\n"
            f"  replayed: {json.dumps(self.replayed)}"
        )


@dataclass(slots=True)
class Report:
    """What a replay found."""

    runs: int = 0
    """Machines that were begun."""
    events: int = 0
    commands: int = 0
    broken_off: bool = False
    """Whether the last line is not whole, because the process was killed while it wrote."""
    difference: Difference | None = None
    """The first one; None: all the same."""

    def __str__(self) -> str:
        if self.difference is not None:
            return str(self.difference)
        tail = ", the last line is not whole" if self.broken_off else ""
        return f"{self.events} events, {self.commands} commands, {self.runs} runs: the same{tail}"


def check(path: Path) -> Report:
    """Replay a journal, with the ``.1`` file before it where there is one.

    Raises:
        ConfigError: it cannot be read.
        ProtocolError: it is no journal, or one of another version.
    """
    report, machine = Report(), None
    before = path.with_name(path.name + ".1")
    for file in (before, path) if before.exists() else (path,):
        for number, line in _lines(file, report):
            if "journal" in line:
                machine = _begun(file, number, line)
                report.runs += 1
                continue
            if machine is None:
                raise ProtocolError(f"{file}:{number}: no run was begun before this event")
            _replay(report, machine, file, number, line)
            if report.difference is not None:
                return report
    return report


def _lines(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a journal. The last one of a run may be half: its process was killed."""
    half = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, text in enumerate(file, 1):
                line = _parsed(text)
                if half and (line is None or "journal" not in line):
                    raise ProtocolError(f"{path}:{half}: not a line of a journal")
                half = number if line is None else 0
                if line is not None:
                    yield number, line
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    report.broken_off = bool(half)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _begun(path: Path, number: int, line: dict[str, Any]) -> Training:
    if line["journal"] != FORMAT:
        raise ProtocolError(f"{path}:{number}: a journal of format {line['journal']}, not {FORMAT}")
    try:
        if "state" in line:
            machine = from_json(line["state"])
            if isinstance(machine, Training):
                return machine
            raise ProtocolError(f"{path}:{number}: the state is not a round machine's")
        return Training(**from_json(line["arguments"]))
    except (KeyError, TypeError) as exc:
        raise ProtocolError(f"{path}:{number}: not arguments of this version: {exc}") from exc


def _replay(
    report: Report, machine: Training, path: Path, number: int, line: dict[str, Any]
) -> None:
    try:
        written: dict[str, Any] = {key: line[key] for key in line if key != "event"}
        event = from_json(line["event"])
    except (KeyError, TypeError) as exc:
        raise ProtocolError(f"{path}:{number}: not an event of this version: {exc}") from exc
    replayed: dict[str, Any]
    try:
        replayed = {"commands": [to_json(command) for command in machine.handle(event)]}
    except Exception as exc:  # noqa: BLE001 - the journal says which error is right
        replayed = {"error": words_of(exc)}
    report.events += 1
    report.commands += len(replayed.get("commands", ()))
    if _text(replayed) != _text(written):
        report.difference = Difference(path, number, line["event"], written, replayed)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)  # as text, a NaN equals another


def main(words: list[str] | None = None) -> int:
    """Replay each file; the exit code."""
    parser = argparse.ArgumentParser("services.sl.replay", description="Replay SL journals.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a SL_JOURNAL_FILE")
    code = 0
    for path in parser.parse_args(words).files:
        try:
            report = check(path)
        except SwarmError as exc:
            sys.stderr.write(f"{exc}\n")
            code = max(code, exc.exit_code)
            continue
        sys.stdout.write(f"{path}: {report}\n" if report.difference is None else f"{report}\n")
        code = max(code, int(report.difference is not None))
    return code


if __name__ == "__main__":
    sys.exit(main())
