"""What the constructors of all platforms' ``SwarmCallback`` do, in HPE's order."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from swarmlearning._model import ModelAdapter
from swarmlearning._options import Options, describe, parse
from swarmlearning._session import Session
from swarmlearning.errors import SwarmError


def start(
    arguments: tuple[object, object, object],
    given: Mapping[str, Any],
    platform: tuple[str, ...],
    make_model: Callable[[Options, logging.Logger], ModelAdapter],
    when_over: str,
) -> tuple[logging.Logger, Session]:
    """Check the arguments, make the model adapter, and open a session with the SL.

    Args:
        arguments: ``syncFrequency``, ``minPeers`` and ``trainingContract``.
        given: the keyword arguments.
        platform: names of the platform's own arguments.
        make_model: makes the adapter; may raise SwarmError for the platform's own arguments.
        when_over: what this program does when the swarm's training is over before its own.

    Returns:
        The logger of the callback, and its session, open.

    Raises:
        SwarmError: an argument is wrong, or the SL cannot be reached or refuses. It is logged.
    """
    logger: logging.Logger | None = given.get("logger")
    logger = own_logger() if logger is None else logger
    logger.info("SwarmCallbackBase logger is set")
    try:
        options = parse(*arguments, given, platform, logger)
        model = make_model(options, logger)
    except SwarmError as exc:
        logger.error("%s", exc)  # noqa: TRY400 - one line, then raised
        raise
    describe(options, logger)
    session = Session(options, model, logger, when_over=when_over)
    session.open()
    return logger, session


def check_platform(options: Options, *known: str) -> str:
    """The platform that ``ml_platform`` names; the first known one where it is not given.

    Raises:
        SwarmError: it is none of them.
    """
    platform = options.extra.get("ml_platform", known[0])
    if platform not in known:
        raise SwarmError(f"Invalid ml platform type: {platform}")
    return str(platform)


def own_logger() -> logging.Logger:
    """HPE's default: INFO on stdout, as ``time : SwarmCallback : level : message``."""
    logger = logging.getLogger("SwarmCallback")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s : %(name)s : %(levelname)s : %(message)s"))
    logger.handlers[:] = [handler]
    return logger
