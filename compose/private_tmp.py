"""Becomes a program that has a ``/tmp/hpe-swarm`` of its own; nobody else's ``/tmp`` changes.

    python -I -S compose/private_tmp.py FOLDER COMMAND [ARGUMENT...]

HPE's client has that path built in, so that only one of its programs fits on a machine. Here each
gets a mount namespace (Linux) in which FOLDER is found there, too. Where the machine has no such
folder to mount it on, the program's ``/tmp`` is a new one, in which everything that is in the
machine's ``/tmp`` now appears; what is made in it later is its own and goes with it.

It takes the right to mount: root with CAP_SYS_ADMIN, or user namespaces, which most systems allow
everybody. Standard library only, because it runs once per program before anything else does.
"""

import ctypes
import os
import stat
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
EXIT_NOT_ALLOWED = 126
EXIT_CANNOT_START = 127
TARGET = Path("/tmp/hpe-swarm")  # noqa: S108 - hard-coded in HPE's client


def main(arguments: list[str]) -> None:
    """Make the namespace and run the command; returns only by exiting."""
    folder, command = arguments[0], arguments[1:]
    try:
        _own_mounts()
        if not TARGET.is_dir():
            _own_tmp()
            TARGET.mkdir()
        _mount(folder, TARGET, MS_BIND)
    except OSError as exc:
        sys.stderr.write(
            f"cannot give the program a {TARGET} of its own: {exc}. This takes root (in a "
            "container: CAP_SYS_ADMIN), or a system that allows user namespaces\n"
        )
        sys.exit(EXIT_NOT_ALLOWED)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as exc:
        sys.stderr.write(f"cannot start {command[0]!r}: {exc.strerror}\n")
        sys.exit(EXIT_CANNOT_START)


def _own_mounts() -> None:
    """A copy of all mounts that only this process and its children see."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWNS)
    except PermissionError:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text)
    _mount(None, Path("/"), MS_REC | MS_PRIVATE)


def _own_tmp() -> None:
    """A new folder for ``TARGET``, with all that the old one has."""
    tmp = TARGET.parent
    old = os.open(tmp, os.O_PATH | os.O_DIRECTORY)
    try:
        names = [path.name for path in tmp.iterdir()]
        _mount("tmpfs", tmp, 0, "tmpfs", "mode=1777")
        for name in names:
            source, place = Path(f"/proc/self/fd/{old}", name), tmp / name
            try:
                _show(source, place)
            except FileNotFoundError:
                continue  # somebody removed it meanwhile
    finally:
        os.close(old)


def _show(source: Path, place: Path) -> None:
    kind = source.lstat().st_mode
    if stat.S_ISLNK(kind):
        place.symlink_to(source.readlink())
        return
    if stat.S_ISDIR(kind):
        place.mkdir()
    else:
        place.touch()
    _mount(str(source), place, MS_BIND | MS_REC)


def _mount(
    source: str | None, target: Path, flags: int, kind: str | None = None, data: str | None = None
) -> None:
    words = [None if w is None else os.fsencode(w) for w in (source, str(target), kind, data)]
    _call("mount", *words[:3], ctypes.c_ulong(flags), words[3])


def _call(name: str, *arguments: object) -> None:
    """A function of the C library.

    Raises:
        OSError: it failed.
    """
    if getattr(_LIBC, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


_LIBC = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    main(sys.argv[1:])
