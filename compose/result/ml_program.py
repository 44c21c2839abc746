"""Runs a pair's ML program, again if it crashed, and notes what became of it.

    python ml_program.py PROGRAM [ARGUMENT...]

It runs in users' ML images: nothing but the standard library, Python 3.10 or newer. It never waits
for ever: where the SL does not answer for ``ML_SL_PATIENCE`` seconds (``ML_SL_START_PATIENCE`` the
first time) while the program is not connected to it, the program is ended, with a line that says
why. From its environment: these two, ``ML_SL`` (``host:port`` of the SL's file server),
``ML_RESTARTS``, ``ML_STATE_DIR`` (gets ``ml.json``, and ``ml.lock``, which is locked for as long as
this process lives), ``ML_ARGUMENTS`` (more arguments).
"""

import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

DIGEST = "Final model digest: "
"""What the client says at the end (``swarmlearning._session``)."""
LOOK_SECONDS = 1.0
STOP_SECONDS = 5.0
"""For the program to end when it is told to."""
WORDS = 300
"""Most characters taken from the program's last line."""
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory.max")),
    (
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ),
)
"""Where the kernel counts what it killed for memory, and the limit; version 2, version 1."""


def say(text: str) -> None:
    """One line of ours among the program's."""
    print(f"ml: {text}", flush=True)


def oom_kills(events: str) -> int:
    """How many processes were killed for memory, by the text of the kernel's file."""
    words = (line.split() for line in events.splitlines())
    return sum(int(pair[1]) for pair in words if len(pair) == 2 and pair[0] == "oom_kill")


def how_it_ended(code: int, out_of_memory: str, last: str) -> str:
    """A program's end in words.

    Args:
        code: as subprocess has it: negative after a signal.
        out_of_memory: its limit, where the kernel killed for memory meanwhile; else empty.
        last: the last line that it wrote.
    """
    if code < 0 and out_of_memory:
        return f"was killed, out of memory: its limit is {out_of_memory} (ML_MEMORY)"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" + (f": {last[:WORDS]}" if last else "")


def memory_limit(text: str) -> str:
    """A limit in bytes, for people."""
    return f"{int(text) >> 20} MiB" if text.strip().isdigit() else "the host's memory"


class Memory:
    """Tells whether the kernel killed for memory since it was last asked."""

    def __init__(self) -> None:
        self._files = next((pair for pair in CGROUPS if pair[0].exists()), None)
        self._seen = self._count()

    def _count(self) -> int:
        try:
            return oom_kills(self._files[0].read_text()) if self._files else 0
        except OSError:
            return 0

    def killed(self) -> str:
        """The limit, where it did; else empty."""
        before, self._seen = self._seen, self._count()
        if self._seen == before or self._files is None:
            return ""
        try:
            return memory_limit(self._files[1].read_text())
        except OSError:
            return "not known"


class Runner:
    """Runs the program until it ends well, or too often badly.

    Args:
        command: the program and its arguments.
        environment: see the module.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        more = shlex.split(environment.get("ML_ARGUMENTS", ""))
        self._command = [sys.executable, "-u", *command, *more]
        self._attempts = 1 + int(environment.get("ML_RESTARTS") or 0)
        self._later = float(environment.get("ML_SL_PATIENCE") or 60)
        self._patience = max(self._later, float(environment.get("ML_SL_START_PATIENCE") or 0))
        host, _, port = environment["ML_SL"].rpartition(":")
        self._sl = (host, int(port))
        self._pipe = environment["SL_REQUEST_CHANNEL"]
        self._state = Path(environment["ML_STATE_DIR"]) / "ml.json"
        self._memory = Memory()
        self._program: subprocess.Popen[str] | None = None
        self._told = threading.Event()
        self._last = self._digest = ""

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM: so shall the program."""
        self._told.set()
        if self._program is not None:
            self._program.terminate()

    def run(self) -> int:
        """Run it; return our exit code."""
        attempt, reason = 0, ""
        while attempt < self._attempts:
            attempt += 1
            reason = self._attempt(attempt)
            if self._told.is_set():
                return self._note("stopped", attempt, "it was told to stop")
            if not reason:
                return self._note("done", attempt)
            say(f"attempt {attempt} of {self._attempts}: {reason}")
            if not self._wait_for_sl():
                reason += "" if reason == self._gone else f"; {self._gone}"
                break
        say(f"giving up: {reason}. Start the containers of this pair to bring it back")
        self._note("failed", attempt, reason)
        return 1

    def _attempt(self, attempt: int) -> str:
        """Run it once; why it failed, or empty."""
        self._note("waits", attempt)
        if not self._wait_for_sl():
            return self._gone
        if self._told.is_set():
            return ""
        self._note("runs", attempt)
        self._last = self._digest = ""
        self._program = program = subprocess.Popen(
            self._command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert program.stdout is not None
        if self._told.is_set():  # just before
            program.terminate()
        reader = threading.Thread(target=self._copy, args=(program.stdout,), daemon=True)
        reader.start()
        given_up = self._watch(program)
        code = program.wait()
        reader.join(STOP_SECONDS)
        if given_up:
            return self._gone
        return how_it_ended(code, self._memory.killed(), self._last) if code else ""

    @property
    def _gone(self) -> str:
        return f"its SL {self._sl[0]} does not answer for {self._patience:.0f} s"

    def _copy(self, lines: TextIO) -> None:
        for line in lines:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.strip():
                self._last = line.strip()
            if DIGEST in line:
                self._digest = line.rpartition(DIGEST)[2].strip()

    def _watch(self, program: "subprocess.Popen[str]") -> bool:
        """Wait until it ends; True where it had to be ended, because its SL is gone.

        Only until it is connected: from then on it notices by itself.
        """
        answered = time.monotonic()
        while not self._connected(program.pid):
            try:
                program.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            else:
                return False
            if self._answers():
                answered = time.monotonic()
            elif time.monotonic() - answered > self._patience:
                self._end(program)
                return True
        program.wait()
        return False

    def _connected(self, pid: int) -> bool:
        """Whether a program has the pipe to the SL open."""
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
            return any(str(link.readlink()) == self._pipe for link in links)
        except OSError:  # it ended, or closed a file meanwhile
            return False

    def _end(self, program: "subprocess.Popen[str]") -> None:
        program.terminate()
        try:
            program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()

    def _answers(self) -> bool:
        """Whether the SL is there."""
        try:
            socket.create_connection(self._sl, LOOK_SECONDS).close()
        except OSError:
            return False
        self._patience = self._later
        return True

    def _wait_for_sl(self) -> bool:
        """Wait for the SL; False where it did not answer in time."""
        end = time.monotonic() + self._patience
        while not self._told.is_set() and not self._answers():
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_SECONDS / 4)
        return True

    def _note(self, state: str, attempt: int, reason: str = "") -> int:
        """Write down where we are; 0, the exit code of a good end."""
        told = {
            "state": state, "attempt": attempt, "attempts": self._attempts, "reason": reason,
            "digest": self._digest,
        }  # fmt: skip
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps(told) + "\n")
        new.replace(self._state)
        return 0


def main() -> int:
    """Run the command; return its exit code."""
    runner = Runner(sys.argv[1:], os.environ)
    with (Path(os.environ["ML_STATE_DIR"]) / "ml.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        signal.signal(signal.SIGTERM, runner.stop)
        return runner.run()


if __name__ == "__main__":
    sys.exit(main())
