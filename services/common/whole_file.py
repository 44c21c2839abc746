"""Small files that are there whole or not at all, also after the power failed."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file, in place of one of that name.

    Args:
        path: in a folder that exists. What an interrupted write left beside it is removed.
        content: all of it.
        mode: permissions, less the umask; by default its owner's only.

    Raises:
        OSError: it cannot be written; the file of that name is as it was.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
