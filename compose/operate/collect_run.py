"""Gathers a run folder of the embedded swarm (`compose.local`), and users' workspaces."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Iterator

from compose.operate.collect_bundle import Bundle
from compose.operate.collect_certs import certificates
from compose.operate.collect_summary import Node, last_errors, last_lines
from compose.operate.collect_texts import is_wanted, is_wanted_text

SUFFIXES = (".json", ".jsonl", ".log", ".txt", ".yaml", ".yml", ".csv", ".toml")
MOST_FILES = 1000
_SMALL = 1 << 20
"""Bytes of a key, of certificates, and of a workspace's file."""


def gather(bundle: Bundle, folder: Path, log_bytes: int) -> list[Node]:
    """Put a run folder's logs, journals, ledger and state into the archive, keys left out.

    Args:
        bundle: the archive.
        folder: ``runs/...``.
        log_bytes: of each file; the newest are kept.

    Raises:
        FileNotFoundError: it is no run folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; runs are in runs/")
    for key in (path for path in _files(folder) if path.name.endswith("-key.pem")):
        bundle.part(f"key {key.name}", _learn(bundle, key))
    texts: dict[str, str] = {}
    taken = 0
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in SUFFIXES or name.startswith("certs/") or not is_wanted(path.name):
            continue
        taken += 1
        if taken > MOST_FILES:
            bundle.problem(f"{folder}: only the first {MOST_FILES} files were taken")
            break
        bundle.part(f"{folder / name}", _file(bundle, path, name, log_bytes, texts))
    return _nodes(folder, texts, bundle)


def workspace(bundle: Bundle, folder: Path) -> None:
    """Put a workspace's task definitions, profiles and SWCI scripts into the archive.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"workspace {folder}: no such folder")
    taken = 0
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        named = path.suffix in (".yaml", ".yml") or "swci" in path.parts[-3:-1]
        if named and is_wanted(name) and path.stat().st_size < _SMALL and taken < MOST_FILES:
            content, _ = _last(path, _SMALL)
            if is_wanted_text(content):
                bundle.text(f"workspace/{name}", content.decode("utf-8", "replace"))
                taken += 1


def _files(folder: Path) -> Iterator[Path]:
    """Plain files below a folder, no links."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _last(path: Path, most: int) -> tuple[bytes, int]:
    """The last bytes of a plain file, and its size; whoever may write there gets no other opened.

    Raises:
        OSError: it is a link, a pipe or a device, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        stream.seek(max(0, about.st_size - most))
        return stream.read(most), about.st_size


def _learn(bundle: Bundle, key: Path) -> Callable[[], None]:
    return lambda: bundle.redactor.learn_key(_last(key, _SMALL)[0].decode("ascii", "replace"))


def _file(
    bundle: Bundle, path: Path, name: str, most: int, texts: dict[str, str]
) -> Callable[[], None]:
    def add() -> None:
        content, size = _last(path, most)
        text = content.decode("utf-8", "replace")
        if size > most:
            text = f"({size - most} bytes of older lines were left out: --max-mb)\n{text}"
        elif path.suffix == ".json":
            bundle.json(f"run/{name}", json.loads(text))
            return
        cleaned = bundle.text(f"run/{name}", text)
        if path.suffix == ".log":
            texts[path.stem] = cleaned

    return add


def _nodes(folder: Path, texts: dict[str, str], bundle: Bundle) -> list[Node]:
    """The processes of the run, by its state file and their logs."""
    try:
        state: Any = json.loads(_last(folder / "state.json", 16 << 20)[0])
    except (OSError, ValueError) as exc:
        bundle.problem(f"{folder}/state.json: {exc}")
        state = {}
    told = state.get("nodes") or state.get("processes") or []
    known = {str(each.get("name")): each for each in told if isinstance(each, dict)}
    nodes = []
    for name in sorted({*known, *texts}):
        about = known.get(name, {})
        code = about.get("exit_code", about.get("returncode"))
        node = Node(
            name, str(about.get("kind") or name.rsplit("-", 1)[0]).lower(),
            str(about.get("state") or ("exited" if code is not None else "see its log")),
            exit_code=code if isinstance(code, int) and not about.get("stopped") else None,
        )  # fmt: skip
        log = texts.get(name, "")
        node.last_errors = last_errors(log) or (last_lines(log) if node.failed else [])
        node.certificates = _certificates(folder, name)
        nodes.append(node)
    return nodes


def _certificates(folder: Path, name: str) -> list[str]:
    path = folder / "certs" / f"{name}-cert.pem"
    try:
        found = certificates(_last(path, _SMALL)[0])
    except OSError:
        return []
    now = datetime.now(timezone.utc)
    return [f"{path.name} {each.verdict(now)}" for each in found if each.verdict(now)]
