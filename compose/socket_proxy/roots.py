"""Which paths of the host a container may see."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from compose.socket_proxy.refusal import Refused

_TOO_MUCH = (
    *("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/root/.ssh", "/run"),
    *("/sbin", "/sys", "/usr", "/var", "/var/lib", "/var/lib/docker", "/var/run"),
)


class Roots:
    """Folders that may be mounted, with all that is below them.

    The proxy must see them as Docker does: on the host, or mounted into its container under the
    same path.

    Args:
        folders: absolute paths.

    Raises:
        ValueError: one of them does not exist, or would give the host away.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_absolute() or not folder.is_dir():
                raise ValueError(f"--root {folder} is no absolute path of a folder")
            if os.path.realpath(folder) in _TOO_MUCH:
                raise ValueError(f"--root {folder} would give this host away: name a folder below")
        self._folders = [os.path.realpath(folder) for folder in folders]

    def check(self, source: str) -> str:
        """Return the path to mount instead of ``source``: without links or dots.

        Raises:
            Refused: it is not below a root, or neither a folder nor a plain file.
        """
        try:
            real = os.path.realpath(source)
        except (OSError, ValueError):
            raise Refused(f"mount source {source[:200]!a} cannot be read") from None
        if not any(real == root or real.startswith(root + "/") for root in self._folders):
            raise Refused(
                f"mount source {source[:200]!a} is outside the folders that may be mounted (--root)"
            )
        try:
            kind = os.lstat(real).st_mode
        except OSError:  # Docker's own words, which SWOP knows
            raise Refused(f"bind source path does not exist: {source[:200]}", 400) from None
        if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
            raise Refused(f"mount source {source[:200]!a} is neither a folder nor a file")
        return real
