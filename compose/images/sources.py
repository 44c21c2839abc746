"""Which sources an image is built from: a label of each tells."""

import hashlib
import re
from pathlib import Path

from compose.images.catalogue import BASE, IMAGES

TEXTS = {"LICENSE", "README.md"}
"""What is copied and changes nothing that runs."""
_COPY = re.compile(r"^COPY\s+(?!--from)(.+)", re.MULTILINE)


def digest(root: Path, name: str) -> str:
    """Digest of what image ``name`` is built from, 16 hex digits: its own, that of another not.

    That is its Dockerfile, what this copies, what it installs, and the base, where it has one.

    Args:
        root: of the repository.
        name: of :data:`IMAGES`.
    """
    image = IMAGES[name]
    dockerfile = root / image.dockerfile
    found = hashlib.sha256(f"{image.packages}\0".encode())
    if image.service:
        found.update(digest(root, BASE).encode())
    folders = [root / each for each in copied(dockerfile.read_text()) if each not in TEXTS]
    seen = Seen((root / ".dockerignore").read_text())
    files = {path for each in folders for path in _files(each)}
    names = {path.relative_to(root).as_posix(): path for path in (*files, dockerfile)}
    for each, path in sorted(names.items()):
        if path == dockerfile or seen.has(each):
            found.update(f"{each}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def copied(dockerfile: str) -> list[str]:
    """What a Dockerfile copies from the context; pure.

    Args:
        dockerfile: its text.
    """
    lines = _COPY.findall(dockerfile.replace("\\\n", " "))
    return [word for line in lines for word in line.split()[:-1] if not word.startswith("--")]


class Seen:
    """What builds get to see; pure.

    Args:
        dockerignore: text of that file, of the form that ours has: nothing but ``!`` these, and
            of these not ``**/`` those.
    """

    def __init__(self, dockerignore: str) -> None:
        lines = dockerignore.splitlines()
        self._places = [line[1:] for line in lines if line.startswith("!")]
        self._never = [line[3:] for line in lines if line.startswith("**/")]

    def has(self, name: str) -> bool:
        """Whether they see a file.

        Args:
            name: its path below the repository's root.
        """
        path = Path(name)
        if any(Path(part).match(each) for part in path.parts for each in self._never):
            return False
        return any(name == place or name.startswith(f"{place}/") for place in self._places)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
