"""Log lines in HPE's format, with node, contract and round bound to them.

``2026-11-23 10:00:00,123 : swarm.sl : INFO : [sl-1 defaultbb.cqdb.sml.hpe r12] checked in``

The part before the brackets is HPE's (users grep it); the brackets appear once something is bound.
"""

import logging
import sys
from contextvars import ContextVar

FORMAT = "%(asctime)s : %(name)s : %(levelname)s : %(bound)s%(message)s"

_bound: ContextVar[dict[str, str]] = ContextVar("swarm_log_fields", default={})  # noqa: B039 - never mutated


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
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_BoundFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
