"""What all commands of ``Swci`` share: connection, cache, last error, logger."""

import logging
from types import TracebackType
from typing import TypeVar

from swarmlearning._swci_answer import NO_ANSWER, CommandError, read_answer
from swarmlearning._swci_log import close_logger, make_logger
from swarmlearning._swci_transport import Transport, TransportError, tls_context

ANSWER_S = 900.0
"""Seconds to wait for the answer to a command that does not wait by itself."""

_Self = TypeVar("_Self", bound="Session")


class Session:
    """A conversation with one SWCI; see :class:`swarmlearning.swci.Swci`."""

    def __init__(
        self,
        swciIp: str,
        port: int = 30306,
        clientCert: str | None = None,
        clientPKey: str | None = None,
        clientCABundle: str | None = None,
        logger: logging.Logger | None = None,
        logLv: int = logging.WARNING,
        enableCaching: bool = True,
    ) -> None:
        if swciIp is None:
            raise RuntimeError("SWCI IP not provided!")
        if not isinstance(port, int):
            raise RuntimeError("SWCI Port not Integer!")  # noqa: TRY004 - HPE's
        context = tls_context(clientCert, clientPKey, clientCABundle) if clientCert else None
        self._transport = Transport(swciIp, port, context)
        self._own_logger = logger is None
        self.logger = make_logger(logLv) if logger is None else logger
        self._cache: dict[str, list[str]] | None = {} if enableCaching else None
        self._error: str | None = None
        if context is None:
            self.logger.warning(
                "no clientCert is given: speaking plain HTTP with SWCI, which everybody on the way "
                "can read and change"
            )
        elif not clientCABundle:
            self.logger.warning(
                "no clientCABundle is given: the certificate of SWCI is not checked, anybody on "
                "the way can pretend to be it. Name the PEM file of the CA that signed it"
            )

    def getErrors(self) -> str | None:
        """Why the last command failed; None where it did not."""
        return self._error

    def clearCache(self) -> None:
        """Ask SWCI again for all that was kept."""
        if self._cache is not None:
            self._cache.clear()

    def setLogLevel(self, logLevel: str) -> None:
        """Log from this level on.

        Args:
            logLevel: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``; anything else
                counts as ``WARNING``.
        """
        level = logging.getLevelName(str(logLevel).upper())
        self.logger.setLevel(level if isinstance(level, int) else logging.WARNING)

    def close(self) -> None:
        """Ours: close connections and log file."""
        self._transport.close()
        if self._own_logger:
            close_logger(self.logger)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- for the commands

    def _run(self, command: str, answer_s: float | None = ANSWER_S) -> list[str]:
        """The lines that a command answers; none where it failed, see :meth:`getErrors`."""
        self.logger.debug("command: %s", command)
        try:
            _, body = self._transport.execute(command, answer_s)
            lines = read_answer(body)
        except TransportError as exc:
            return self._failed(f"{NO_ANSWER}: {exc}")
        except CommandError as exc:
            return self._failed(str(exc))
        self._error = None
        self.logger.debug("answer: %s", lines)
        return lines

    def _kept(self, command: str) -> list[str]:
        """As :meth:`_run`; a success is kept and not asked for again."""
        if self._cache is None:
            return self._run(command)
        if command in self._cache:
            self._error = None
            return list(self._cache[command])
        lines = self._run(command)
        if lines:
            self._cache[command] = list(lines)
        return lines

    def _forget(self, *commands: str) -> None:
        """These commands may answer something else now."""
        for command in commands:
            if self._cache is not None:
                self._cache.pop(command, None)

    def _failed(self, error: str) -> list[str]:
        self._error = error
        self.logger.error(error.removeprefix("ERROR : "))
        return []
