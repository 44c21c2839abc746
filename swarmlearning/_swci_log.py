"""The logger of a ``Swci`` whose user brings none."""

import logging
from pathlib import Path

FILE = "swci-web.log"
"""In the working directory (HPE's name)."""
_FORMAT = "%(asctime)s : %(name)s : %(levelname)s : %(message)s"


def make_logger(level: int) -> logging.Logger:
    """A logger to console and :data:`FILE`, known to nobody else; only console where that fails.

    It is not registered under its name, so a notebook that makes one ``Swci`` after the other does
    not see every line as often.
    """
    logger = logging.Logger("swarmlearning.swci", level)  # noqa: LOG001 - see above
    _add(logger, logging.StreamHandler())
    try:
        _add(logger, logging.FileHandler(FILE, encoding="utf-8"))
    except OSError as exc:
        logger.warning("no %s in %s: %s; logging to the console only", FILE, Path.cwd(), exc)
    return logger


def _add(logger: logging.Logger, handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)


def close_logger(logger: logging.Logger) -> None:
    """Close what :func:`make_logger` opened."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
