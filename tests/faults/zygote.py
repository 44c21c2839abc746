"""Starts SL nodes and light ML programs in 20 ms instead of a second: it has imported them before.

`python -m tests.faults.zygote FD` forks one child per request on the socket FD. A child is a real
process with its own pid, environment, pipes and log, and runs the same entry point as
`python -m services.sl`; only the imports are shared. :class:`Zygote` is the test's end of it.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from compose.plan import REPOSITORY

PRELOADED = ("services.sl.daemon", "swarmlearning._session")
PR_SET_PDEATHSIG = 1
LARGEST_REQUEST = 65536
LOOK = 0.02


class Child:
    """A process that a :class:`Zygote` started."""

    def __init__(self, name: str, pid: int, log: Path, stdin: int, status: int) -> None:
        self.name, self.pid, self.log = name, pid, log
        self._stdin, self._status = stdin, status
        self.code: int | None = None
        """Exit code once :meth:`poll` saw its end; negative: the signal that ended it."""

    def tell(self, text: str) -> None:
        """Write a line to its standard input; nobody hears it where it is gone."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin, (text + "\n").encode())

    def poll(self) -> int | None:
        if self.code is None and select.select([self._status], [], [], 0)[0]:
            told = os.read(self._status, 64)
            self.code = int(told) if told else -signal.SIGKILL  # the zygote itself is gone
        return self.code

    async def end(self, seconds: float) -> int:
        """Its exit code; fails when it does not end in time."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < deadline, f"{self} does not end, {seconds} s: {self.said()}"
            await asyncio.sleep(LOOK)  # it is no child of ours to wait for
        assert self.code is not None
        return self.code

    def send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended since
                os.kill(self.pid, number)

    def said(self, last: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-last:]

    def close(self) -> None:
        self.send(signal.SIGKILL)
        os.close(self._stdin)
        select.select([self._status], [], [], 10)
        os.close(self._status)

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


class Zygote:
    """Starts :class:`Child` processes. Ends with the test, and so do they."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.faults.zygote",
                 str(theirs.fileno())],
                pass_fds=[theirs.fileno()], cwd=REPOSITORY,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY),
                     "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._sock.settimeout(60)

    def start(self, name: str, module: str, log: Path, environment: dict[str, str]) -> Child:
        """Run ``python -m module`` in a child.

        Args:
            name: for messages.
            module: what to run as ``__main__``.
            log: gets its standard output and error, appended.
            environment: all of it, but for PATH and PYTHONPATH.
        """
        reads, stdin = os.pipe()
        status, writes = os.pipe()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        request = json.dumps({"module": module, "environment": environment}).encode()
        socket.send_fds(self._sock, [request], [reads, out, writes])
        for fd in (reads, out, writes):
            os.close(fd)
        return Child(name, int(self._sock.recv(64)), log, stdin, status)

    def close(self) -> None:
        self._sock.close()
        self._process.kill()
        self._process.wait()


def _serve(sock: socket.socket) -> dict[str, Any]:
    """Fork for each request; returns the request in the child, never in the parent."""
    waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready = select.select([sock, waker], [], [])[0]
        if waker in ready:
            os.read(waker, 512)
            _reap(running)
        if sock not in ready:
            continue
        raw, fds, _, _ = socket.recv_fds(sock, LARGEST_REQUEST, 3)
        if not raw:
            sys.exit(0)
        reads, out, status = fds
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sock.close()
            for source, target in ((reads, 0), (out, 1), (out, 2)):
                os.dup2(source, target)
            for fd in (reads, out, waker, woken, status, *running.values()):
                os.close(fd)
            request: dict[str, Any] = json.loads(raw)
            return request
        os.close(reads)
        os.close(out)
        running[pid] = status
        sock.send(str(pid).encode())


def _reap(running: dict[int, int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):
                os.write(running[pid], str(os.waitstatus_to_exitcode(status)).encode())
            os.close(running.pop(pid))


def main() -> None:
    for module in PRELOADED:
        __import__(module)
    gc.freeze()  # so that children share what was imported
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.environ.update(request["environment"])
    sys.argv = [request["module"]]
    code = _run(request["module"])
    threading._shutdown()  # waits for threads, as the end of any Python program does
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking all modules apart would cost more than all that the child did


def _run(module: str) -> int:
    """Run a module as a program; its exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        if isinstance(exc.code, str):
            sys.stderr.write(exc.code + "\n")
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nobody caught
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
