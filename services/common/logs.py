"""Log lines in HPE's format, with node, contract and round bound to them.

``2026-11-23 10:00:00,123 : swarm.sl : INFO : [sl-1 defaultbb.cqdb.sml.hpe r12] checked in``

The part before the brackets is HPE's (users grep it); the brackets appear once something is bound.
"""

import logging
import logging.handlers
import re
import sys
from contextvars import ContextVar
from pathlib import Path

FORMAT = "%(asctime)s : %(name)s : %(levelname)s : %(bound)s%(message)s"

FILES, FILE_BYTES = 3, 10_000_000
"""Of a copy of the log on disk."""

_bound: ContextVar[dict[str, str]] = ContextVar("swarm_log_fields", default={})  # noqa: B039 - never mutated


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _OneLine(logging.Formatter):
    """Whatever others put into a message, it stays one line and controls no terminal.

    Only a message logged with ``extra={"lines": True}``, whose text is ours alone, keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        kept = "\n" if getattr(record, "lines", False) else ""
        return _CONTROL.sub(lambda f: f[0] if f[0] == kept else ascii(f[0])[1:-1], line)


class _BoundFields(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        fields = _bound.get()
        record.bound = f"[{' '.join(fields.values())}] " if fields else ""
        return True


def bind(**fields: str) -> None:
    """Add fields to every later log line of this task and of the tasks it starts.

    An empty value removes its field.
    """
    merged = {**_bound.get(), **fields}
    _bound.set({name: value for name, value in merged.items() if value})


def configure(level: str = "INFO", file: Path | None = None) -> None:
    """Send log lines to stdout, where container tools look for them.

    Args:
        level: its name or number; INFO, and a line about it, where it is none.
        file: gets a copy of each line, and no more than `FILES` times `FILE_BYTES`.
    """
    root = logging.getLogger()
    root.handlers[:] = [_formatted(logging.StreamHandler(sys.stdout))]
    problems = []
    try:
        root.setLevel(int(level) if level.isascii() and level.isdigit() else level.upper())
    except ValueError:
        root.setLevel("INFO")
        problems.append(f"log level {level!r} is none of DEBUG, INFO, WARNING, ERROR: using INFO")
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            copy = logging.handlers.RotatingFileHandler(
                file, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf-8"
            )
        except OSError as exc:
            problems.append(f"no copy of the log in LOGS_DIR: {file}: {exc.strerror}")
        else:
            root.addHandler(_formatted(copy))
    for problem in problems:
        logging.getLogger("swarm.process").warning(problem)
    for chatty in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _formatted(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(_BoundFields())
    return handler
