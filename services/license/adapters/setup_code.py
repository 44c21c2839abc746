"""The one-time code with which the first administrator is made, in a file for its owner only."""

import hmac
import secrets
from pathlib import Path

from services.common.errors import ConfigError
from services.common.whole_file import write_whole
from services.license.core.sessions import hash_of

SETUP_FILE = "setup-code"
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""None that look alike."""
_GROUPS, _LENGTH = 5, 5


class SetupCode:
    """The code's file.

    Args:
        folder: data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SETUP_FILE

    def make(self) -> None:
        """Make a code, unless there is one from an earlier start.

        Raises:
            ConfigError: the file cannot be written.
        """
        if not self.read():
            try:
                write_whole(self.path, (random_code() + "\n").encode())
            except OSError as exc:
                raise ConfigError(f"cannot write {self.path}: {exc.strerror}") from exc

    def read(self) -> str:
        """The code; empty where there is none."""
        try:
            return self.path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def remove(self) -> None:
        """Remove the code."""
        self.path.unlink(missing_ok=True)

    def is_it(self, code: str) -> bool:
        """Whether somebody has the right code."""
        kept = self.read()
        return self.matches(code, code_hash(kept) if kept else None)

    @staticmethod
    def matches(code: str, kept_hash: str | None) -> bool:
        """Whether a code is the one behind a hash; False where there is none."""
        return hmac.compare_digest(code_hash(code), kept_hash or "")


def random_code() -> str:
    """A new code, 120 bits."""
    groups = ("".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def code_hash(code: str) -> str:
    """What is kept of a code; dashes, blanks and case do not count."""
    return hash_of("".join(letter for letter in code.upper() if letter.isalnum()))
