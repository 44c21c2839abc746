"""One container of the process engine: a folder, and perhaps a program that its shim runs."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from services.swop.adapters import shim
from services.swop.adapters.shim import write
from services.swop.adapters.threads import in_thread
from services.swop.core.engine import ContainerState, EngineError, Found

KILLED = 128 + signal.SIGKILL
"""Exit code where the shim was killed and could not say it."""
STARTING_SECONDS = 0.02
KILL_SECONDS = 5.0
"""How long a shim may take to kill its program before it is killed itself."""
TAIL_BYTES = 64 * 1024
LARGEST_LOG = 64 * 1024 * 1024
"""Bytes of a log that are kept after its container."""
LOCK_FD = 3
MARK = "SWOP_CONTAINER"
"""Variable of all its processes: the container's folder."""
STRAGGLER_ROUNDS = 200


class Container:
    """A container's folder.

    Args:
        folder: made by :meth:`make`, or to be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, labels: dict[str, str], links: dict[str, str]) -> None:
        """Write down whose it is; the folder exists already.

        So it is found and removed even where a SWOP was killed while it made it.

        Args:
            labels: the container's.
            links: symbolic links outside the folder, made or about to be made, and where they
                lead; to remove with it.
        """
        write(self.folder / "container.json", {"labels": labels, "links": links})

    def make(self, start: dict[str, Any]) -> None:
        """Write down what to run.

        Args:
            start: what the shim needs.
        """
        write(self.folder / "start.json", start)

    def start(self) -> None:
        """Start the program; a shim of its own watches it.

        Raises:
            EngineError: it was started before.
        """
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if (self.folder / "started").exists():
                raise EngineError(f"{self.folder.name} was started already")
            fcntl.flock(lock, fcntl.LOCK_EX)
            (self.folder / "started").touch()
            program = [sys.executable, "-I", "-S", shim.__file__, str(self.folder)]
            log = str(self.folder / "shim.log")
            os.posix_spawn(
                sys.executable, program, {"PATH": os.environ.get("PATH", os.defpath)}, setsid=True,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_DUP2, lock, LOCK_FD),
                ],
            )  # fmt: skip
        except OSError as exc:
            raise EngineError(f"cannot start {self.folder.name}: {exc}") from exc
        finally:
            os.close(lock)  # the shim's copy keeps it locked

    @property
    def runs(self) -> bool:
        """Whether its shim lives."""
        try:
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(lock)

    @property
    def exit_code(self) -> int | None:
        """None while it runs and where it never started."""
        if self.runs or not (self.folder / "shim.json").exists():
            return None
        code = self._read("exit.json").get("code", KILLED)
        return int(code)

    async def wait(self) -> int:
        """Return once it ended."""
        while self.runs:
            await self._shim_ends()
        self._reap()
        await in_thread(self._end_stragglers)
        if (code := self.exit_code) is None:
            raise EngineError(f"{self.folder.name} was never started")
        return code

    async def stop(self, seconds: float) -> None:
        """Ask the program to end; kill it, and at last its shim, where it does not."""
        for number, patience in (
            (signal.SIGTERM, seconds), (signal.SIGUSR1, KILL_SECONDS), (signal.SIGKILL, None)
        ):  # fmt: skip
            if not self.runs:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(await self._shim(), number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while self.runs:
                        await self._shim_ends()

    def remove(self) -> None:
        """Remove the folder; the program ended before. Blocks."""
        self._reap()
        self._end_stragglers()
        for link, source in self._read("container.json").get("links", {}).items():
            with contextlib.suppress(OSError):
                if str(Path(link).readlink()) == source:
                    Path(link).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def found(self) -> Found | None:
        """What the engine knows of it; None while it is being made."""
        known = self._read("container.json")
        if not known:
            return None
        name, code = self.folder.name, self.exit_code
        state = ContainerState.RUNNING if self.runs else ContainerState.EXITED
        return Found(name, name, known["labels"], state, code)

    def logs(self, tail: int) -> list[str]:
        """Its last lines of output."""
        try:
            with (self.folder / "output.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-tail:] if tail > 0 else []

    def save_logs(self, path: Path) -> None:
        """Copy its output, of a very long one the end. Blocks."""
        with contextlib.suppress(FileNotFoundError), (self.folder / "output.log").open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LARGEST_LOG))
            with path.open("wb") as copy:
                if size > LARGEST_LOG:
                    copy.write(f"[the first {size - LARGEST_LOG} bytes are left out]\n".encode())
                shutil.copyfileobj(log, copy)

    async def _shim(self) -> int:
        """Process id of the shim, which runs; it writes it down as its first act."""
        while True:
            if pid := self._read("shim.json").get("pid"):
                return int(pid)
            if not self.runs:
                raise ProcessLookupError
            await asyncio.sleep(STARTING_SECONDS)

    async def _shim_ends(self) -> None:
        """Wait until the shim ended, if it runs; look at `runs` again afterwards."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            pid = await self._shim()
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            await asyncio.sleep(0)
            return
        try:
            if self.runs:  # so it is still the process that we opened
                loop.add_reader(handle, ended.set)
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    def _end_stragglers(self) -> None:
        """Kill what a shim that was killed itself could not: all of its program. Blocks."""
        if not (self.folder / "shim.json").exists() or (self.folder / "exit.json").exists():
            return
        for _ in range(STRAGGLER_ROUNDS):
            found = _marked(f"{MARK}={self.folder}".encode())
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not found:
                return
            time.sleep(STARTING_SECONDS)  # their end is nobody's event: they are init's children

    def _reap(self) -> None:
        """Let its shim go, if it is our child and not that of a SWOP before us."""
        if pid := self._read("shim.json").get("pid"):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return {}
        return known


def _marked(mark: bytes) -> list[int]:
    """Processes whose environment holds this variable with this value."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended, or is somebody else's
    return found
