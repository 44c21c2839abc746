"""What a process printed so far, line by line, from the log that its output goes to."""

from pathlib import Path


class Transcript:
    """Reads a log as it grows.

    Args:
        log: may not be there yet.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._rest = b""

    def lines(self, *, all_of_it: bool = False) -> list[str]:
        """The lines that are complete since the last call; with ``all_of_it`` the last one, too."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._at)
                new = file.read()
        except FileNotFoundError:
            return []
        self._at += len(new)
        *complete, self._rest = (self._rest + new).split(b"\n")
        if all_of_it and self._rest:
            complete, self._rest = [*complete, self._rest], b""
        return [line.decode(errors="replace").rstrip("\r") for line in complete]
