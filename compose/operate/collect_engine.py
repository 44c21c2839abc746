"""Docker's command, asked with a deadline and an upper bound for what it may answer."""

from __future__ import annotations

import collections
import json
import subprocess
import threading
from typing import IO, Any

from compose.operate.engine import words_of_docker

SECONDS = 60.0
_CHUNK = 1 << 16


class EngineError(Exception):
    """The engine did not do what was asked; the text says why."""


def command() -> list[str]:
    """The words that begin each command; sudo asks nothing, as nobody may be there to answer."""
    words = words_of_docker()
    return ["sudo", "-n", *words[1:]] if words[0] == "sudo" else words


def ask(*words: str, seconds: float = SECONDS) -> str:
    """What a command prints.

    Raises:
        EngineError: it failed, or took too long.
    """
    return tail(*words, seconds=seconds, most=1 << 26, both=False)[0].decode("utf-8", "replace")


def ask_json(*words: str, seconds: float = SECONDS) -> Any:  # noqa: ANN401 - what Docker tells
    """What a command prints, parsed.

    Raises:
        EngineError: it failed, or printed no JSON.
    """
    try:
        return json.loads(ask(*words, seconds=seconds) or "null")
    except ValueError as exc:
        raise EngineError(f"{' '.join(words[:3])}: no JSON: {exc}") from exc


def tail(*words: str, most: int, seconds: float = SECONDS, both: bool = True) -> tuple[bytes, int]:
    """The last ``most`` bytes of what a command prints, and how many came before them.

    Args:
        words: after ``docker``.
        most: bytes to keep; no more than about these are ever held.
        seconds: until it is stopped.
        both: keep what goes to stderr, too.

    Raises:
        EngineError: it failed, or took too long.
    """
    try:
        process = subprocess.Popen(
            [*command(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.PIPE,
        )  # fmt: skip
    except OSError as exc:
        raise EngineError(f"no docker command: {exc.strerror}: install Docker Engine") from exc
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    errors = _Drain(process)
    try:
        kept, dropped = _last(process, most)
        code = process.wait()
    finally:
        timer.cancel()
        process.kill()
        errors.text()
    if late.is_set():
        raise EngineError(f"{' '.join(words[:3])}: no end within {seconds:.0f} s")
    if code:
        said = (kept[-2000:] if both else errors.text()).decode("utf-8", "replace").strip()
        raise EngineError(f"{' '.join(words[:3])}: exit code {code}: {said[-1500:]}")
    return kept, dropped


class _Drain:
    """Reads stderr beside stdout, so that neither blocks the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._said: list[bytes] = []
        self._thread: threading.Thread | None = None
        if process.stderr is not None:
            self._thread = threading.Thread(target=self._read, args=(process.stderr,))
            self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            self._said.append(stream.read())

    def text(self) -> bytes:
        if self._thread is not None:
            self._thread.join()
        return b"".join(self._said)


def _last(process: subprocess.Popen[bytes], most: int) -> tuple[bytes, int]:
    chunks: collections.deque[bytes] = collections.deque()
    held = dropped = 0
    assert process.stdout is not None
    with process.stdout as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            chunks.append(chunk)
            held += len(chunk)
            while held - len(chunks[0]) >= most:
                gone = len(chunks.popleft())
                held, dropped = held - gone, dropped + gone
    whole = b"".join(chunks)
    over = max(0, len(whole) - most)
    if over + dropped:  # begin with a whole line
        line_end = whole.find(b"\n", over)
        over = line_end + 1 if line_end >= 0 else over
    return whole[over:], dropped + over
