"""What a build's output says: its lines, and which step failed.

The classic builder, because the SDK speaks no other: ``RUN --mount`` is refused by it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from services.swop.adapters.docker_errors import sentence, words
from services.swop.core.engine import EngineError

LAST_LINES = 5
"""Lines of output that a failed build's text ends with."""
LONGEST_STEP = 60
LONGEST_LINE = 4096
"""Characters; a longer line is broken into several."""


class BuildError(EngineError):
    """A step of a build failed.

    Args:
        message: the step, how it ended, and the last lines.
        step: such as ``2/3 : RUN pip install x.whl``; empty where none had begun.
    """

    code = "build"

    def __init__(self, message: str, step: str = "") -> None:
        super().__init__(message)
        self.step = step


class BuildOutput:
    """Takes a build's messages in turn."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._partial = ""
        self._step = ""
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self.image = ""
        """Id of the image, once it is built."""

    def take(self, message: Mapping[str, Any]) -> None:
        """The next message of the build.

        Raises:
            BuildError: it says that the build failed.
        """
        if "error" in message:
            self._flush()
            raise self._failure(message)
        aux = message.get("aux")
        if isinstance(aux, Mapping) and aux.get("ID"):
            self.image = str(aux["ID"])
        *lines, self._partial = (self._partial + str(message.get("stream", ""))).split("\n")
        for line in lines:
            self._line(line.rstrip("\r"))
        if len(self._partial) > LONGEST_LINE:
            self._flush()
        if message.get("status") and not message.get("progressDetail"):
            self._line(str(message["status"]))

    def finish(self) -> None:
        """The output has ended.

        Raises:
            BuildError: before the image was there.
        """
        self._flush()
        if not self.image:
            raise BuildError(
                f"the build broke off at {self._where()}: Docker was stopped? Try again", self._step
            )

    def _flush(self) -> None:
        partial, self._partial = self._partial, ""
        self._line(partial)

    def _line(self, line: str) -> None:
        if not line.strip():
            return
        for at in range(0, len(line), LONGEST_LINE):
            self._log(line[at : at + LONGEST_LINE])
        if line.startswith("Step "):
            self._step = line.removeprefix("Step ")
            self._last.clear()
        elif not line.startswith(" ---> ") and not line.startswith("Removing intermediate"):
            self._last.append(line[:LONGEST_LINE])

    def _where(self) -> str:
        if not self._step:
            return "its start"
        number, _, command = self._step.partition(" : ")
        command = " ".join(command.split())
        if len(command) > LONGEST_STEP:
            command = command[: LONGEST_STEP - 1] + "…"
        return f"step {number} ({command})"

    def _failure(self, message: Mapping[str, Any]) -> BuildError:
        detail = message.get("errorDetail")
        code = detail.get("code") if isinstance(detail, Mapping) else None
        why = f"ended with code {code}" if code else _unprefixed(str(message["error"]))
        ending = f"; last lines: {' | '.join(self._last)}" if self._last and code else ""
        return BuildError(words(f"build failed at {self._where()}: {why}{ending}"), self._step)


def _unprefixed(error: str) -> str:
    return sentence(error).removeprefix("Docker refused: ")
