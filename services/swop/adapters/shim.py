"""Runs one program for the process engine and outlives the SWOP that started it.

    python -I -S services/swop/adapters/shim.py FOLDER

FOLDER/start.json says what to run. File descriptor 3 is FOLDER/lock, locked: whoever wants to know
whether the program runs tries that lock. FOLDER/shim.json gets our process id, FOLDER/exit.json the
exit code once the program and all that it started are gone. SIGTERM is passed on to the program and
its process group; SIGUSR1 kills them. Standard library only, because it starts once per program.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CANNOT_START = 127
HEARD = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(folder: Path) -> None:
    """Run the program to its end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    write(folder / "shim.json", {"pid": os.getpid()})
    start = json.loads((folder / "start.json").read_text())
    with (folder / "output.log").open("ab") as output:
        try:
            child = subprocess.Popen(  # noqa: S603 - what the engine was told to run
                start["argv"], cwd=start["cwd"], env=start["env"], stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=_with_us,
            )  # fmt: skip
        except (OSError, ValueError) as exc:  # ValueError: a text that no program can be given
            output.write(f"cannot start {start['argv'][0]!r}: {exc}\n".encode())
            code = CANNOT_START
        else:
            code = _until_end(child.pid)
            child.returncode = code
    write(folder / "exit.json", {"code": code})


def _with_us() -> None:
    """In the child, before it becomes the program: end when we do, hear all signals."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


def _until_end(child: int) -> int:
    """Wait until the program ended; pass signals on; then end what it left behind."""
    code: int | None = None
    while code is None:
        received = signal.sigwait(HEARD)
        if received == signal.SIGCHLD:
            code = _reap(child)
        else:
            _signal_group(child, signal.SIGTERM if received == signal.SIGTERM else signal.SIGKILL)
    _signal_group(child, signal.SIGKILL)
    _end_orphans()
    return code


def _signal_group(child: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def _reap(child: int) -> int | None:
    """Take note of all that ended; the exit code of the program, if it did."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return code


def _end_orphans() -> None:
    """Kill what left the program's process group; being orphans, they are our children now."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    """Processes whose parent is this one."""
    me, found = str(os.getpid()), []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - fast, and nothing else is imported
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[1] == me:
            found.append(int(entry))
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
