"""The archive: everything goes through the redaction, and is checked once more, before it is in."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import time
from pathlib import Path
from typing import Callable

from compose.operate.collect_redact import Redactor

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_PROBLEMS = 200


class Bundle:
    """An archive that is being written, mode 0600, with plain files in one folder and nothing else.

    Args:
        path: of the archive; must not exist.
        redactor: takes secrets out.
    """

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path, self.redactor = path, redactor
        self.problems: list[str] = []
        self._root = path.name[: -len(".tar.gz")]
        self._digests: dict[str, str] = {}
        self._taken: set[str] = set()
        self._broken: OSError | None = None
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w:gz")  # noqa: SIM115 - closed below

    def text(self, name: str, text: str) -> str:
        """Add a text; returns it as it went in."""
        cleaned = self.redactor.text(text)
        self._add(name, cleaned)
        return cleaned

    def json(self, name: str, value: object) -> object:
        """Add a JSON value; returns it as it went in."""
        cleaned = self.redactor.json(value)
        self._add(name, json.dumps(cleaned, indent=1, sort_keys=True) + "\n")
        return cleaned

    def problem(self, text: str) -> None:
        """Say in the summary what could not be had."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(self.redactor.text(text))

    def part(self, what: str, gather: Callable[[], object]) -> None:
        """Gather a part; where it fails the summary says so, and the others go on."""
        try:
            gather()
        except Exception as exc:  # noqa: BLE001 - one part that fails must not cost the others
            self.problem(f"{what}: {type(exc).__name__}: {exc}")

    def close(self, summary: str) -> None:
        """Write the summary and the manifest; the archive is whole then.

        Raises:
            OSError: it is not, e.g. for want of room on the disk.
        """
        self.text("summary.txt", summary)
        manifest = json.dumps({"sha256": self._digests}, indent=1, sort_keys=True) + "\n"
        self._write("manifest.json", manifest.encode())
        if self._broken is not None:
            raise self._broken
        self._tar.close()
        self._file.close()

    def give_up(self) -> None:
        """Remove what was written."""
        self._file.close()
        self.path.unlink()

    def _add(self, name: str, text: str) -> None:
        content = text.encode("utf-8", "replace")
        if self.redactor.leaks(name.encode("utf-8", "replace") + b"\n" + content):
            self.problem(f"{name} was left out: a known secret was still in it")
            return
        self._write(name, content)

    def _free(self, name: str) -> str:
        """``name``, or another where there is a file of this name: none replaces another."""
        stem, dot, suffix = name.rpartition(".")
        for number in range(2, len(self._digests) + 3):
            if name.lower() not in self._taken:
                break
            name = f"{stem}-{number}.{suffix}" if dot else f"{suffix}-{number}"
        self._taken.add(name.lower())
        return name

    def _write(self, name: str, content: bytes) -> None:
        safe = self._free(
            "/".join(_ODD.sub("_", part).strip(".") or "_" for part in name.split("/") if part)
        )
        self._digests[safe] = hashlib.sha256(content).hexdigest()
        member = tarfile.TarInfo(f"{self._root}/{safe}")
        member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
        try:
            self._tar.addfile(member, io.BytesIO(content))
        except OSError as exc:  # whoever gathers a part may go on; the archive is lost
            self._broken = exc
            raise
