"""Becomes a node's process, tied to the life of the process that started it.

    python -I -S compose/child.py PARENT_PID COMMAND [ARGUMENT...]

Linux is asked to kill us with our parent (``PR_SET_PDEATHSIG``, which survives ``exec``), then the
command takes this process over: its PID is the one that the parent knows. Standard library only,
because it runs once per node before anything else does.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_START = 127


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and run the command; returns only by exiting."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we had asked
        sys.exit(128 + signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as exc:
        sys.stderr.write(f"cannot start {command[0]!r}: {exc.strerror}\n")
        sys.exit(EXIT_CANNOT_START)


if __name__ == "__main__":
    main(sys.argv[1:])
