"""Takes a task definition into SWCI's current folder, and nothing anywhere else (FAULTS S4)."""

import os
import re
import secrets
import stat
from pathlib import Path

from services.common.errors import ConfigError, StorageError

LONGEST_NAME = 128
"""Characters of a file name."""
LARGEST_FILE = 900 << 10
"""Bytes of a file; with what multipart adds it fits the largest request body."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml", re.IGNORECASE)


def bare_name(told: str) -> str:
    """The file's name without the folders that a client may have put before it.

    Raises:
        ConfigError: what is left is not the plain name of a YAML file.
    """
    name = re.split(r"[/\\]", told)[-1]
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"{name[:LONGEST_NAME]!r} cannot be the name of a task definition: use letters, "
            "digits, '_', '-' and '.', without blanks, and end it with .yaml or .yml"
        )
    return name


def store(folder: Path, name: str, text: bytes) -> None:
    """Write ``text`` to ``folder/name``: whole or not at all, through no link.

    Args:
        folder: SWCI's current folder; resolved once, however it is moved meanwhile.
        name: see :func:`bare_name`.
        text: the file's content.

    Raises:
        ConfigError: it is too large, or the name belongs to something that is not a regular file.
        StorageError: the folder cannot be written.
    """
    if len(text) > LARGEST_FILE:
        raise ConfigError(f"{name} is larger than {LARGEST_FILE >> 10} KiB: not a task definition")
    try:
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_replaceable(where, name)
            _write(where, name, text)
        finally:
            os.close(where)
    except OSError as exc:
        raise StorageError(
            f"cannot write {name} to {folder}: {exc.strerror}. Change SWCI's current folder with "
            "cd, e.g. to the user folder"
        ) from exc


def _check_replaceable(where: int, name: str) -> None:
    try:
        mode = os.stat(name, dir_fd=where, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{name} exists and is not a regular file: choose another name")


def _write(where: int, name: str, text: bytes) -> None:
    part = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(part, flags, 0o644, dir_fd=where), "wb") as file:  # noqa: PTH123 - descriptor
        try:
            file.write(text)
            file.flush()
            os.rename(part, name, src_dir_fd=where, dst_dir_fd=where)
        except OSError:
            os.unlink(part, dir_fd=where)
            raise
