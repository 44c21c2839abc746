"""Paths of a container, found on the host: what the process engine has instead of mounts."""

import posixpath
from collections.abc import Mapping

PYTHONS = frozenset(
    {
        "python", "python3", "/usr/bin/python", "/usr/bin/python3",
        "/usr/local/bin/python", "/usr/local/bin/python3",
    }
)  # fmt: skip


class Places:
    """Where on the host the folders of a container are.

    Args:
        places: absolute path in the container -> path on the host. One inside another wins.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        cleaned = {posixpath.normpath(target): source for target, source in places.items()}
        self._places = sorted(cleaned.items(), key=lambda each: len(each[0]), reverse=True)

    def path(self, inside: str) -> str | None:
        """Where a path of the container is on the host; None: in none of the folders."""
        path = posixpath.normpath(inside)
        for target, source in self._places:
            if path == target:
                return source
            inner = f"{target.rstrip('/')}/"
            if path.startswith(inner):
                return posixpath.join(source, path[len(inner) :])
        return None

    def word(self, word: str) -> str:
        """Translate a word of a command, or the value of a variable.

        It is a path of one of the folders, a list of such paths with colons, or
        ``--option=path``; anything else stays as it is. A slash at the end stays, too.
        """
        option, equals, value = word.partition("=")
        if equals and option.startswith("-"):
            return f"{option}={self._list(value)}"
        return self._list(word)

    def _list(self, words: str) -> str:
        return ":".join(map(self._one, words.split(":")))

    def _one(self, word: str) -> str:
        found = self.path(word) if word.startswith("/") else None
        if found is None:
            return word
        return f"{found}/" if word.endswith("/") and not found.endswith("/") else found
