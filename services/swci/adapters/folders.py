"""CD, PWD and LS: this process's view of files. No shell is ever started for them."""

import asyncio
import os
import stat
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from services.common.errors import ConfigError
from services.swci.adapters.session import Session, Talk
from services.swci.core import commands as c
from services.swci.core.grammar import words_of
from services.swci.core.reply import Layout, Reply, success

OPTIONS = frozenset("aA1dhlrtSR")
MOST_ROWS = 10_000
"""LS shows no more; a folder may hold millions."""


async def change_dir(session: Session, command: c.ChangeDir, _talk: Talk) -> Reply:
    """CD dir."""
    target = await asyncio.to_thread(_folder, session.cwd / command.dir)
    session.cwd = target
    return success(
        f"Current Directory : {target}", data={"directory": str(target)}, layout=Layout.PROMPT
    )


def _folder(path: Path) -> Path:
    try:
        target = path.resolve(strict=True)
        if not target.is_dir():
            raise ConfigError(f"{path} is not a directory")
        os.scandir(target).close()
    except (OSError, RuntimeError) as exc:
        raise ConfigError(f"cannot change to {path}: {_words(exc)}") from exc
    return target


async def print_dir(session: Session, _command: c.PrintDir, _talk: Talk) -> Reply:
    """PWD."""
    return success(str(session.cwd), data={"directory": str(session.cwd)})


async def list_dir(session: Session, command: c.ListDir, _talk: Talk) -> Reply:
    """LS [options] [files]."""
    words = [word.text for word in words_of(command.options)]
    flags = {letter for word in words if _is_option(word) for letter in word[1:]}
    if unknown := sorted(flags - OPTIONS):
        raise ConfigError(
            f"LS knows no option -{unknown[0]}, only -{' -'.join(sorted(OPTIONS))}", "bad-command"
        )
    names = [word for word in words if not _is_option(word)]
    rows = await asyncio.to_thread(_listing, session.cwd, names, frozenset(flags))
    if len(rows) >= MOST_ROWS:
        rows = [*rows[:MOST_ROWS], f"... and more: LS shows {MOST_ROWS} lines"]
    return success(*(rows or ["total 0"]), data=rows)


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1


def _listing(cwd: Path, names: list[str], flags: frozenset[str]) -> list[str]:
    """The lines of LS: files that are named first, then the folders that are named."""
    try:
        named = [path for name in names for path in _expand(cwd, name)] if names else [cwd]
        for path in named:
            path.lstat()
        folders = [path for path in named if path.is_dir() and "d" not in flags]
        files = [path for path in named if path not in folders]
        rows = [_row(path, str(path) if names else ".", flags) for path in _sorted(files, flags)]
        many = len(named) > 1 or "R" in flags
        for folder in folders:
            rows += _folder_rows(folder, flags, many=many, room=MOST_ROWS - len(rows))
    except OSError as exc:
        raise ConfigError(f"cannot list {exc.filename}: {_words(exc)}", "not-found") from exc
    return rows


def _expand(cwd: Path, name: str) -> list[Path]:
    """A file, or those that match a pattern in the last part of the path."""
    path = cwd / name
    if not any(letter in path.name for letter in "*?[") or path.exists():
        return [path]
    with os.scandir(path.parent) as entries:
        found = [
            path.parent / entry.name
            for entry in entries
            if fnmatchcase(entry.name, path.name)
            and (not entry.name.startswith(".") or path.name.startswith("."))
        ]
    return sorted(found) or [path]


def _folder_rows(folder: Path, flags: frozenset[str], *, many: bool, room: int) -> list[str]:
    """A folder's lines, with -R those of the folders in it; links are not followed."""
    if room <= 0:
        return []
    children = _sorted(_children(folder, flags, room), flags)
    rows = [f"{folder}:"] if many else []
    if "a" in flags:
        rows += [_row(folder, ".", flags), _row(folder.parent, "..", flags)]
    rows += [_row(path, path.name, flags) for path in children]
    inner = [path for path in children if path.is_dir() and not path.is_symlink()]
    for path in inner if "R" in flags else []:
        rows += _folder_rows(path, flags, many=True, room=room - len(rows))
    return rows


def _children(folder: Path, flags: frozenset[str], room: int) -> list[Path]:
    hidden = bool(flags & {"a", "A"})
    with os.scandir(folder) as entries:
        shown = (folder / each.name for each in entries if hidden or not each.name.startswith("."))
        return list(islice(shown, room))


def _sorted(paths: list[Path], flags: frozenset[str]) -> list[Path]:
    ordered = sorted(paths, key=lambda path: path.name)
    if "t" in flags:
        ordered.sort(key=lambda path: path.lstat().st_mtime, reverse=True)
    if "S" in flags:
        ordered.sort(key=lambda path: path.lstat().st_size, reverse=True)
    return ordered[::-1] if "r" in flags else ordered


def _row(path: Path, name: str, flags: frozenset[str]) -> str:
    if "l" not in flags:
        return name
    found = path.lstat()
    size = _human(found.st_size) if "h" in flags else str(found.st_size)
    time = f"{datetime.fromtimestamp(found.st_mtime, UTC):%Y-%m-%d %H:%M}"
    target = f" -> {path.readlink()}" if stat.S_ISLNK(found.st_mode) else ""
    return (
        f"{stat.filemode(found.st_mode)} {found.st_nlink:>3} {found.st_uid:>5} {found.st_gid:>5} "
        f"{size:>10} {time} {name}{target}"
    )


def _human(size: float) -> str:
    for unit in ("", "K", "M", "G"):
        if size < 1024:
            return f"{size:.1f}{unit}" if unit else str(int(size))
        size /= 1024
    return f"{size:.1f}T"


def _words(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
