"""Where a composition says what it does: for people, or as JSON lines for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol, TextIO

from compose import report
from compose.plan import Layout
from compose.progress import Line


class Output(Protocol):
    """What a composition tells."""

    def say(self, text: str) -> None:
        """Something happened."""

    def progress(self, text: str, now: float) -> None:
        """Where the training stands, in words; ``now`` in seconds."""

    def status(self, state: Mapping[str, Any]) -> None:
        """What the state file says, whenever that changed."""

    def finish(self, result: report.Result, layout: Layout) -> None:
        """The outcome."""


class TextOutput:
    """For people."""

    def __init__(self, out: TextIO) -> None:
        self._line = Line(out)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._line.say(text)

    def progress(self, text: str, now: float) -> None:
        """The line that updates itself."""
        self._line.show(text, now)

    def status(self, state: Mapping[str, Any]) -> None:
        """People see the progress line instead."""

    def finish(self, result: report.Result, layout: Layout) -> None:
        """What failed, whether the models are equal, where to look."""
        for line in report.describe(result, layout):
            self._line.say(line)


class JsonOutput:
    """For programs: one JSON object per line, ``{"event": "status" | "result", ...}``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, text: str) -> None:
        """Words are for people; programs see them in the state."""

    def progress(self, text: str, now: float) -> None:
        """Words are for people."""

    def status(self, state: Mapping[str, Any]) -> None:
        """The state file's content."""
        self._write({"event": "status", **state})

    def finish(self, result: report.Result, layout: Layout) -> None:
        """The outcome."""
        self._write({"event": "result", "exit_code": result.exit_code, **asdict(result)})

    def _write(self, value: Mapping[str, Any]) -> None:
        self._out.write(json.dumps(value) + "\n")
        self._out.flush()
