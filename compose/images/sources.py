"""Which sources an image was built from: a label of each tells."""

import hashlib
from pathlib import Path

CONTENT = ("compose", "constraints.txt", "contracts/artifacts", "contracts/__init__.py",
           "pyproject.toml", "services", "swarmlearning")  # fmt: skip
"""What builds get to see (``.dockerignore``), but for texts."""


def digest(root: Path) -> str:
    """Digest of the sources below a repository's root, 16 hex digits."""
    found = hashlib.sha256()
    for path in sorted(each for name in CONTENT for each in _files(root / name)):
        found.update(f"{path.relative_to(root)}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
