"""Paths of a container, found on the host: what the process engine has instead of mounts."""

import posixpath
import re
from collections.abc import Mapping

PYTHONS = frozenset(
    {
        "python", "python3", "/usr/bin/python", "/usr/bin/python3",
        "/usr/local/bin/python", "/usr/local/bin/python3",
    }
)  # fmt: skip


def normal(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes.

    POSIX lets two slashes at the beginning mean something else, so `normpath` keeps them; joined to
    a folder such a path would lead out of it.
    """
    return "/" + posixpath.normpath(path).lstrip("/")


class Places:
    """Where on the host the folders of a container are.

    Args:
        places: absolute path in the container -> path on the host. One inside another wins.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        cleaned = {normal(target): source for target, source in places.items()}
        self._places = sorted(cleaned.items(), key=lambda each: len(each[0]), reverse=True)
        names = "|".join(re.escape(target) for target, _ in self._places)
        self._inside = re.compile(rf"(?<![\w./~-])(?:{names})(?![\w.-])") if names else None

    def path(self, inside: str) -> str | None:
        """Where a path of the container is on the host; None: in none of the folders."""
        path = normal(inside)
        for target, source in self._places:
            if path == target:
                return source
            inner = f"{target.rstrip('/')}/"
            if path.startswith(inner):
                return posixpath.join(source, path[len(inner) :])
        return None

    def text(self, text: str) -> str:
        """Translate a word of a command, or the value of a variable.

        Every path of one of the folders in it is: alone, after ``--option=``, in a list with
        colons, in a shell's script.
        """
        if self._inside is None:
            return text
        return self._inside.sub(lambda found: self.path(found[0]) or found[0], text)
