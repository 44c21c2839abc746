"""What the constructor of every platform's ``SwarmCallback`` does, in HPE's order."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from swarmlearning._model import ModelAdapter
from swarmlearning._options import Options, describe, parse
from swarmlearning._session import Session
from swarmlearning.errors import SwarmError


def read_options(
    sync_frequency: Any,  # noqa: ANN401 - whatever the user gave, here and below
    min_peers: Any,  # noqa: ANN401
    contract: Any,  # noqa: ANN401
    given: Mapping[str, Any],
    platform: tuple[str, ...],
) -> tuple[Options, logging.Logger]:
    """Check the arguments, and choose the logger: the user's or HPE's default.

    Args:
        sync_frequency: ``syncFrequency``.
        min_peers: ``minPeers``.
        contract: ``trainingContract``.
        given: the keyword arguments.
        platform: names of the platform's own arguments.

    Raises:
        SwarmError: an argument is wrong; logged.
    """
    logger = own_logger() if given.get("logger") is None else given["logger"]
    logger.info("SwarmCallbackBase logger is set")
    try:
        return parse(sync_frequency, min_peers, contract, given, platform, logger), logger
    except SwarmError as exc:
        logger.error(str(exc))  # noqa: TRY400 - one line, then raised
        raise


def open_session(
    options: Options,
    logger: logging.Logger,
    make_model: Callable[[], ModelAdapter],
    stops: bool = False,
) -> Session:
    """A session of this model with the SL; blocks until the SL is ready.

    Args:
        options: from :func:`read_options`.
        logger: likewise.
        make_model: checks the platform's own arguments and gives the adapter.
        stops: see :class:`Session`.

    Raises:
        SwarmError: an argument is wrong, or the SL is not there or refused; logged.
    """
    try:
        model = make_model()
    except SwarmError as exc:
        logger.error(str(exc))  # noqa: TRY400 - one line, then raised
        raise
    describe(options, logger)
    session = Session(options, model, logger, stops=stops)
    session.open()
    return session


def own_logger() -> logging.Logger:
    """HPE's default: INFO on stdout, as ``time : SwarmCallback : level : message``."""
    logger = logging.getLogger("SwarmCallback")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s : %(name)s : %(levelname)s : %(message)s"))
    logger.handlers[:] = [handler]
    return logger
