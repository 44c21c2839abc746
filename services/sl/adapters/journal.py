"""The journal of a training: every event that the round machine saw, and what it asked for.

One JSON object a line. A run begins with the machine's arguments; each further line is an event
and the commands that came of it, in the order of the machine's life::

    {"journal": 1, "version": "0.1.0", "arguments": {"me": "...", "interval": 4, ...}}
    {"event": {"_": "ViewArrived", ...}, "commands": [{"_": "CheckIn", ...}]}
    {"event": {"_": "Tick", ...}, "error": "ProtocolError: ..."}

Each line is with the system before its commands are carried out, so a killed process leaves all
that it did. ``services.sl.replay`` gives the events to a new machine and compares. A file that
reached its limit becomes ``NAME.1``, in place of an older one, and the next begins with the
machine's ``state`` instead of arguments: together they hold at least the last :data:`LIMIT` bytes.
"""

import json
import logging
import os
from pathlib import Path
from typing import IO, Any

from services.common.errors import StorageError
from services.sl.core import events as ev
from services.sl.core.record import to_json
from services.sl.core.round import Training

log = logging.getLogger("swarm.journal")

FORMAT = 1
LIMIT = 32 * 1024 * 1024
"""Bytes of a journal file, above which the next one is begun."""


class Journal:
    """Where the runs of one SL are written down; a file that another process began is continued.

    What goes wrong with the file is logged once and never stops a training.

    Args:
        path: the file; None writes nothing.
        version: of this software.
        limit: bytes of a file.
    """

    def __init__(self, path: Path | None, version: str, limit: int = LIMIT) -> None:
        self._path, self._version, self._limit = path, version, limit
        self._file: IO[str] | None = None
        self._size = 0
        if path is not None:
            self._open(path)

    def begin(self, **arguments: Any) -> "Recorded":  # noqa: ANN401 - the machine's own
        """A round machine of these arguments, whose life is written down."""
        self.write({"arguments": to_json(arguments)}, head=True)
        return Recorded(Training(**arguments), self)

    def write(self, line: dict[str, Any], *, head: bool = False) -> None:
        """Add a line; ``head`` marks the first one of a run."""
        if self._file is None:
            return
        if head:
            line = {"journal": FORMAT, "version": self._version, **line}
        text = json.dumps(line, separators=(",", ":")) + "\n"
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as exc:
            self._give_up(exc)
        self._size += len(text)

    def turn_over(self, training: Training) -> None:
        """Begin the next file with the machine as it is, if this one is full."""
        if self._file is None or self._path is None or self._size < self._limit:
            return
        self._file.close()
        try:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        except OSError as exc:
            self._give_up(exc)
            return
        self._open(self._path)
        self.write({"state": to_json(training)}, head=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
            self._size = self._file.tell()
            if self._size and _last_byte(path) != b"\n":
                self._file.write("\n")  # after half a line of a process that was killed
        except OSError as exc:
            self._give_up(exc)

    def _give_up(self, error: OSError) -> None:
        problem = StorageError(f"the journal {self._path} ends here: {error.strerror}")
        log.warning("%s; the training goes on without it", problem)
        if self._file is not None:
            try:
                self._file.close()
            except OSError as exc:
                log.debug("closing the journal: %s", exc)
        self._file = None


class Recorded:
    """A round machine with its journal.

    Args:
        training: the machine; it sees events through :meth:`handle` only.
        journal: where to write.
    """

    def __init__(self, training: Training, journal: Journal) -> None:
        self.training = training
        self._journal = journal

    def handle(self, event: ev.Event) -> list[ev.Command]:
        """Give the machine an event; its commands, or its error, as :class:`Training` has them."""
        if not self._journal.on:
            return self.training.handle(event)
        line: dict[str, Any] = {"event": to_json(event)}
        try:
            commands = self.training.handle(event)
            line["commands"] = [to_json(command) for command in commands]
        except Exception as exc:
            line["error"] = words_of(exc)
            raise
        finally:
            self._journal.write(line)
        self._journal.turn_over(self.training)
        return commands


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()


def words_of(error: Exception) -> str:
    """An error as a journal has it."""
    return f"{type(error).__name__}: {error}"
