"""Log lines in HPE's format, with node, contract and round bound to them.

``2026-11-23 10:00:00,123 : swarm.sl : INFO : [sl-1 defaultbb.cqdb.sml.hpe r12] checked in``

The part before the brackets is HPE's (users grep it); the brackets appear once something is bound.
"""

import logging
import re
import sys
from contextvars import ContextVar

FORMAT = "%(asctime)s : %(name)s : %(levelname)s : %(bound)s%(message)s"

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


def configure(level: str = "INFO") -> None:
    """Send log lines to stdout, where container tools look for them."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OneLine(FORMAT))
    handler.addFilter(_BoundFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
